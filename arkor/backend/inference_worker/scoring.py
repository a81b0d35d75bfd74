"""How likely a model finds tokens that are given to it: the sum of their log-probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from arkor.backend.inference_worker.base import Base
from arkor.backend.inference_worker.rows import Say

Places = list[tuple[int, float]]

PIECE_TOKENS = 256  # are read between two tokens of the answers under way


class Scoring:
    """Tokens that are scored, a piece at a time. Not thread-safe.

    Args:
        say: where the result goes.
        base: the model.
        adapter: the adapter's name within the base, or None.
        ids: token ids, at least two.
        start: the first token that counts, 1 or more; all behind it count too.
        top: how many of the likeliest tokens are told for the place of each, at least 0.

    Attributes:
        done: whether all is read, or nobody waits for it any more.
    """

    def __init__(
        self,
        say: Say,
        base: Base,
        adapter: str | None,
        ids: Sequence[int],
        start: int,
        *,
        top: int = 0,
    ) -> None:
        self.say = say
        self.adapter = adapter
        self.done = False
        self._base = base
        self._ids = ids
        self._start = start
        self._reader = base.new_reader(adapter, len(ids))
        self._read = 0
        self._sum = 0.0
        self._top = top
        self._likeliest: list[Places] = []

    def stop(self) -> None:
        """Read no further, and tell nothing."""
        if not self.done:
            self._reader.close()
        self.done = True

    def step(self) -> None:
        """Read a piece; after the last one, tell the result."""
        end = min(self._read + PIECE_TOKENS, len(self._ids) - 1)  # nothing follows the last token
        first = max(self._read, self._start - 1)
        kept = list(range(first - self._read, end - self._read))
        piece = self._ids[self._read : end]
        logits = self._reader.read(piece, kept)
        if kept:
            targets = torch.tensor(self._ids[first + 1 : end + 1], device=logits.device)
            chosen = torch.log_softmax(logits, dim=-1).gather(1, targets[:, None])
            self._sum += float(chosen.cpu().double().sum())  # a Mac's GPU has no float64
            if self._top:
                self._likeliest += likeliest(logits, self._top)
        self._read = end
        if end == len(self._ids) - 1:
            self.stop()
            tokens = len(self._ids) - self._start
            told = {"likeliest": self._likeliest} if self._top else {}
            self.say(scored={"logprob": self._sum, "tokens": tokens, **self._base.computed_by, **told})


def likeliest(logits_T_V: torch.Tensor, top: int) -> list[Places]:  # noqa: N803
    """Return the likeliest tokens behind each place, each with its log-probability in nats, likeliest first.

    Args:
        logits_T_V: the model's output, float32, (time, vocabulary).
        top: how many, at most the size of the vocabulary.
    """
    values, ids = torch.log_softmax(logits_T_V, dim=-1).topk(min(top, logits_T_V.shape[-1]), dim=-1)
    return [list(zip(*place, strict=True)) for place in zip(ids.tolist(), values.tolist(), strict=True)]


def fault(ids: Any, start: Any, context: int | None) -> str | None:
    """Say why tokens cannot be scored; None if they can."""
    if not 1 <= start < len(ids):
        return f"start must be from 1 to {len(ids) - 1}, not {start}"
    if context is not None and len(ids) > context:
        return f"there are {len(ids)} tokens, and the model's context is {context}"
    return None
