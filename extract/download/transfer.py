"""One file over HTTP, resumed where it stopped: a downloader for pooch."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from time import sleep
from typing import Any

import requests
import urllib3

from embeddings.errors import SommelierError
from embeddings.files import sync_path
from extract.download.archives import require_space
from extract.download.releases import format_size

CHUNK = 2**16
TIMEOUT = (20, 60)  # seconds to connect, and without a byte
TRIES = 5  # in a row without a byte more than before
LONGEST_WAIT = 300  # seconds; who is told to wait longer comes back later
BUSY = (429, 500, 502, 503, 504)
# bytes as they lie there: a range of a compressed answer is another range
HEADERS = {"Accept-Encoding": "identity", "User-Agent": "galaxy-sommelier"}


class Partial:
    """
    What was got of a file so far, and a note of what the server said that it is a part of.

    Parameters
    ----------
    target : Path
        The file that it will become; the partial lies beside it as ``.NAME.part``.
    """

    def __init__(self, target: Path) -> None:
        self.name = target.name
        self.path = target.with_name(f".{target.name}.part")
        self.note_path = target.with_name(f".{target.name}.part.json")

    @property
    def size(self) -> int:
        """Bytes that are there."""
        return self.path.stat().st_size if self.path.exists() else 0

    @property
    def version(self) -> str:
        """The server's name for the version that this is a part of; empty if it gave none."""
        return str(self._note().get("version", ""))

    @property
    def total(self) -> int | None:
        """The whole file's size, if the server told."""
        total = self._note().get("total")
        return total if isinstance(total, int) else None

    def _note(self) -> dict[str, Any]:
        with suppress(OSError, ValueError):
            note = json.loads(self.note_path.read_text())
            return note if isinstance(note, dict) else {}
        return {}

    def begin(self, version: str, total: int | None) -> None:
        """Forget what is there, then note the version: a kill between leaves nothing, never a mixture."""
        self.path.open("wb").close()
        temporary = self.note_path.with_name(f"{self.note_path.name}.tmp")
        temporary.write_text(json.dumps({"version": version, "total": total}))
        os.replace(temporary, self.note_path)

    def discard(self) -> None:
        """Remove the partial and its note."""
        self.path.unlink(missing_ok=True)
        self.note_path.unlink(missing_ok=True)

    def share(self, output: Path) -> None:
        """
        Make pooch's temporary file a second name of the partial; earlier ones, of killed runs, go.

        What is checked and renamed is then the partial itself: a kill during the check loses nothing.
        """
        self.path.touch()
        for name in output.parent.glob("tmp*"):
            if name == output or (name.is_file() and name.samefile(self.path)):
                name.unlink()
        with suppress(OSError):  # a disk without hard links: handed over at the end
            os.link(self.path, output)

    def hand_over(self, output: Path) -> None:
        """Flush to disk, and see that it lies at `output`."""
        sync_path(self.path)
        if not (output.exists() and output.samefile(self.path)):
            os.replace(self.path, output)


class Interrupted(Exception):
    """A transfer that may go on later; `wait` is what the server asks for, in seconds."""

    def __init__(self, reason: str, wait: float = 0) -> None:
        super().__init__(reason)
        self.wait = wait


class Transfer:
    """
    Fetch a URL into a partial file, again and again until it is whole, and hand that to pooch.

    Parameters
    ----------
    partial : Partial
    check : callable
        Called with the path of the whole file before pooch gets it; raises if it is not the right one.
    report : callable
        Called with the bytes that are there, and those of the whole file (None: not known).
    room : int
        How many times the file's size the disk must hold: 2 if it will be unpacked.
    """

    def __init__(
        self,
        partial: Partial,
        check: Callable[[Path], None],
        report: Callable[[int, int | None], None],
        room: int = 1,
    ) -> None:
        self.partial, self.check, self.report, self.room = partial, check, report, room

    def __call__(self, url: str, output_file: Any, pooch: Any = None, *, check_only: bool | None = None) -> None:
        """
        As pooch calls it.

        Raises
        ------
        SommelierError
            When the server does not have the file, or nothing more comes.
        """
        output = Path(output_file)
        self.partial.share(output)
        self._fetch(url)
        self.check(self.partial.path)
        self.partial.hand_over(output)

    def _fetch(self, url: str) -> None:
        tries, furthest = 0, self.partial.size
        while True:
            try:
                return self._try_once(url)
            except Interrupted as problem:
                if self.partial.size > furthest:
                    tries, furthest = 0, self.partial.size
                tries += 1
                if tries >= TRIES or problem.wait > LONGEST_WAIT:
                    raise SommelierError(self._explain(url, tries, problem)) from problem
                sleep(max(problem.wait, 2 ** (tries - 1)))

    def _explain(self, url: str, tries: int, problem: Interrupted) -> str:
        later = f" and asks to wait {problem.wait / 60:.0f} minutes" if problem.wait > LONGEST_WAIT else ""
        have, total = self.partial.size, self.partial.total
        of_total = f" of {format_size(total)}" if total else ""
        kept = f"{format_size(have)}{of_total} are kept; run the same command again to go on from there."
        return (
            f"{url} could not be fetched: {problem}{later} ({tries} tries without progress). "
            f"{kept if have else 'Run the same command again later.'}"
        )

    def _try_once(self, url: str) -> None:
        have, total = self.partial.size, self.partial.total
        if have and have == total:
            return  # a run was killed while it checked
        with _open(url, self._ask_for_rest(have)) as response:
            if response.status_code == 200:
                self.partial.begin(_read_version(response), _read_length(response))
            elif not self._fits(response, have):
                self.partial.begin("", None)
                raise Interrupted("the file there is not the one that was begun")
            elif response.status_code == 416:
                return  # nothing is left to send
            self._receive(response)

    def _ask_for_rest(self, have: int) -> dict[str, str]:
        """Headers for the rest, if it can be known to be the rest of the same file."""
        version, total = self.partial.version, self.partial.total
        if not have or not (version or total) or have > (total or have):
            return {}
        return {"Range": f"bytes={have}-"} | ({"If-Range": version} if version else {})

    def _fits(self, response: requests.Response, have: int) -> bool:
        """Whether a range of a file begins where the partial ends, and is of the same version."""
        found = re.fullmatch(r"bytes (?:(\d+)-\d+|\*)/(\d+|\*)", response.headers.get("Content-Range", ""))
        if not found:
            return False
        start, length = (int(text) if text and text.isdigit() else None for text in found.groups())
        same_length = length == self.partial.total or None in (length, self.partial.total)
        same_version = _read_version(response) in ("", self.partial.version)
        return same_length and same_version and have == (length if response.status_code == 416 else start)

    def _receive(self, response: requests.Response) -> None:
        have, total = self.partial.size, self.partial.total
        if total is not None:
            require_space(self.partial.path.parent, self.room * total - have, self.partial.name)
        self.report(have, total)
        with self.partial.path.open("ab") as out:
            for chunk in _read_chunks(response):
                out.write(chunk)
                have += len(chunk)
                self.report(have, total)
        if total is not None and have != total:
            raise Interrupted(f"{have} bytes came of {total}")


def _open(url: str, headers: dict[str, str]) -> requests.Response:
    """The answer, if it has the file; its body is not read yet."""
    try:
        response = requests.get(url, headers=HEADERS | headers, stream=True, timeout=TIMEOUT)
    except (requests.ConnectionError, requests.Timeout) as error:
        reason = next((cause.reason for cause in error.args if hasattr(cause, "reason")), error)
        raise Interrupted(f"no answer ({reason})") from error
    except requests.RequestException as error:
        raise SommelierError(f"{url} cannot be fetched: {error}") from error
    if response.status_code in (200, 206, 416):
        return response
    response.close()
    answer = f"the server answers {response.status_code} {response.reason}"
    if response.status_code in BUSY:
        raise Interrupted(answer, _read_wait(response.headers.get("Retry-After", "")))
    raise SommelierError(
        f"{url}: {answer}. Look on the release's page whether it has moved; --mirror takes files from another server."
    )


def _read_chunks(response: requests.Response) -> Iterator[bytes]:
    """The body as it was sent; what goes wrong on the way can be told from what goes wrong on disk."""
    try:
        yield from response.raw.stream(CHUNK, decode_content=False)
    except (urllib3.exceptions.HTTPError, OSError) as error:
        raise Interrupted(f"the connection broke ({error})") from error


def _read_version(response: requests.Response) -> str:
    """What names these very bytes: a strong ETag, or the date of the last change."""
    tag = response.headers.get("ETag", "")
    return tag if tag and not tag.startswith("W/") else response.headers.get("Last-Modified", "")


def _read_length(response: requests.Response) -> int | None:
    length = response.headers.get("Content-Length", "")
    return int(length) if length.isdigit() else None


def _read_wait(text: str) -> float:
    """Seconds of a Retry-After header: a number, or a date."""
    if text.strip().isdigit():
        return float(text)
    with suppress(ValueError):
        date = parsedate_to_datetime(text)
        return max(0.0, (date - datetime.now(date.tzinfo or UTC)).total_seconds())
    return 0.0
