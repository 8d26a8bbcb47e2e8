"""The report of a benchmark: tables, figures, a page that needs neither server nor network, the same in Markdown."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from benchmarks.pages import refuse_foreign_page, write_page
from benchmarks.reporting.contenders import find_headline
from benchmarks.reporting.sections import Section, list_sections
from benchmarks.reporting.verdict import tell_answer, tell_more
from benchmarks.results import Results
from embeddings.files import replace_file

PAGE, TEXT, TABLES, FIGURES = "report.html", "report.md", "tables", "figures"


def write_report(results: Results) -> Path:
    """
    Write everything that people read, into the folder of the results.

    Parameters
    ----------
    results : Results

    Returns
    -------
    Path
        ``report.html``. Beside it ``report.md``, ``tables/`` (each as .md, .csv and .tex) and ``figures/`` (each as
        .png and .pdf); what is there of an earlier report is replaced.

    Raises
    ------
    SommelierError
        When a cell is missing or damaged, or ``report.html`` was not made here.
    """
    page = results.folder / PAGE
    refuse_foreign_page(page)
    headline = find_headline(results)
    answer, more = tell_answer(results, headline), list(tell_more(results, headline))
    sections = list_sections(results, results.folder / FIGURES)
    for section in sections:
        for table in (*section.tables, *section.more):
            table.write(results.folder / TABLES)
    with replace_file(results.folder / TEXT) as temporary:
        temporary.write_text("\n".join(_write_lines(results, answer, more, sections)) + "\n", encoding="utf-8")
    write_page(
        page, "report.html", suite=results.suite, record=results.record, answer=answer, more=more, sections=sections
    )  # fmt: skip
    return page


def _write_lines(results: Results, answer: str, more: list[str], sections: list[Section]) -> Iterator[str]:
    """The report in Markdown."""
    yield f"# {results.suite.title}\n"
    if results.suite.question:
        yield f"*{results.suite.question}*\n"
    yield f"**{answer}**\n"
    yield from (f"- {sentence}" for sentence in more)
    for section in sections:
        yield f"\n## {section.title}\n"
        yield from (f"{paragraph}\n" for paragraph in section.paragraphs)
        yield from (f"- **{about}**: {text}" if about else f"- {text}" for about, text in section.cautions)
        for picture in section.pictures:
            yield f"![{_flatten(picture.alt)}]({FIGURES}/{picture.path.name})\n"
            yield f"*{picture.title}.* {picture.caption}\n"
        yield from (table.to_markdown() for table in (*section.tables, *section.more))
        for title, cards in section.cards.items():
            yield f"**{title}**\n"
            yield from (f"- {card.words}" + (f" ([{card.viewer}]({card.link}))" if card.link else "") for card in cards)
            yield ""
        for source in section.sources:
            where = f" <{source.address}>" if source.address else ""
            yield f"- {source.what}: {'; '.join(source.citations)}. Licence: {source.licence}.{where}"


def _flatten(text: str) -> str:
    """As the alternative text of a picture can hold it."""
    return text.replace("[", "(").replace("]", ")").replace("\n", " ")
