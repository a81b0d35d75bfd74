"""A base model in memory, with everything that belongs to it."""

from __future__ import annotations

import functools
import logging
import platform
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, DynamicCache

from arkor.backend.inference.prompts import Prompts
from arkor.backend.inference_worker.adapters import Adapters
from arkor.backend.inference_worker.grammars import Grammars
from arkor.backend.models.hardware import available_bytes
from arkor.backend.models.weights import count_parameters
from arkor.serving.refusal import Refusal

log = logging.getLogger("arkor.chat")

MAX_ROWS = 8
_OVERHEAD = 1.2  # beside the weights: what is computed, and what the cache keeps
_X86 = frozenset({"x86_64", "AMD64"})
_AMPLE = 4  # times what a model takes in float32
_ATTENTION = frozenset({"full_attention", "sliding_attention"})


class UsesAdapters(Protocol):
    """Says which rows of a call use which adapter."""

    def use(self, rows: Sequence[str | None], *, once: bool = False) -> None:
        """As ``Adapters.use``."""

    def is_lone(self, name: str | None) -> bool:
        """As ``Adapters.is_lone``."""
        ...


class Base:
    """A base model, its tokenizer and its adapters. Not thread-safe.

    Args:
        model: of transformers.
        tokenizer: of transformers.
        adapters: what it was fine-tuned to.
        dtype: the number type of its weights, as torch names it.

    Attributes:
        dtype: the number type of its weights.
        tokenizer: of transformers.
        prompts: renders conversations for it.
        grammars: constrains its answers.
        adapters: what it was fine-tuned to.
        context: how many tokens a prompt and its answer may have together; None where the model does not say.
        stop_ids: the tokens that end an answer.
        is_joinable: whether its caches are keys and values only, so that they can be cut and joined.
        max_rows: how many answers can be made at the same time.
    """

    def __init__(self, model: Any, tokenizer: Any, adapters: UsesAdapters, dtype: str) -> None:
        self._model = model
        self._device = model.device
        self.dtype = dtype
        self.tokenizer = tokenizer
        self.adapters = adapters
        text = model.config.get_text_config()
        self.context: int | None = getattr(text, "max_position_embeddings", None)
        self.prompts = Prompts(self.tokenizer, context=self.context)
        self.stop_ids = _stop_ids(self._model, self.tokenizer) | self.prompts.end_ids
        self.grammars = Grammars(self.tokenizer, text.vocab_size, self.stop_ids)
        # Only a cache that is keys and values can be put together from those of several rows.
        self.is_joinable = set(getattr(text, "layer_types", None) or ["full_attention"]) <= _ATTENTION
        self.max_rows = MAX_ROWS if self.is_joinable else 1

    def without_gradients(self) -> AbstractContextManager[None]:
        """Return what the model is called in."""
        return torch.inference_mode()  # type: ignore[no-any-return]

    @functools.cached_property
    def escaped_prompts(self) -> Prompts:
        """The same as ``prompts``, with special tokens in messages as text."""
        return Prompts(self.tokenizer, context=self.context, escape_special_tokens=True)

    def new_cache(self) -> DynamicCache:
        """Return an empty cache for one row."""
        # Made without a config, its layers keep all positions, also where the model attends to the last few only:
        # those layers, cut at different positions, could not be joined. The attention mask still hides the rest.
        return DynamicCache() if self.is_joinable else DynamicCache(config=self._model.config)

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
            once: whether other rows will follow soon; see ``Adapters.use``.

        Returns:
            The logits behind each row's last token: float32, (batch, vocabulary).
        """
        self.adapters.use(adapters, once=once)
        ids = torch.tensor(ids_B_T, device=self._device)
        how: dict[str, Any] = {}
        if positions is not None:
            starts = torch.tensor(positions, device=self._device)
            how["position_ids"] = starts[:, None] + torch.arange(ids.shape[1], device=self._device)
        if padding is not None and any(padding):
            places = torch.arange(cache.get_seq_length() + ids.shape[1], device=self._device)
            how["attention_mask"] = (places[None, :] >= torch.tensor(padding, device=self._device)[:, None]).long()
        with self.without_gradients():
            output = self._model(input_ids=ids, past_key_values=cache, use_cache=True, logits_to_keep=1, **how)
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
        self.adapters.use([adapter], once=True)
        ids, places = (torch.tensor(values, device=self._device, dtype=torch.long) for values in (ids_T, kept))
        with self.without_gradients():
            output = self._model(input_ids=ids[None], past_key_values=cache, use_cache=True, logits_to_keep=places)
        logits: torch.Tensor = output.logits[0].float()
        return logits


class LoadedBase(Base):
    """A base model that is loaded for chats.

    Args:
        path: a folder, or the id of a model in the hub's cache.
        dtype: the number type of its weights, as torch names it; None for the one that it answers best in.

    Attributes:
        adapters: those that it has loaded.

    Raises:
        OSError, ValueError: it cannot be loaded.
    """

    adapters: Adapters

    def __init__(self, path: str, dtype: str | None = None) -> None:
        began = time.monotonic()
        dtype = dtype or served_dtype(path)
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        tokenizer = AutoTokenizer.from_pretrained(path)
        model = AutoModelForCausalLM.from_pretrained(path, dtype=getattr(torch, dtype)).to(device).eval()
        super().__init__(model, tokenizer, Adapters(model), dtype)
        log.info("%s loaded in %s in %.1f s", path, dtype, time.monotonic() - began)


def served_dtype(path: str) -> str:
    """Return the number type that a base model answers in: ``bfloat16``, or ``float32`` where that is quicker and fits.

    A processor without instructions for it makes bfloat16 out of float32: a prompt takes five times as long (measured
    with AVX2 and torch 2.13). float32 takes twice the memory, so it is chosen only if there is plenty.

    Args:
        path: as ``Base`` takes it.
    """
    if torch.cuda.is_available() or platform.machine() not in _X86 or torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return "bfloat16"
    needed = memory_bytes(path, "float32")
    return "float32" if 0 < _AMPLE * needed <= available_bytes() else "bfloat16"


def memory_bytes(path: str, dtype: str | None = None) -> int:
    """Return about how much memory a base model takes, in bytes; 0 where its files do not say.

    Args:
        path: as ``Base`` takes it.
        dtype: as ``Base`` takes it.
    """
    dtype = dtype or served_dtype(path)
    parameters = count_parameters(Path(path)) if Path(path).is_dir() else None
    return int((parameters or 0) * getattr(torch, dtype).itemsize * _OVERHEAD)


def _stop_ids(model: Any, tokenizer: Any) -> frozenset[int]:
    ends = model.generation_config.eos_token_id
    found = set(ends) if isinstance(ends, (list, tuple)) else {ends}
    return frozenset(int(token) for token in found | {tokenizer.eos_token_id} if token is not None)
