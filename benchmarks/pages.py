"""HTML that needs neither server nor network, made of templates."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from embeddings.errors import SommelierError
from embeddings.files import replace_file

MARK = "<!-- made by galaxy-sommelier -->"


def write_page(path: Path, template: str, **values: Any) -> None:
    """
    Fill a template and put the page in its place at once.

    Parameters
    ----------
    path : Path
        A page that was made here may be replaced, nothing else.
    template : str
        A file name in ``templates``.
    **values
        Escaped where the template puts them into HTML.

    Raises
    ------
    SommelierError
        When the path is another file.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

    refuse_foreign_page(path)
    loader = PackageLoader("benchmarks")
    environment = Environment(loader=loader, autoescape=select_autoescape(), undefined=StrictUndefined)
    text = environment.get_template(template).render(mark=MARK, **values)
    with replace_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def refuse_foreign_page(path: Path) -> None:
    """Raise unless a page may be written to a path: before the work, not after it."""
    if not path.exists():
        return
    start = b""
    if path.is_file():
        with path.open("rb") as file:
            start = file.read(200)
    if MARK.encode() not in start:
        raise SommelierError(
            f"{path} exists and was not made by this program: it would be lost. Choose another output."
        )
