"""From a job's source to the examples that the trainer is fed."""

from __future__ import annotations

import array
import hashlib
from collections.abc import Iterable, Sequence
from typing import Any

import attrs

from arkor.backend.training_worker.lengths import Lengths, choose_length
from arkor.backend.training_worker.rows import Rows, load_rows
from arkor.backend.training_worker.spec import WorkerSpec
from arkor.backend.training_worker.tokenize import IGNORED, EncodedRow, Example, FittedRow, RowEncoder, fit, tokenise
from arkor.data.formats import name_list
from arkor.errors import DatasetError
from arkor.protocol.receipt import MOST_NAMES, NumberedCount, Receipt

MOST_DROPPED = 0.01  # of the rows, where nobody said that they may be


@attrs.frozen(kw_only=True)
class Data:
    """The rows of a job as the model sees them.

    Attributes:
        format: the format of the rows to train on.
        train: examples to train on, at least one.
        eval: examples held out, longest first: batches of like length are quicker.
        train_rows: how many rows the examples to train on come from.
        eval_rows: how many rows the examples held out come from.
        receipt: what became of the rows.
        prompt_form: how they were rendered, see ``RowEncoder``.
    """

    format: str
    train_rows: int
    eval_rows: int
    train: list[Example]
    eval: list[Example]
    receipt: Receipt
    prompt_form: str

    @property
    def longest(self) -> int:
        """Tokens of the longest example."""
        return max(len(example.input_ids) for example in (*self.train, *self.eval))


def prepare_data(spec: WorkerSpec, tokenizer: Any, most_tokens: Lengths) -> Data:
    """Load and tokenise a job's rows.

    Args:
        spec: the attempt.
        tokenizer: the model's, of transformers.
        most_tokens: how long an example may be if the job does not say.

    Raises:
        DatasetError: the rows cannot be had, one of them is bad, or too many of them are lost.
    """
    config = spec.config
    rows = load_rows(spec)
    encoders = {kind: RowEncoder(tokenizer, kind, config) for kind in {rows.train.format, rows.eval.format}}
    train, held_out = (tokenise(part.source, part.rows, encoders[part.format]) for part in (rows.train, rows.eval))
    length = choose_length(config, (row.longest for row in (*train, *held_out)), most_tokens)
    fitted = [fit(row, length.tokens, truncate=length.truncates) for row in train]
    fitted_held_out = [fit(row, length.tokens, truncate=length.truncates) for row in held_out]
    receipt = attrs.evolve(
        _receipt(train, held_out, fitted, fitted_held_out),
        max_length=length.tokens,
        max_length_reason=length.reason,
    )
    _check_loss(rows, receipt, fitted, fitted_held_out, config.excess_length)
    return Data(
        format=rows.train.format,
        train_rows=_kept(fitted),
        eval_rows=_kept(fitted_held_out),
        train=[example for row in fitted for example in row.examples],
        eval=sorted(
            (example for row in fitted_held_out for example in row.examples),
            key=lambda example: -len(example.input_ids),
        ),
        receipt=receipt,
        prompt_form=encoders[rows.train.format].prompt_form,
    )


def _receipt(
    train: Sequence[EncodedRow],
    held_out: Sequence[EncodedRow],
    fitted: Sequence[FittedRow],
    fitted_held_out: Sequence[FittedRow],
) -> Receipt:
    examples = [example for row in fitted for example in row.examples]
    seen: dict[bytes, int] = {}
    repeated = [row.number for row in train if seen.setdefault(_mark(row), row.number) != row.number]
    unseen = _by_name(*(((row.number, row.unseen) for row in part) for part in (train, held_out)))
    return Receipt(
        rows=len(train),
        held_out_rows=len(held_out),
        examples=len(examples),
        answers=sum(row.answers for row in fitted),
        tokens=sum(len(example.input_ids) for example in examples),
        counted_tokens=sum(label != IGNORED for example in examples for label in example.labels),
        truncated=NumberedCount.of(
            (row.number for row in fitted if row.is_truncated),
            (row.number for row in fitted_held_out if row.is_truncated),
        ),
        dropped=NumberedCount.of(
            (row.number for row in fitted if not row.examples),
            (row.number for row in fitted_held_out if not row.examples),
        ),
        unlearnt_answers=sum(row.answers - row.learnt for row in fitted),
        without_end=NumberedCount.of(row.number for row in fitted if row.examples and not row.has_end),
        duplicates=NumberedCount.of(repeated),
        left_out=_by_name(*(((row.number, _lost(row)) for row in part) for part in (train, held_out))),
        unseen_keys={name_list([name]): unseen[name] for name in list(unseen)[:MOST_NAMES]},
        more_unseen_keys=max(0, len(unseen) - MOST_NAMES),
        special_text=NumberedCount.of(
            (row.number for row in train if row.has_special_text),
            (row.number for row in held_out if row.has_special_text),
        ),
        held_out_duplicates=NumberedCount.of((), (row.number for row in held_out if _mark(row) in seen)),
    )


def _lost(row: EncodedRow) -> list[str]:
    """Return the fields that a row lost."""
    return sorted(row.examples[0].lost) if row.examples else []


_Named = Iterable[tuple[int, Iterable[str]]]


def _by_name(train: _Named, held_out: _Named) -> dict[str, NumberedCount]:
    """Return the rows in which a name is found, by name.

    Args:
        train: of the rows to train on, the number of each, and the names found in it.
        held_out: of the held-out rows.
    """
    numbers: dict[str, tuple[list[int], list[int]]] = {}
    for place, rows in enumerate((train, held_out)):
        for number, names in rows:
            for name in names:
                numbers.setdefault(name, ([], []))[place].append(number)
    return {name: NumberedCount.of(*found) for name, found in numbers.items()}


def _mark(row: EncodedRow) -> bytes:
    """Return what only rows with the same messages share."""
    digest = hashlib.sha256()
    for example in row.examples:
        digest.update(array.array("q", example.input_ids).tobytes() + b"|")
    return digest.digest()


def _check_loss(
    rows: Rows, receipt: Receipt, fitted: Sequence[FittedRow], held_out: Sequence[FittedRow], excess: str | None
) -> None:
    """Refuse a training on a part of the rows that nobody chose.

    Raises:
        DatasetError: no row is left to train on, or to evaluate; or more than 1 % are dropped; or one, where that is an
            error.
    """
    way = "raise max_length" if receipt.max_length_reason.startswith("set") else "set a max_length that they fit into"
    if not _kept(fitted):
        raise DatasetError(rows.train.source, f"no row is left to train on: {_fate(receipt)}; {way}")
    if held_out and not _kept(held_out):
        raise DatasetError(rows.eval.source, f"no held-out row is left to evaluate: {_fate(receipt)}; {way}")
    all_rows = len(fitted) + len(held_out)
    most = {"drop": all_rows, "error": 0}.get(excess or "", MOST_DROPPED * all_rows)
    if receipt.dropped.count > most:
        raise DatasetError(
            rows.train.source,
            f"{receipt.dropped.count} of {all_rows} rows would be lost: {_fate(receipt)}; {way}, or set "
            'excess_length="drop" to train without them',
        )


def _kept(rows: Iterable[FittedRow]) -> int:
    return sum(bool(row.examples) for row in rows)


def _fate(receipt: Receipt) -> str:
    return (
        f"within max_length={receipt.max_length} tokens ({receipt.max_length_reason}) nothing is left to learn of "
        f"{receipt.dropped.numbers()}"
    )
