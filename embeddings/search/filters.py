"""``COLUMN OP VALUE``: which galaxies may be found, by any catalog column."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from embeddings.errors import SearchError

Array = np.ndarray[Any, Any]

OPERATORS: dict[str, Callable[[Array, Any], Any]] = {
    "!=": operator.ne,
    "<=": operator.le,
    ">=": operator.ge,
    "==": operator.eq,
    "=": operator.eq,
    "<": operator.lt,
    ">": operator.gt,
}
# a name or value with a sign in it, or that begins with a quotation, must stand in quotes as a whole: "a <> b" and
# "a = 'b' or c = 'd'" would mean something else than they say
_WORDS = r"""'[^']*'|"[^"]*"|[^\s=<>!'"][^=<>!]*?"""
_CONDITION = re.compile(rf"\s*(?P<column>{_WORDS})\s*(?P<sign>!=|<=|>=|==|=|<|>)\s*(?P<value>{_WORDS})\s*")
TRUTH = {"true": 1.0, "false": 0.0}


@dataclass(frozen=True)
class Condition:
    """
    One comparison of a column with a value.

    Attributes
    ----------
    column, sign, value : str
        As they were written, quotes taken off.
    quoted : bool
        Whether the value stood in quotes: it is text then, also where it looks like a number.
    """

    column: str
    sign: str
    value: str
    quoted: bool = False

    @classmethod
    def parse(cls, text: str) -> Condition:
        """
        Take ``redshift < 0.1`` or ``class = 'spiral'`` apart; nothing is evaluated as code.

        Raises
        ------
        SearchError
        """
        match = _CONDITION.fullmatch(text)
        if match is None:
            raise SearchError(
                f"{text!r} is no condition. Write COLUMN OP VALUE, with =, !=, <, <=, > or >= between: "
                "'redshift < 0.1', \"class = 'spiral'\". Repeat --where for several."
            )
        column, value = (_unquote(match[name]) for name in ("column", "value"))
        return cls(column, match["sign"], value, match["value"] != value)

    def test(self, values: Array, where: str) -> Array:
        """
        Which of some values it holds for; for none that is missing, unless empty text is what it asks about.

        Parameters
        ----------
        values : (n_rows,) array
            Numbers, booleans or text.
        where : str
            Whose column it is, for errors.

        Returns
        -------
        (n_rows,) bool array

        Raises
        ------
        SearchError
            When text is compared with a number.
        """
        if values.dtype.kind in "US":
            compared = np.asarray(OPERATORS[self.sign](values.astype(str), self._as_text(where)))
            return compared & (values != values.dtype.type()) if self.value else compared
        with np.errstate(over="ignore"):  # beyond what the column's type can hold lies infinity
            compared = np.asarray(OPERATORS[self.sign](values, self._as_number(where)))
        return compared & ~np.isnan(values) if values.dtype.kind == "f" else compared

    def _as_text(self, where: str) -> str:
        if not self.quoted and _is_number(self.value):
            raise SearchError(
                f"{self}: {self.column} is text in {where}, {self.value} a number. "
                f"To compare with text, put it in quotes: \"{self.column} {self.sign} '{self.value}'\"."
            )
        return self.value

    def _as_number(self, where: str) -> float | int:
        if not self.quoted and self.value.lower() in TRUTH:
            return TRUTH[self.value.lower()]
        if self.quoted or not _is_number(self.value):
            raise SearchError(
                f"{self}: {self.column} holds numbers in {where}, {self.value!r} is text. Compare it with a number."
            )
        try:
            number = int(self.value)  # a long id is more than a float can hold
        except ValueError:
            return float(self.value)
        return number if abs(number) < 2**64 else float(self.value)

    def __str__(self) -> str:
        value = f"'{self.value}'" if self.quoted else self.value
        return f"{self.column} {self.sign} {value}"


def _unquote(text: str) -> str:
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"" else text


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
