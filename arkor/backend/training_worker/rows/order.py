"""The rows of a job in the order in which a person reads them, and the rows that have a text."""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import attrs

from arkor.backend.training_worker.rows.load import Rows, RowSet
from arkor.backend.training_worker.rows.spool import NumberedRow
from arkor.errors import DatasetError
from arkor.protocol.previews import RowHit, RowPlace

_BEFORE, _AFTER = 40, 120  # characters around a hit
_UNSEARCHED = frozenset({"role", "type"})  # every row has the same few words there


class RowOrder:
    """The rows in the order of their source; held-out rows with a source of their own come after the others.

    A position counts from 0 in this order. Not thread-safe.

    Args:
        rows: the rows of a job.
    """

    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        self._numbers = array("Q", (item.number for part in (rows.train, rows.eval) for item in part.rows))
        indices = range(len(self._numbers))
        is_one_source = rows.train.source == rows.eval.source
        self._order: Sequence[int] = sorted(indices, key=self._numbers.__getitem__) if is_one_source else indices

    def __len__(self) -> int:
        return len(self._order)

    def place(self, position: int) -> RowPlace | None:
        """Return where a row is; None if there is no such position."""
        if not 0 <= position < len(self):
            return None
        index = self._order[position]
        return RowPlace(self._numbers[index], self._is_held_out(index))

    def position(self, number: int, is_held_out: bool | None) -> int:
        """Return the position of a row.

        Args:
            number: its number, from 1; 0 for the first row.
            is_held_out: of which rows it is one; None prefers the row to train on where both have the number.

        Raises:
            DatasetError: there is no such row.
        """
        found = [
            position
            for position, index in enumerate(self._order)
            if number in (0, self._numbers[index]) and is_held_out in (None, self._is_held_out(index))
        ]
        if found:
            return found[0]  # rows to train on come first where numbers meet
        kind = {None: "", False: " to train on", True: " held out"}[is_held_out]
        span = f"{min(self._numbers)} to {max(self._numbers)}"
        raise DatasetError(self._rows.train.source, f"has no row {number}{kind}: its rows are {span}")

    def only(self, position: int) -> Rows:
        """Return one of the rows."""
        place = self._part_and_place(self._order[position])
        train, held_out = (
            attrs.evolve(part, rows=part.rows.select([place[1]] if part is place[0] else []))
            for part in (self._rows.train, self._rows.eval)
        )
        return Rows(train, held_out)

    def search(self, text: str, is_held_out: bool | None) -> Iterator[RowHit]:
        """Yield the rows that have a text, whatever its case, one row in memory at a time.

        Args:
            text: what to look for; every row has the empty text.
            is_held_out: which rows to look at; None for all.
        """
        pattern = re.compile(re.escape(text), re.IGNORECASE)
        for index in self._order:
            if is_held_out in (None, self._is_held_out(index)):
                part, place = self._part_and_place(index)
                hit = _hit(part.rows[place], self._is_held_out(index), pattern)
                if hit is not None:
                    yield hit

    def _is_held_out(self, index: int) -> bool:
        return index >= len(self._rows.train.rows)

    def _part_and_place(self, index: int) -> tuple[RowSet, int]:
        train = len(self._rows.train.rows)
        return (self._rows.eval, index - train) if index >= train else (self._rows.train, index)


def _hit(item: NumberedRow, is_held_out: bool, pattern: re.Pattern[str]) -> RowHit | None:
    texts = [text for text in _texts(item.row) if text] or [""]
    if not pattern.pattern:
        texts.reverse()  # rows are told apart by their ends: many begin with the same system message
    for text in texts:
        found = pattern.search(text)
        if found is not None:
            begin, end = found.span()
            before, after = text[max(0, begin - _BEFORE) : begin], text[end : end + _AFTER]
            return RowHit(
                row=item.number,
                is_held_out=is_held_out,
                before=f"{'…' * (begin > _BEFORE)}{before}",
                match=found[0],
                after=f"{after}{'…' * (len(text) > end + _AFTER)}",
            )
    return None


def _texts(value: Any) -> Iterator[str]:
    """Yield the texts of a row, in order."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for name, item in value.items():
            if name not in _UNSEARCHED:
                yield from _texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)
