"""How likely a model found the tokens that a text consists of.

Protocol: docs/protocol.md, "Inference": ``logprobs``.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import attrs
import torch

TokenBytes = Callable[[int], bytes]
"""Gives the bytes of a token's text."""


@attrs.frozen
class Likelihood:
    """How likely a token was in its place, and which ones were the likeliest.

    Attributes:
        token: its id.
        logprob: the natural logarithm of its probability at temperature 1, before a constraint and ``top_p``; None for
            the first token of a text, and where it has no probability at all.
        top: the ids of the likeliest tokens with theirs, likeliest first.
    """

    token: int
    logprob: float | None
    top: Sequence[tuple[int, float]] = ()

    def to_line(self, token_bytes: TokenBytes, offset: int) -> dict[str, Any]:
        """Return it as the server is told, see ``pipes``.

        Args:
            token_bytes: gives the tokens' texts.
            offset: how many characters of the text are before it.
        """
        top = [_described(token, logprob, token_bytes) for token, logprob in self.top]
        return {**_described(self.token, self.logprob, token_bytes), "top": top, "offset": offset}


def likelihoods(logits_T_V: torch.Tensor, tokens: Sequence[int], top: int) -> list[Likelihood]:  # noqa: N803
    """Return how likely tokens were.

    Args:
        logits_T_V: the model's output before each of them, float32, (time, vocabulary).
        tokens: their ids, (time,).
        top: how many of the likeliest are wanted at each place, at least 0.
    """
    logprobs_T_V = torch.log_softmax(logits_T_V, dim=-1)  # noqa: N806
    places = torch.tensor(tokens, device=logprobs_T_V.device)[:, None]
    chosen = logprobs_T_V.gather(1, places)[:, 0].tolist()
    values, ids = (found.tolist() for found in logprobs_T_V.topk(min(top, logprobs_T_V.shape[1]), dim=-1))
    return [
        Likelihood(token, _finite(logprob), [pair for pair in zip(*best, strict=True) if math.isfinite(pair[1])])
        for token, logprob, best in zip(tokens, chosen, zip(ids, values, strict=True), strict=True)
    ]


class ShownTokens:
    """Finds the tokens of the text that is shown, while parts of what the model writes are held back or left out.

    A token counts if any of its text is shown. So neither the end token nor those of reasoning, calls and stops are
    among them. Not thread-safe.

    Args:
        token_bytes: gives the tokens' texts.
        top: how many of the likeliest tokens are told at each place, at least 0.
        before: a text that stands before it, and that the model did not write.
    """

    def __init__(self, token_bytes: TokenBytes, top: int, before: str = "") -> None:
        self._token_bytes = token_bytes
        self._top = top
        self._before = len(before)
        self._written: deque[tuple[Likelihood, int, int]] = deque()  # each with where its text begins and ends
        self._end = 0  # characters, of all that the model wrote
        self._left: deque[tuple[Likelihood, int]] = deque()  # each with where its text begins in what is left
        self._left_end = 0
        self._shown = 0  # characters, of what is left

    def add(self, logits_V: torch.Tensor, token: int, text: str) -> None:  # noqa: N803
        """Take a token that was chosen.

        Args:
            logits_V: the model's output before it, float32, (vocabulary,).
            token: its id.
            text: what was certain then of its text, and of that of tokens before it.
        """
        begin = self._end
        self.add_text(text)
        [found] = likelihoods(logits_V[None], [token], self._top)
        self._written.append((found, begin, self._end))

    def add_text(self, text: str) -> None:
        """Take text of the tokens before that became certain now."""
        self._end += len(text)

    def leave(self, text: str, held: int) -> None:
        """Take what is left of what the model wrote, without reasoning and calls.

        Args:
            text: more of it; what stands before it and was not taken so is left out for good.
            held: how many characters behind it are not decided on.
        """
        end = self._end - held
        begin = end - len(text)
        while self._written and self._written[0][1] < end:
            found, first, last = self._written.popleft()
            if first >= begin or last > begin:
                self._left.append((found, self._left_end + max(0, first - begin)))
        self._left_end += len(text)

    def show(self, text: str) -> list[dict[str, Any]]:
        """Return the tokens of the text that is shown next, as ``Likelihood.to_line`` gives them.

        Args:
            text: more of what is left, in its order.
        """
        self._shown += len(text)
        told = []
        while self._left and self._left[0][1] < self._shown:
            found, first = self._left.popleft()
            told.append(found.to_line(self._token_bytes, self._before + first))
        return told


def _described(token: int, logprob: float | None, token_bytes: TokenBytes) -> dict[str, Any]:
    return {"bytes": list(token_bytes(token)), "logprob": logprob}


def _finite(logprob: float) -> float | None:
    return logprob if math.isfinite(logprob) else None
