"""The prompt that was read last, whose beginning the next one may share.

Questions that are asked one after the other often begin alike, with the same instructions. Of two prompts of 80 tokens
that share 62, both take half the time then (measured on a CPU).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from arkor.backend.inference_worker.transformers_engine.caches import Pairs

SHORTEST = 16  # tokens; fewer are not worth a call of other shape


class LastPrompt:
    """What the model keeps of one prompt. Not thread-safe."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Let go of it."""
        self._ids: Sequence[int] = ()
        self._adapter: str | None = None
        self._tensors: Pairs = ()

    def keep(self, ids: Sequence[int], adapter: str | None, tensors: Pairs) -> None:
        """Take the place of the one before.

        Args:
            ids: the prompt.
            adapter: what it was read with, as ``Adapters.load`` named it, or None.
            tensors: what the model keeps of exactly these tokens, of one row.
        """
        self._ids, self._adapter, self._tensors = ids, adapter, tensors

    def beginning(self, ids: Sequence[int], adapter: str | None) -> Pairs | None:
        """Return what the model keeps of the tokens with which a prompt begins as this one does.

        Args:
            ids: the prompt; at least its last token is left to be read.
            adapter: what it will be read with.

        Returns:
            Of the first tokens; None if too few are the same, or the adapter is another one.
        """
        pairs = zip(self._ids, ids[:-1], strict=False)
        count = sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))
        if adapter != self._adapter or count < SHORTEST:
            return None
        return [pair and (pair[0][:, :, :count], pair[1][:, :, :count]) for pair in self._tensors]
