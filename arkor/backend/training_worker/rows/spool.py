"""Checked rows on disk, so that a job may have more of them than the memory holds."""

from __future__ import annotations

import pickle
import tempfile
import weakref
from array import array
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, overload

import attrs

Row = dict[str, Any]


@attrs.frozen
class NumberedRow:
    """A row, and where a person finds it in its source.

    Attributes:
        number: its line in a file, or its place in a split, from 1.
        row: its content, only the keys of its format.
        unseen: its other keys, but for those whose values say nothing.
    """

    number: int
    row: Row
    unseen: tuple[str, ...] = ()


class Spool:
    """Rows in a file that has no name: it is gone with the process, however that ends. For one thread.

    Args:
        folder: where the file is.

    Raises:
        OSError: the file cannot be made.
    """

    def __init__(self, folder: Path) -> None:
        file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115  # closed with this object
        weakref.finalize(self, file.close)
        self._file = file
        self._bounds = array("Q", [0])  # where each row begins, and the last one ends, in bytes

    def add(self, row: NumberedRow) -> None:
        """Write a row behind the others.

        Raises:
            OSError: the disk is full.
        """
        written = self._file.write(pickle.dumps((row.number, row.row, row.unseen), pickle.HIGHEST_PROTOCOL))
        self._bounds.append(self._bounds[-1] + written)

    def rows(self) -> SpooledRows:
        """Return all rows; none is added any more.

        Raises:
            OSError: the disk is full.
        """
        self._file.flush()
        return SpooledRows(self, range(len(self._bounds) - 1))

    def raw(self, place: int) -> bytes:
        """Return a row as ``read_row`` takes it.

        Args:
            place: which one, from 0.
        """
        begin = self._bounds[place]
        self._file.seek(begin)
        return self._file.read(self._bounds[place + 1] - begin)


class SpooledRows(Sequence[NumberedRow]):
    """Some rows of a spool, each read when it is asked for.

    Args:
        spool: the spool.
        places: which of its rows these are, from 0.
    """

    def __init__(self, spool: Spool, places: Sequence[int]) -> None:
        self._spool = spool
        self._places = places

    def __len__(self) -> int:
        return len(self._places)

    @overload
    def __getitem__(self, place: int) -> NumberedRow: ...

    @overload
    def __getitem__(self, place: slice) -> SpooledRows: ...

    def __getitem__(self, place: int | slice) -> NumberedRow | SpooledRows:
        if isinstance(place, slice):
            return SpooledRows(self._spool, self._places[place])
        return read_row(self._spool.raw(self._places[place]))

    def select(self, places: Iterable[int]) -> SpooledRows:
        """Return some of the rows, by their places among these, from 0."""
        return SpooledRows(self._spool, array("Q", (self._places[place] for place in places)))

    def raw(self) -> Iterator[bytes]:
        """Yield each row as ``read_row`` takes it."""
        return map(self._spool.raw, self._places)


def read_row(raw: bytes) -> NumberedRow:
    """Return a row that ``SpooledRows.raw`` gave."""
    return NumberedRow(*pickle.loads(raw))
