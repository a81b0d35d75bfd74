"""The prompt of a completion, told before its answer.

Protocol: docs/protocol.md, "Inference": ``echo``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from arkor.backend.inference_worker.likelihoods import Likelihood, TokenBytes, likelihoods
from arkor.serving.refusal import Refusal


class Echo:
    """A prompt, and how likely the model found its tokens. Not thread-safe.

    Args:
        text: the prompt.
        ids: its token ids, at least one.
        offsets: how many characters of the prompt are before each of them.
        token_bytes: gives the tokens' texts.
        top: how many of the likeliest tokens are told at each place, at least 0; None if no likelihoods are told.
    """

    def __init__(
        self, text: str, ids: Sequence[int], offsets: Sequence[int], token_bytes: TokenBytes, top: int | None
    ) -> None:
        self.text = text
        self._ids = ids
        self._offsets = offsets
        self._token_bytes = token_bytes
        self._top = top
        self._found = [Likelihood(ids[0], None)]

    @property
    def needs_logits(self) -> bool:
        """Whether likelihoods of the prompt are told and not all known."""
        return self._top is not None and len(self._found) < len(self._ids)

    def take(self, logits_T_V: torch.Tensor) -> None:  # noqa: N803
        """Take the model's output behind the next tokens of the prompt.

        Args:
            logits_T_V: float32, (time, vocabulary); the one behind the last token belongs to the answer.
        """
        start = len(self._found)
        following = self._ids[start : start + len(logits_T_V)]
        self._found += likelihoods(logits_T_V[: len(following)], following, self._top or 0)

    def told(self) -> dict[str, Any]:
        """Return what the server is told before an answer."""
        if self._top is None:
            return {"delta": self.text}
        places = zip(self._found, self._offsets, strict=True)
        return {"delta": self.text, "logprobs": [found.to_line(self._token_bytes, offset) for found, offset in places]}


def text_offsets(tokenizer: Any, text: str, count: int) -> list[int]:
    """Return how many characters of a text are before each of its tokens.

    Args:
        tokenizer: of transformers.
        text: the text.
        count: how many of its tokens are wanted, from the first one on.

    Raises:
        Refusal: 400, this kind of tokenizer does not say it.
    """
    if not tokenizer.is_fast:
        raise Refusal(
            400, "echo: cannot be combined with logprobs: this model's tokenizer does not say where tokens are."
        )
    offsets, end = [], 0
    for first, last in tokenizer(text, return_offsets_mapping=True)["offset_mapping"][:count]:
        offsets.append(min(first, end))  # some tokenizers leave the blanks before a token out of it
        end = max(end, last)
    return offsets
