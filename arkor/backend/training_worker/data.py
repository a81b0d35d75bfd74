"""From a job's source to the examples that the trainer is fed."""

from __future__ import annotations

from typing import Any

import attrs

from arkor.backend.training_worker.rows import load_rows
from arkor.backend.training_worker.spec import WorkerSpec
from arkor.backend.training_worker.tokenize import Example, RowEncoder, Tokenised, tokenise
from arkor.errors import DatasetError


@attrs.frozen(kw_only=True)
class Data:
    """The rows of a job as the model sees them.

    Attributes:
        format: the rows' format.
        train: rows to train on, at least one.
        eval: rows held out, longest first: batches of like length are quicker.
        truncated: rows that were cut.
        dropped: rows in which nothing was left to learn.
    """

    format: str
    train: list[Example]
    eval: list[Example]
    truncated: int
    dropped: int

    @property
    def longest(self) -> int:
        """Tokens of the longest example."""
        return max(len(example.input_ids) for example in (*self.train, *self.eval))


def prepare_data(spec: WorkerSpec, tokenizer: Any) -> Data:
    """Load and tokenise a job's rows.

    Raises:
        DatasetError: the rows cannot be had, one of them is bad, or none is left to train on.
    """
    config = spec.config
    rows = load_rows(spec)
    encoder = RowEncoder(tokenizer, rows.format, responses_only=config.train_on_responses_only is not False)
    longest = config.value("max_length")
    train_rows = tokenise(rows.source, rows.train, encoder, longest)
    eval_rows = tokenise(rows.source, rows.eval, encoder, longest) if rows.eval else Tokenised([], 0, 0)
    if not train_rows.examples:
        raise DatasetError(
            rows.source,
            f"no row is left to train on: cut to max_length={longest} tokens, none of the {train_rows.dropped} rows "
            "has an answer left to learn; raise max_length",
        )
    return Data(
        format=rows.format,
        train=train_rows.examples,
        eval=sorted(eval_rows.examples, key=lambda example: -len(example.input_ids)),
        truncated=train_rows.truncated + eval_rows.truncated,
        dropped=train_rows.dropped + eval_rows.dropped,
    )
