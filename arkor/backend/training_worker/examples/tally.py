"""What became of rows, counted as they are tokenised, in a few bytes for each row."""

from __future__ import annotations

from array import array
from collections.abc import Iterable

import attrs

from arkor.backend.training_worker.examples.chunks import RowNote
from arkor.data.formats import name_list
from arkor.protocol.receipt import MOST_NAMES, MOST_NUMBERS, NumberedCount, Receipt


@attrs.define
class _Count:
    """How many rows something happened to, and the numbers of the first."""

    count: int = 0
    first: list[int] = attrs.field(factory=list)

    def add(self, number: int) -> None:
        self.count += 1
        if len(self.first) < MOST_NUMBERS:
            self.first.append(number)


class Tally:
    """What became of the rows to train on, or of those held out.

    Attributes:
        numbers: the number of each row.
        longest: tokens of the longest example of each row, before it was brought to a length.
        lengths: tokens of each example, before it was brought to a length.
        kept: how many rows give an example.
    """

    def __init__(self) -> None:
        self.numbers = array("Q")
        self.longest = array("I")
        self.lengths = array("I")
        self.kept = 0
        self._marks = array("Q")
        self._examples = self._tokens = self._counted = self._answers = self._learnt = 0
        self._truncated, self._dropped, self._without_end, self._special_text = (_Count() for _ in range(4))
        self._lost: dict[str, _Count] = {}
        self._unseen: dict[str, _Count] = {}

    def __len__(self) -> int:
        return len(self.numbers)

    def add(self, row: RowNote) -> None:
        """Count a row."""
        self.numbers.append(row.number)
        self.longest.append(row.longest)
        self.lengths.extend(row.lengths)
        self._marks.append(row.mark)
        self.kept += row.examples > 0
        self._examples += row.examples
        self._tokens += row.tokens
        self._answers += row.answers
        self._learnt += row.learnt
        self._counted += row.counted
        for count, happened in (
            (self._truncated, row.is_truncated),
            (self._dropped, not row.examples),
            (self._without_end, row.examples and not row.has_end),
            (self._special_text, row.has_special_text),
        ):
            if happened:
                count.add(row.number)
        for counts, names in ((self._lost, row.lost), (self._unseen, row.unseen)):
            for name in names:
                counts.setdefault(name, _Count()).add(row.number)


def receipt_of(train: Tally, held_out: Tally, max_length: int, reason: str) -> Receipt:
    """Return what became of a job's rows.

    Args:
        train: of the rows to train on.
        held_out: of the held-out rows.
        max_length: the longest example allowed, in tokens.
        reason: where that number comes from, in words.
    """
    unseen = _by_name(train._unseen, held_out._unseen)
    duplicates, held_out_duplicates = _duplicates(train, held_out)
    return Receipt(
        rows=len(train),
        held_out_rows=len(held_out),
        examples=train._examples,
        answers=train._answers,
        tokens=train._tokens,
        counted_tokens=train._counted,
        max_length=max_length,
        max_length_reason=reason,
        truncated=_numbered(train._truncated, held_out._truncated),
        dropped=_numbered(train._dropped, held_out._dropped),
        unlearnt_answers=train._answers - train._learnt,
        without_end=_numbered(train._without_end),
        duplicates=duplicates,
        left_out=_by_name(train._lost, held_out._lost),
        unseen_keys={name_list([name]): unseen[name] for name in list(unseen)[:MOST_NAMES]},
        more_unseen_keys=max(0, len(unseen) - MOST_NAMES),
        special_text=_numbered(train._special_text, held_out._special_text),
        held_out_duplicates=held_out_duplicates,
    )


def _numbered(train: _Count, held_out: _Count | None = None) -> NumberedCount:
    other = held_out or _Count()
    return NumberedCount(train.count + other.count, (*train.first, *other.first), other.count)


def _by_name(train: dict[str, _Count], held_out: dict[str, _Count]) -> dict[str, NumberedCount]:
    return {name: _numbered(train.get(name, _Count()), held_out.get(name)) for name in {**train, **held_out}}


def _duplicates(train: Tally, held_out: Tally) -> tuple[NumberedCount, NumberedCount]:
    """Return the rows whose messages are those of an earlier row to train on: to train on, and held out."""
    import numpy as np

    marks = np.asarray(train._marks)
    first = np.unique(marks, return_index=True)[1]
    is_repeated = np.ones(len(marks), bool)
    is_repeated[first] = False
    is_trained_on = np.isin(np.asarray(held_out._marks), marks)
    return (
        NumberedCount.of(_numbers(train, np.flatnonzero(is_repeated).tolist())),
        NumberedCount.of((), _numbers(held_out, np.flatnonzero(is_trained_on).tolist())),
    )


def _numbers(rows: Tally, places: Iterable[int]) -> Iterable[int]:
    return (rows.numbers[place] for place in places)
