"""Several files whose rows are counted on from one to the next."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from arkor.data.conversion import Found


class Parts:
    """Where the rows of each file begin.

    Attributes:
        first_rows: by file, the number of its first row among all, from 1; of the files that were begun.
    """

    def __init__(self) -> None:
        self.first_rows: dict[str, int] = {}
        self._last = 0

    def add(self, name: str, found: Iterable[Found]) -> Iterator[Found]:
        """Yield the rows of the next file, with their numbers among all.

        Args:
            name: the file.
            found: its rows, with their numbers in it.
        """
        before = self._last
        self.first_rows[name] = before + 1
        for number, row, reason in found:
            self._last = before + number
            yield self._last, row, reason

    def place(self, number: int) -> str:
        """Return which row of which file has a number, see ``place_of``."""
        return place_of(self.first_rows, number)


def place_of(first_rows: Mapping[str, int], number: int) -> str:
    """Return which row of which file has a number, as the beginning of a sentence: ``b.jsonl, row 3: ``.

    Args:
        first_rows: by file, the number of its first row among all, in their order; possibly none.
        number: the number among all.
    """
    begun = [(name, first) for name, first in first_rows.items() if first <= number]
    return f"{begun[-1][0]}, row {number - begun[-1][1] + 1}: " if begun else ""
