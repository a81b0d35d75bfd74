"""Rows become tokens, and labels that say which of them the loss counts.

Protocol: docs/protocol.md, "Jobs": datasetFormat, trainOnResponsesOnly and maxLength.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import attrs

from arkor.backend.inference.prompts import plain_tokens
from arkor.backend.training_worker.examples.chat import ChatEncoder, Encoded, RowProblem
from arkor.backend.training_worker.rows.spool import NumberedRow, Row
from arkor.data.questions import plain_prompt
from arkor.errors import ConfigError, DatasetError
from arkor.protocol.config import JobConfig

IGNORED = -100  # the label that torch's cross entropy passes over


@attrs.frozen
class Example:
    """A row as the model sees it.

    Attributes:
        input_ids: token ids.
        labels: the same ids where the loss counts them, -100 elsewhere; the first is never counted, as nothing
            comes before it to predict it from.
    """

    input_ids: list[int]
    labels: list[int]


@attrs.frozen
class EncodedRow:
    """A row as tokens, of any length.

    Attributes:
        number: where a person finds it in its source.
        examples: what it gives, see ``ChatEncoder``.
        unseen: the keys of the row that the model does not see.
    """

    number: int
    examples: list[Encoded]
    unseen: tuple[str, ...] = ()

    @property
    def has_special_text(self) -> bool:
        """Whether the text of one of its messages or tools became a special token."""
        return any(example.has_special_text for example in self.examples)

    @property
    def longest(self) -> int:
        """Tokens of its longest example."""
        return max((len(example.input_ids) for example in self.examples), default=0)


@attrs.frozen
class FittedRow:
    """A row as the model sees it.

    Attributes:
        number: where a person finds it in its source.
        examples: its examples; none if it is dropped.
        is_truncated: whether one of them was cut.
        answers: how many answers it has.
        learnt: how many of them are learnt whole, with their ends.
        has_end: whether its last answer is.
    """

    number: int
    examples: list[Example]
    is_truncated: bool
    answers: int
    learnt: int
    has_end: bool


class RowEncoder:
    """Tokenises rows of one format.

    Args:
        tokenizer: of transformers.
        kind: the rows' format.
        config: the job's settings: whether the loss counts only what the assistant says (without effect on ``text``
            rows), and how the chat template is used.

    Attributes:
        prompt_form: ``chat``, if the chat template renders the rows; ``raw``, if they are plain text to the model.

    Raises:
        ConfigError: ``escape_special_tokens`` is set, and the model or its tokenizer cannot do it.
    """

    def __init__(self, tokenizer: Any, kind: str, config: JobConfig) -> None:
        self._tokenizer = tokenizer
        self._special = frozenset(tokenizer.all_special_ids)
        self._responses_only = config.train_on_responses_only is not False
        self._chat: ChatEncoder | None = None
        if tokenizer.chat_template and config.value("apply_chat_template"):
            self._chat = ChatEncoder(
                tokenizer,
                options=config.chat_template_kwargs,
                may_lose=config.allow_dropped_fields or (),
                escape_special_tokens=config.value("escape_special_tokens"),
            )
        elif config.escape_special_tokens:
            raise ConfigError("escape_special_tokens", "needs the chat template of the model")
        encoders: dict[str, Callable[[Row], list[Encoded]]] = {
            "chatml": self._chatml,
            "prompt_completion": self._prompt_completion,
            "alpaca": self._alpaca,
            "text": self._text,
        }
        self._encode = encoders[kind]
        self.prompt_form = "chat" if self._chat and kind != "text" else "raw"

    def encode(self, row: Row) -> list[Encoded]:
        """Tokenise one row; see ``ChatEncoder.encode`` for when it gives several examples, or none.

        Raises:
            RowProblem: it cannot be tokenised.
        """
        return self._encode(row)

    def _conversation(self, turns: list[Any], learn_from: int, tools: Any) -> list[Encoded]:
        if self._chat is None:
            why = "apply_chat_template is False" if self._tokenizer.chat_template else "the model has no chat template"
            raise RowProblem(f"messages need the chat template, and {why}: give prompt and completion as texts instead")
        if not self._responses_only:
            return [self._chat.encode_all(turns, tools=tools)]
        return self._chat.encode(turns, learn_from=learn_from, tools=tools)

    def _chatml(self, row: Row) -> list[Encoded]:
        return self._conversation(row["messages"], 0, row.get("tools"))

    def _prompt_completion(self, row: Row) -> list[Encoded]:
        prompt, completion = row["prompt"], row["completion"]
        if isinstance(prompt, str):
            return self._question(prompt, completion) if self._chat else self._continuation(prompt, completion)
        return self._conversation([*prompt, *completion], len(prompt), row.get("tools"))

    def _alpaca(self, row: Row) -> list[Encoded]:
        if self._chat is None:
            return self._continuation(plain_prompt(row) or "", row["output"])
        instruction, details = row["instruction"], row.get("input") or ""
        return self._question(f"{instruction}\n\n{details}" if details else instruction, row["output"])

    def _question(self, question: str, answer: str) -> list[Encoded]:
        turns = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
        return self._conversation(turns, 0, None)

    def _text(self, row: Row) -> list[Encoded]:
        ids = self._rendered(row["text"])
        return [Encoded(ids, [True] * len(ids), (len(ids),))]

    def _continuation(self, prompt: str, completion: str) -> list[Encoded]:
        before, ids = plain_tokens(self._tokenizer, prompt), plain_tokens(self._tokenizer, prompt + completion)
        if ids[: len(before)] != before:  # a token spans the seam; at inference the prompt ends there, so it must here
            ids = before + list(self._tokenizer(completion, add_special_tokens=False)["input_ids"])
        ids.append(self._tokenizer.eos_token_id)
        start = len(before) if self._responses_only else 0
        return [Encoded(ids, [place >= start for place in range(len(ids))], (len(ids),))]

    def _rendered(self, text: str) -> list[int]:
        """Return a text's tokens, between the tokens that begin and end one; a text may bring its own along."""
        ids = plain_tokens(self._tokenizer, text)
        begins = self._tokenizer.bos_token_id
        if begins is not None and ids[:2] == [begins, begins]:
            del ids[0]
        last = next((token for token in reversed(ids) if self._tokenizer.decode([token]).strip()), None)
        return ids if last in self._special else [*ids, self._tokenizer.eos_token_id]


def tokenise(source: str, rows: Iterable[NumberedRow], encoder: RowEncoder) -> Iterator[EncodedRow]:
    """Tokenise rows, one at a time.

    Args:
        source: what to call the rows in an error.
        rows: the rows.
        encoder: for their format.

    Raises:
        DatasetError: a row cannot be tokenised; it is named.
    """
    for item in rows:
        try:
            examples = encoder.encode(item.row)
        except RowProblem as exc:
            raise DatasetError(source, "a row cannot be trained on", [(item.number, str(exc))]) from exc
        of_messages = examples[0].unseen if examples else ()
        yield EncodedRow(item.number, examples, (*item.unseen, *of_messages))


def fit(row: EncodedRow, max_length: int, *, truncate: bool) -> FittedRow:
    """Bring a row to a length.

    Args:
        row: the row.
        max_length: longest example in tokens, at least 8.
        truncate: cut a longer example at its end, and drop it only if nothing that counts is left; otherwise drop the
            whole row.
    """
    answers = sum(len(one.ends) for one in row.examples)
    if not truncate and row.longest > max_length:
        return FittedRow(row.number, [], False, answers, 0, False)
    kept = [(_example(one, max_length), one) for one in row.examples]
    kept = [(example, one) for example, one in kept if any(label != IGNORED for label in example.labels)]
    ends = [end <= max_length for _, one in kept for end in one.ends]
    is_cut = any(len(one.input_ids) > max_length for _, one in kept)
    return FittedRow(row.number, [example for example, _ in kept], is_cut, answers, sum(ends), bool(ends and ends[-1]))


def _example(encoded: Encoded, max_length: int) -> Example:
    ids = encoded.input_ids[:max_length]
    labels = [token if counted else IGNORED for token, counted in zip(ids, encoded.counted, strict=False)]
    return Example(ids, [IGNORED, *labels[1:]])
