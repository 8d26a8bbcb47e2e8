"""Errors that are meant for the user: what, where, what was expected, what to do next."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class SommelierError(Exception):
    """A problem that the user can mend; the command line prints it without a traceback."""


class CatalogError(SommelierError):
    """A table of galaxies that cannot be read as a catalog."""


class BackboneError(SommelierError):
    """A backbone that cannot be found, loaded or used as asked."""


class StoreError(SommelierError):
    """A store or part that is missing, damaged, of another version, or lacks what was asked for."""


class ProvenanceMismatch(SommelierError):
    """Vectors that another model, recipe or precision made."""


class HeadError(SommelierError):
    """A head that cannot be fitted, loaded or applied as asked."""


class RunError(SommelierError):
    """A fine-tuning run that is damaged, of another version, or was never finished."""


class SearchError(SommelierError):
    """A query that names nothing, an index that cannot be opened or made, a condition that cannot be tested."""


class BusyError(SommelierError):
    """Another process holds the output."""


def did_you_mean(name: str, known: Iterable[str], limit: int = 12) -> str:
    """
    Name the nearest of the known names, or list them.

    Parameters
    ----------
    name : str
        What was asked for.
    known : iterable of str
        What exists.
    limit : int
        How many names to list at most.

    Returns
    -------
    str
        A sentence for the end of an error message.
    """
    choices = [str(choice) for choice in known]
    near = difflib.get_close_matches(name, choices, n=3, cutoff=0.6)
    if near:
        return "Did you mean " + " or ".join(repr(choice) for choice in near) + "?"
    if not choices:
        return "There are none."
    shown = ", ".join(choices[:limit])
    return f"Known: {shown}" + (f" and {len(choices) - limit} more." if len(choices) > limit else ".")
