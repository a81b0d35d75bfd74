"""Rows as tokens, some hundred at a time: what passes from a process that tokenises to the one that trains.

A million Python lists of token ids take many GiB; here ids are bytes of an array, and of a row only figures are kept.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import attrs

from arkor.backend.training_worker.examples.tokenize import IGNORED, EncodedRow, FittedRow, RowEncoder, fit, tokenise
from arkor.backend.training_worker.rows.spool import NumberedRow


class RowNote(NamedTuple):
    """What is kept of a row beside its tokens.

    Attributes:
        number: where a person finds it in its source.
        lengths: tokens of each of its examples, before they were brought to a length.
        mark: a number that only rows with the same messages share, below 2 to the power of 64.
        examples: how many examples it gives; none if it is dropped.
        tokens: tokens of these examples.
        counted: those of them that the loss counts.
        answers: how many answers it has.
        learnt: how many of them are learnt whole, with their ends.
        is_truncated: whether one of its examples was cut.
        has_end: whether its last answer is learnt.
        has_special_text: whether the text of one of its messages or tools became a special token.
        lost: the fields that the chat template left out, in the order of the alphabet.
        unseen: the keys that the model does not see.
    """

    number: int
    lengths: tuple[int, ...]
    mark: int
    examples: int
    tokens: int
    counted: int
    answers: int
    learnt: int
    is_truncated: bool
    has_end: bool
    has_special_text: bool
    lost: tuple[str, ...]
    unseen: tuple[str, ...]

    @property
    def longest(self) -> int:
        """Tokens of its longest example, before it was brought to a length."""
        return max(self.lengths, default=0)


@attrs.frozen
class Chunk:
    """Some rows of one part as the model sees them.

    Attributes:
        notes: the rows.
        lengths: tokens of each of their examples, in order.
        input_ids: token ids of all examples, one behind the other.
        labels: their labels, see ``Example``.
    """

    notes: list[RowNote]
    lengths: array[int]
    input_ids: array[int]
    labels: array[int]

    def examples(self) -> Iterator[tuple[list[int], list[int]]]:
        """Yield the token ids and the labels of each example."""
        begin = 0
        for length in self.lengths:
            yield self.input_ids[begin : begin + length].tolist(), self.labels[begin : begin + length].tolist()
            begin += length


@attrs.frozen
class ChunkEncoder:
    """Makes chunks of the rows of one part.

    Attributes:
        source: what to call the rows in an error.
        encoder: for their format.
        most_tokens: how long an example may be, at least 8.
        truncates: whether a longer example is cut; otherwise its row is dropped.
    """

    source: str
    encoder: RowEncoder
    most_tokens: int
    truncates: bool

    def encode(self, rows: Iterable[NumberedRow]) -> Chunk:
        """Tokenise rows, and bring them to the length.

        Raises:
            DatasetError: a row cannot be tokenised; it is named.
        """
        chunk = Chunk([], array("i"), array("i"), array("i"))
        for row in tokenise(self.source, rows, self.encoder):
            fitted = fit(row, self.most_tokens, truncate=self.truncates)
            chunk.notes.append(_note(row, fitted))
            for example in fitted.examples:
                chunk.lengths.append(len(example.input_ids))
                chunk.input_ids.extend(example.input_ids)
                chunk.labels.extend(example.labels)
        return chunk


def _note(row: EncodedRow, fitted: FittedRow) -> RowNote:
    return RowNote(
        number=row.number,
        lengths=tuple(len(example.input_ids) for example in row.examples),
        mark=_mark(row),
        examples=len(fitted.examples),
        tokens=sum(len(example.input_ids) for example in fitted.examples),
        counted=sum(len(example.labels) - example.labels.count(IGNORED) for example in fitted.examples),
        answers=fitted.answers,
        learnt=fitted.learnt,
        is_truncated=fitted.is_truncated,
        has_end=fitted.has_end,
        has_special_text=row.has_special_text,
        lost=tuple(sorted(row.examples[0].lost)) if row.examples else (),
        unseen=row.unseen,
    )


def _mark(row: EncodedRow) -> int:
    digest = hashlib.sha256()
    for example in row.examples:
        digest.update(array("q", example.input_ids).tobytes() + b"|")
    return int.from_bytes(digest.digest()[:8], "big")
