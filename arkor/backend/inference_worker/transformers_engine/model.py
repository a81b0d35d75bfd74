"""A model of transformers as it is called: with caches, and with an adapter for each row."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

import torch
from transformers import DynamicCache

from arkor.backend.inference_worker.base import Adapters

_ATTENTION = frozenset({"full_attention", "sliding_attention"})


class UsesAdapters(Adapters, Protocol):
    """Says which rows of a call use which adapter."""

    def use(self, rows: Sequence[str | None], *, once: bool = False) -> None:
        """As ``adapters.Adapters.use``."""


class Model:
    """A model of transformers. Not thread-safe.

    Args:
        module: of transformers.
        adapters: what it was fine-tuned to.
        without_gradients: makes what the model is called in.

    Attributes:
        module: of transformers.
        is_joinable: whether its caches are keys and values only, so that they can be cut and joined.
    """

    def __init__(
        self,
        module: Any,
        adapters: UsesAdapters,
        without_gradients: Callable[[], AbstractContextManager[None]] = torch.inference_mode,
    ) -> None:
        self.module = module
        self._device = module.device
        self._adapters = adapters
        self._without_gradients = without_gradients
        # Only a cache that is keys and values can be put together from those of several rows.
        kinds = getattr(module.config.get_text_config(), "layer_types", None) or ["full_attention"]
        self.is_joinable = set(kinds) <= _ATTENTION

    def new_cache(self) -> DynamicCache:
        """Return an empty cache for one row."""
        # Made without a config, its layers keep all positions, also where the model attends to the last few only:
        # those layers, cut at different positions, could not be joined. The attention mask still hides the rest.
        return DynamicCache() if self.is_joinable else DynamicCache(config=self.module.config)

    def forward(
        self,
        ids_B_T: Sequence[Sequence[int]],  # noqa: N803
        cache: DynamicCache,
        adapters: Sequence[str | None],
        positions: Sequence[int] | None = None,
        padding: Sequence[int] | None = None,
        *,
        once: bool = False,
    ) -> torch.Tensor:
        """Go on with rows by some tokens each; the cache grows by them.

        Args:
            ids_B_T: token ids, (batch, time).
            cache: what the model keeps of the tokens before.
            adapters: each row's, as ``Adapters.load`` named it.
            positions: the position of each row's first token in ids_B_T; None where the cache says it.
            padding: how many places at the start of each row's cache mean nothing; None for none.
            once: whether other rows will follow soon; see ``adapters.Adapters.use``.

        Returns:
            The logits behind each row's last token: float32, (batch, vocabulary).
        """
        self._adapters.use(adapters, once=once)
        ids = torch.tensor(ids_B_T, device=self._device)
        how: dict[str, Any] = {}
        if positions is not None:
            starts = torch.tensor(positions, device=self._device)
            how["position_ids"] = starts[:, None] + torch.arange(ids.shape[1], device=self._device)
        if padding is not None and any(padding):
            places = torch.arange(cache.get_seq_length() + ids.shape[1], device=self._device)
            how["attention_mask"] = (places[None, :] >= torch.tensor(padding, device=self._device)[:, None]).long()
        with self._without_gradients():
            output = self.module(input_ids=ids, past_key_values=cache, use_cache=True, logits_to_keep=1, **how)
        logits: torch.Tensor = output.logits[:, -1].float()
        return logits

    def forward_all(
        self,
        ids_T: Sequence[int],  # noqa: N803
        cache: DynamicCache,
        adapter: str | None,
        kept: Sequence[int],
    ) -> torch.Tensor:
        """Go on with one row by some tokens; the cache grows by them.

        Args:
            ids_T: token ids, (time,), at least one.
            cache: what the model keeps of the tokens before.
            adapter: as ``Adapters.load`` named it, or None.
            kept: the places among these tokens whose logits are wanted, ascending; possibly none.

        Returns:
            The logits behind these tokens: float32, (kept, vocabulary).
        """
        self._adapters.use([adapter], once=True)
        ids, places = (torch.tensor(values, device=self._device, dtype=torch.long) for values in (ids_T, kept))
        with self._without_gradients():
            output = self.module(input_ids=ids[None], past_key_values=cache, use_cache=True, logits_to_keep=places)
        logits: torch.Tensor = output.logits[0].float()
        return logits
