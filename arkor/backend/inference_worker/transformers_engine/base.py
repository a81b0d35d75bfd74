"""A base model that PyTorch and transformers compute."""

from __future__ import annotations

import logging
import platform
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from arkor.backend.inference_worker.base import Base, end_ids
from arkor.backend.inference_worker.transformers_engine.adapters import Adapters
from arkor.backend.inference_worker.transformers_engine.batch import TransformersBatch
from arkor.backend.inference_worker.transformers_engine.model import Model, UsesAdapters
from arkor.backend.models.hardware import X86, available_bytes
from arkor.backend.models.weights import count_parameters
from arkor.protocol.engines import TRANSFORMERS

log = logging.getLogger("arkor.chat")

MAX_ROWS = 8
_OVERHEAD = 1.2  # beside the weights: what is computed, and what the cache keeps
_AMPLE = 4  # times what a model takes in float32


class TransformersBase(Base):
    """A base model of transformers. Not thread-safe.

    Args:
        model: the model.
        tokenizer: of transformers.
        adapters: what it was fine-tuned to.
        dtype: the number type of its weights, as torch names it.

    Attributes:
        model: the model.
    """

    engine = TRANSFORMERS

    def __init__(self, model: Model, tokenizer: Any, adapters: UsesAdapters, dtype: str) -> None:
        self.model = model
        module = model.module
        ends = end_ids(module.generation_config, tokenizer)
        rows = MAX_ROWS if model.is_joinable else 1
        super().__init__(tokenizer, module.config, ends, adapters, dtype=dtype, max_rows=rows)

    def new_batch(self) -> TransformersBatch:
        """Return what makes answers."""
        return TransformersBatch(self.model)

    def new_reader(self, adapter: str | None, length: int) -> _Reader:  # its cache grows
        """Return what reads a text; see ``Base.new_reader``."""
        return _Reader(self.model, adapter)

    def close(self) -> None:
        """Do nothing: Python gives the memory back with the last reference."""


class _Reader:
    """Reads one text; see ``base.Reader``."""

    def __init__(self, model: Model, adapter: str | None) -> None:
        self._model = model
        self._adapter = adapter
        self._cache = model.new_cache()

    def read(self, ids_T: Sequence[int], kept: Sequence[int]) -> torch.Tensor:  # noqa: N803
        """Read the next tokens."""
        return self._model.forward_all(ids_T, self._cache, self._adapter, kept)

    def close(self) -> None:
        """Let go of what was read."""
        del self._cache


class LoadedBase(TransformersBase):
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
        device = torch.device(device_name())
        tokenizer = AutoTokenizer.from_pretrained(path)
        model = AutoModelForCausalLM.from_pretrained(path, dtype=getattr(torch, dtype)).to(device).eval()
        adapters = Adapters(model)
        super().__init__(Model(model, adapters), tokenizer, adapters, dtype)
        log.info("%s loaded in %s in %.1f s", path, dtype, time.monotonic() - began)


def device_name() -> str:
    """Return what base models answer on: the first CUDA device, else the GPU of a Mac, else the processor."""
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def served_dtype(path: str) -> str:
    """Return the number type that a base model answers in: ``bfloat16``, or ``float32`` where that is quicker and fits.

    A processor without instructions for it makes bfloat16 out of float32: a prompt takes five times as long (measured
    with AVX2 and torch 2.13). float32 takes twice the memory, so it is chosen only if there is plenty.

    Args:
        path: as ``LoadedBase`` takes it.
    """
    if device_name() != "cpu" or platform.machine() not in X86 or torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return "bfloat16"
    needed = memory_bytes(path, "float32")
    return "float32" if 0 < _AMPLE * needed <= available_bytes() else "bfloat16"


def memory_bytes(path: str, dtype: str | None = None) -> int:
    """Return about how much memory a base model takes, in bytes; 0 where its files do not say.

    Args:
        path: as ``LoadedBase`` takes it.
        dtype: as ``LoadedBase`` takes it.
    """
    dtype = dtype or served_dtype(path)
    parameters = count_parameters(Path(path)) if Path(path).is_dir() else None
    return int((parameters or 0) * getattr(torch, dtype).itemsize * _OVERHEAD)
