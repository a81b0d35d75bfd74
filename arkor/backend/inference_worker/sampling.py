"""Choosing the next token."""

from __future__ import annotations

import attrs
import torch

from arkor.serving.refusal import Refusal

_GREEDY_BELOW = 1e-5  # division by less is one by zero in float32


@attrs.frozen(kw_only=True)
class Sampler:
    """How one answer's tokens are chosen. Not thread-safe: its generator moves on.

    Attributes:
        temperature: divides the logits; 0 takes the likeliest token.
        top_p: the smallest set of likeliest tokens with at least this probability is sampled from.
        generator: where chance comes from; None takes torch's own.
    """

    temperature: float
    top_p: float
    generator: torch.Generator | None = None

    def pick(self, logits_V: torch.Tensor, allowed_V: torch.Tensor | None = None) -> int:  # noqa: N803
        """Return a token id.

        Args:
            logits_V: float32, (vocabulary,).
            allowed_V: bool, (vocabulary,): which tokens may be chosen; None for all.

        Raises:
            Refusal: 500, the model's output is not a number.
        """
        if allowed_V is not None:
            logits_V = logits_V.masked_fill(~allowed_V.to(logits_V.device), float("-inf"))  # noqa: N806
        best = int(logits_V.argmax())
        if not torch.isfinite(logits_V[best]):
            raise Refusal(500, "The model's output is not a number: the adapter or the model is damaged.")
        if self.temperature < _GREEDY_BELOW:
            return best
        probabilities_V = torch.softmax((logits_V - logits_V[best]) / self.temperature, dim=-1)  # noqa: N806
        if self.top_p < 1:
            probabilities_V = self._nucleus(probabilities_V)  # noqa: N806
        return int(torch.multinomial(probabilities_V.cpu(), 1, generator=self.generator))

    def _nucleus(self, probabilities_V: torch.Tensor) -> torch.Tensor:  # noqa: N803
        ordered, tokens = probabilities_V.sort(descending=True)
        before = ordered.cumsum(0) - ordered  # the probability of all that are likelier
        ordered[before >= self.top_p] = 0.0
        return torch.zeros_like(probabilities_V).scatter_(0, tokens, ordered)
