"""From a job's source to the examples that the trainer is fed."""

from __future__ import annotations

import array
import hashlib
from collections.abc import Iterable, Sequence
from typing import Any

import attrs

from arkor.backend.training_worker.lengths import Lengths, choose_length
from arkor.backend.training_worker.rows import Rows, load_rows
from arkor.backend.training_worker.spec import RowsSpec
from arkor.backend.training_worker.tokenize import IGNORED, EncodedRow, Example, FittedRow, RowEncoder, fit, tokenise
from arkor.data.formats import name_list
from arkor.errors import DatasetError
from arkor.protocol.config import JobConfig
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


def prepare_data(spec: RowsSpec, tokenizer: Any, most_tokens: Lengths) -> Data:
    """Load and tokenise a job's rows.

    Args:
        spec: the rows and the settings.
        tokenizer: the model's, of transformers.
        most_tokens: how long an example may be if the job does not say.

    Raises:
        DatasetError: the rows cannot be had, one of them is bad, or too many of them are lost.
    """
    fitted = fit_rows(encode_rows(load_rows(spec), tokenizer, spec.config), spec.config, most_tokens)
    check_loss(fitted, spec.config)
    return Data(
        format=fitted.rows.train.format,
        train_rows=_kept(fitted.train),
        eval_rows=_kept(fitted.eval),
        train=[example for row in fitted.train for example in row.examples],
        eval=sorted(
            (example for row in fitted.eval for example in row.examples),
            key=lambda example: -len(example.input_ids),
        ),
        receipt=fitted.receipt,
        prompt_form=fitted.prompt_form,
    )


@attrs.frozen(kw_only=True)
class EncodedRows:
    """The rows of a job as tokens, of any length.

    Attributes:
        rows: the rows as they are.
        prompt_form: how they were rendered, see ``RowEncoder``.
        train: rows to train on.
        eval: rows held out.
    """

    rows: Rows
    prompt_form: str
    train: list[EncodedRow]
    eval: list[EncodedRow]


@attrs.frozen(kw_only=True)
class FittedRows:
    """The rows of a job, each brought to a length; the attributes are those of ``EncodedRows``, and ``receipt``."""

    rows: Rows
    prompt_form: str
    train: list[FittedRow]
    eval: list[FittedRow]
    receipt: Receipt


def encode_rows(rows: Rows, tokenizer: Any, config: JobConfig) -> EncodedRows:
    """Tokenise rows.

    Args:
        rows: the rows.
        tokenizer: the model's, of transformers.
        config: the job's settings.

    Raises:
        DatasetError: a row cannot be tokenised.
    """
    encoders = {kind: RowEncoder(tokenizer, kind, config) for kind in {rows.train.format, rows.eval.format}}
    train, held_out = (tokenise(part.source, part.rows, encoders[part.format]) for part in (rows.train, rows.eval))
    return EncodedRows(rows=rows, prompt_form=encoders[rows.train.format].prompt_form, train=train, eval=held_out)


def fit_rows(rows: EncodedRows, config: JobConfig, most_tokens: Lengths) -> FittedRows:
    """Choose the length of a job's examples, bring its rows to it, and note what becomes of them.

    Args:
        rows: the rows.
        config: the job's settings.
        most_tokens: how long an example may be if the job does not say.
    """
    length = choose_length(config, (row.longest for row in (*rows.train, *rows.eval)), most_tokens)
    train, held_out = (
        [fit(row, length.tokens, truncate=length.truncates) for row in part] for part in (rows.train, rows.eval)
    )
    receipt = attrs.evolve(
        _receipt(rows.train, rows.eval, train, held_out),
        max_length=length.tokens,
        max_length_reason=length.reason,
        recognised_columns=rows.rows.train.recognised or rows.rows.eval.recognised,
    )
    return FittedRows(rows=rows.rows, prompt_form=rows.prompt_form, train=train, eval=held_out, receipt=receipt)


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


def check_loss(rows: FittedRows, config: JobConfig) -> None:
    """Refuse a training on a part of the rows that nobody chose.

    Args:
        rows: the rows of the job.
        config: its settings.

    Raises:
        DatasetError: no row is left to train on, or to evaluate; or more than 1 % are dropped; or one, where that is an
            error.
    """
    receipt = rows.receipt
    way = "raise max_length" if receipt.max_length_reason.startswith("set") else "set a max_length that they fit into"
    if not _kept(rows.train):
        raise DatasetError(rows.rows.train.source, f"no row is left to train on: {_fate(receipt)}; {way}")
    if rows.eval and not _kept(rows.eval):
        raise DatasetError(rows.rows.eval.source, f"no held-out row is left to evaluate: {_fate(receipt)}; {way}")
    all_rows = len(rows.train) + len(rows.eval)
    most = {"drop": all_rows, "error": 0}.get(config.excess_length or "", MOST_DROPPED * all_rows)
    if receipt.dropped.count > most:
        raise DatasetError(
            rows.rows.train.source,
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
