"""A base model in memory, whichever engine computes it: what an engine has to be able to do.

An engine is given token ids and gives logits. All else is the same for every engine: the prompt, the constraint, the
choice of each token, the text that is shown, and whose turn it is.
"""

from __future__ import annotations

import abc
import functools
from collections.abc import Callable, Collection, Sequence
from typing import Any, Protocol

import torch
from transformers import GenerationConfig

from arkor.backend.inference.prompts import Prompts
from arkor.backend.inference_worker.grammars import Grammars
from arkor.backend.inference_worker.rows import Row
from arkor.serving.refusal import Refusal

Advance = Callable[[Row, torch.Tensor], None]
"""Called for an answer with the logits for its next token, float32, (vocabulary,); it may set the answer's ``done``."""


class Adapters(Protocol):
    """The adapters of one base model."""

    def load(self, name: str, path: str, in_use: Collection[str]) -> str:
        """Make an adapter ready.

        Args:
            name: what it is; the same name means the same weights.
            path: where its files are.
            in_use: the returned names that may not be dropped.

        Returns:
            What rows call it.

        Raises:
            Refusal: 500, it cannot be loaded, or does not fit this model.
            LlamaError: the same of llama.cpp, in whose place transformers may be tried.
        """
        ...

    def is_lone(self, name: str | None) -> bool:
        """Whether rows with an adapter, as ``load`` named it, cannot be in one call with others."""
        ...


class Batch(Protocol):
    """The answers that one base model is making."""

    @property
    def rows(self) -> list[Row]:
        """The answers that are not done."""
        ...

    def add(self, *rows: Row) -> None:
        """Take answers to the same prompt in; it is read once.

        Args:
            rows: with the same prompt, adapter and company; more than one only if the base makes more than one.

        Raises:
            Refusal: 503, they do not fit into the memory there is.
        """
        ...

    def clear(self) -> list[Row]:
        """Let go of every answer; return those that were not done."""
        ...

    def turn(self, advance: Advance) -> None:
        """Read a piece of the prompts that are unread, and make one token of each answer."""
        ...


class Reader(Protocol):
    """Reads one text, from its first token on."""

    def read(self, ids_T: Sequence[int], kept: Sequence[int]) -> torch.Tensor:  # noqa: N803
        """Read the next tokens.

        Args:
            ids_T: token ids, (time,), at least one.
            kept: the places among these tokens whose logits are wanted, ascending; possibly none.

        Returns:
            The logits behind these tokens: float32, (kept, vocabulary).
        """
        ...

    def close(self) -> None:
        """Let go of what was read."""
        ...


class Base(abc.ABC):
    """A base model, its tokenizer and its adapters. Not thread-safe.

    Args:
        tokenizer: of transformers.
        config: the model's, of transformers.
        end_ids: the tokens that end a text of the model, as its files say.
        adapters: what it was fine-tuned to.
        dtype: the number type of its weights.
        max_rows: how many answers can be made at the same time.

    Attributes:
        engine: who computes, as answers name it.
        dtype: the number type of its weights.
        tokenizer: of transformers.
        prompts: renders conversations for it.
        grammars: constrains its answers.
        adapters: what it was fine-tuned to.
        context: how many tokens a prompt and its answer may have together; None where the model does not say.
        stop_ids: the tokens that end an answer.
        max_rows: how many answers can be made at the same time.
    """

    engine: str

    def __init__(
        self,
        tokenizer: Any,
        config: Any,
        end_ids: frozenset[int],
        adapters: Adapters,
        *,
        dtype: str,
        max_rows: int,
    ) -> None:
        text = config.get_text_config()
        self.dtype = dtype
        self.tokenizer = tokenizer
        self.adapters = adapters
        self.max_rows = max_rows
        self.context: int | None = getattr(text, "max_position_embeddings", None)
        self.prompts = Prompts(tokenizer, context=self.context)
        self.stop_ids = end_ids | self.prompts.end_ids
        self.grammars = Grammars(tokenizer, text.vocab_size, self.stop_ids)

    @property
    def computed_by(self) -> dict[str, str]:
        """Who computes, and in which number type, as the server is told."""
        return {"engine": self.engine, "dtype": self.dtype}

    @functools.cached_property
    def escaped_prompts(self) -> Prompts:
        """The same as ``prompts``, with special tokens in messages as text."""
        return Prompts(self.tokenizer, context=self.context, escape_special_tokens=True)

    def check_length(self, prompt_tokens: int, max_tokens: int = 1) -> None:
        """Check that a prompt leaves room for an answer.

        Args:
            prompt_tokens: how many tokens it has.
            max_tokens: how many the answer may have; it needs room for one of them.

        Raises:
            Refusal: 400, it does not.
        """
        if self.context is not None and prompt_tokens + min(max_tokens, 1) > self.context:
            raise Refusal(
                400,
                f"The prompt has {prompt_tokens} tokens, and the model's context is {self.context}, the answer "
                "included: shorten the messages.",
            )

    @abc.abstractmethod
    def new_batch(self) -> Batch:
        """Return what makes answers."""

    @abc.abstractmethod
    def new_reader(self, adapter: str | None, length: int) -> Reader:
        """Return what reads a text.

        Args:
            adapter: as ``Adapters.load`` named it, or None.
            length: how many tokens the text has at most.

        Raises:
            Refusal: 503, it does not fit into the memory there is.
        """

    @abc.abstractmethod
    def close(self) -> None:
        """Let go of memory that does not go with the last reference. Nothing is asked of it afterwards."""


def end_ids(generation: GenerationConfig, tokenizer: Any) -> frozenset[int]:
    """Return the tokens that end a text of a model, as its files say.

    Args:
        generation: the model's settings.
        tokenizer: of transformers.
    """
    ends = generation.eos_token_id
    found = set(ends) if isinstance(ends, (list, tuple)) else {ends}
    return frozenset(int(token) for token in found | {tokenizer.eos_token_id} if token is not None)
