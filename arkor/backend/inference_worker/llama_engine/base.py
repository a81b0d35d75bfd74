"""A base model that llama.cpp computes."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoTokenizer, GenerationConfig

from arkor.backend.inference_worker.base import Base, end_ids
from arkor.backend.inference_worker.llama_engine.adapters import Adapters
from arkor.backend.inference_worker.llama_engine.batch import LlamaBatch
from arkor.backend.inference_worker.llama_engine.library import LlamaError
from arkor.backend.inference_worker.llama_engine.model import PIECE_TOKENS, Model, Part
from arkor.backend.inference_worker.llama_engine.places import Place, Places
from arkor.protocol.engines import LLAMA_CPP

log = logging.getLogger("arkor.chat")

MAX_ROWS = 8
_OVERHEAD = 1.2  # beside the file: what is computed
_CACHE_BYTES = 2  # of a number that is kept of a token


class LlamaBase(Base):
    """A base model that is loaded for chats. Not thread-safe.

    Args:
        path: the model's folder, or its id in the hub's cache: its tokenizer and its settings.
        file: the GGUF file that was made of it.
        dtype: the number type of the file's weights.

    Raises:
        LlamaError: llama.cpp cannot load the file, or gives other tokens than the model has.
        OSError, ValueError: the tokenizer or the settings cannot be read.
    """

    engine = LLAMA_CPP
    adapters: Adapters

    def __init__(self, path: str, file: str, dtype: str) -> None:
        began = time.monotonic()
        config = AutoConfig.from_pretrained(path)
        text = config.get_text_config()
        tokenizer = AutoTokenizer.from_pretrained(path)
        self._model = Model(file)
        if self._model.vocab_size != text.vocab_size:
            self._model.close()
            raise LlamaError(f"{file} has {self._model.vocab_size} tokens, and the model has {text.vocab_size}")
        self._places = Places(self._model, _kept_bytes(text), getattr(text, "max_position_embeddings", None))
        adapters = Adapters(self._model, self._places)
        ends = end_ids(_generation(path, config), tokenizer)
        super().__init__(tokenizer, config, ends, adapters, dtype=dtype, max_rows=MAX_ROWS)
        log.info("%s loaded by llama.cpp in %s in %.1f s", path, dtype, time.monotonic() - began)

    def new_batch(self) -> LlamaBatch:
        """Return what makes answers."""
        return LlamaBatch(self._places, self.adapters)

    def new_reader(self, adapter: str | None, length: int) -> _Reader:
        """Return what reads a text; see ``Base.new_reader``."""
        [place] = self._places.take([], self.adapters.handle(adapter), length, texts=1, likely=1, in_company=False)
        return _Reader(self._places, place)

    def close(self) -> None:
        """Let go of the model's memory."""
        self._places.close()
        self._model.close()


class _Reader:
    """Reads one text; see ``base.Reader``."""

    def __init__(self, places: Places, place: Place) -> None:
        self._places = places
        self._place = place

    def read(self, ids_T: Sequence[int], kept: Sequence[int]) -> torch.Tensor:  # noqa: N803
        """Read the next tokens, in pieces."""
        found = []
        for start in range(0, len(ids_T), PIECE_TOKENS):
            piece = ids_T[start : start + PIECE_TOKENS]
            wanted = [place - start for place in kept if start <= place < start + PIECE_TOKENS]
            found.append(self._place.context.read([Part(self._place.number, piece, wanted)]).clone())
        return torch.cat(found)

    def close(self) -> None:
        """Let go of what was read."""
        self._places.give_back(self._place)


def file_memory_bytes(file: str) -> int:
    """Return about how much memory a base model takes, in bytes.

    Args:
        file: the GGUF file.
    """
    return int(Path(file).stat().st_size * _OVERHEAD)


def _kept_bytes(config: Any) -> int:
    """Return what a model keeps of a token, in bytes: a key and a value of each head in each layer."""
    heads = getattr(config, "num_key_value_heads", None) or getattr(config, "num_attention_heads", 0)
    width = getattr(config, "head_dim", None) or config.hidden_size // max(1, config.num_attention_heads)
    return int(2 * _CACHE_BYTES * config.num_hidden_layers * heads * width)


def _generation(path: str, config: Any) -> GenerationConfig:
    """Return a model's settings for generation, as transformers finds them when it loads the model."""
    try:
        return GenerationConfig.from_pretrained(path)
    except OSError:
        return GenerationConfig.from_model_config(config)
