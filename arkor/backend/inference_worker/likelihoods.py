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
    """

    def __init__(self, token_bytes: TokenBytes, top: int) -> None:
        self._token_bytes = token_bytes
        self._top = top
        self._pending: deque[tuple[Likelihood, int, int]] = deque()  # each with where its text begins and ends
        self._written = 0  # characters, of all that the model wrote
        self._shown = 0  # characters

    def add(self, logits_V: torch.Tensor, token: int, text: str) -> None:  # noqa: N803
        """Take a token that was chosen.

        Args:
            logits_V: the model's output before it, float32, (vocabulary,).
            token: its id.
            text: what was certain then of its text, and of that of tokens before it.
        """
        begin = self._written
        self.add_text(text)
        [found] = likelihoods(logits_V[None], [token], self._top)
        self._pending.append((found, begin, self._written))

    def add_text(self, text: str) -> None:
        """Take text of the tokens before that became certain now."""
        self._written += len(text)

    def put_before(self, text: str) -> None:
        """Let a text that the model did not write stand before it, for the offsets."""
        self._shown += len(text)

    def take(self, text: str, held: int) -> list[dict[str, Any]]:
        """Return the tokens of a text that is shown now, as ``Likelihood.to_line`` gives them.

        Args:
            text: the text; what was neither shown before nor is held back is left out for good.
            held: how many characters of what the model wrote are held back behind it.
        """
        end = self._written - held
        begin, taken = end - len(text), []
        while self._pending and self._pending[0][1] < end:
            found, first, last = self._pending.popleft()
            if first >= begin or last > begin:
                offset = self._shown + max(0, first - begin)
                taken.append(found.to_line(self._token_bytes, offset))
        self._shown += len(text)
        return taken


def _described(token: int, logprob: float | None, token_bytes: TokenBytes) -> dict[str, Any]:
    return {"bytes": list(token_bytes(token)), "logprob": logprob}


def _finite(logprob: float) -> float | None:
    return logprob if math.isfinite(logprob) else None
