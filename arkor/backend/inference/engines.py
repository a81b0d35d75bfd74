"""Which engine answers: llama.cpp where it can and is quicker, transformers otherwise.

Protocol: docs/protocol.md, "Inference".
"""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from arkor.backend.gguf import package
from arkor.backend.gguf.conversions import MODEL_LIMIT_S, Conversions
from arkor.backend.inference.targets import Target
from arkor.backend.models.hardware import has_bf16_instructions, has_cuda
from arkor.backend.models.hub import cached_folder
from arkor.backend.settings import Settings
from arkor.protocol.engines import AUTO, BF16, LLAMA_CPP, TRANSFORMERS

log = logging.getLogger("arkor.backend")

_PATIENCE_S = 30.0  # for a model that llama.cpp was chosen for, until transformers answers
_MOST_CRASHES = 3  # one after the other, until a model is answered by transformers


class Engines:
    """Chooses an engine for each question. Thread-safe.

    Args:
        settings: what the backend was told.
        conversions: the models and adapters of llama.cpp.
    """

    def __init__(self, settings: Settings, conversions: Conversions) -> None:
        self._dtype = settings.chat_dtype
        self._patience_s = _PATIENCE_S if settings.chat_engine == LLAMA_CPP else 0.0
        self._conversions = conversions
        self._lock = threading.Lock()
        self._crashes: Counter[str] = Counter()  # of each model, since it last answered
        self._why_not = _why_not_llama_cpp(settings)
        if self._why_not is not None:
            log.info("Chats are answered by transformers: %s", self._why_not)

    def prepare(self, target: Target, stopping: threading.Event) -> None:
        """Wait until a model is converted for llama.cpp, if it can be: then one engine answers all questions to it.

        Args:
            target: the model.
            stopping: ends the wait when it is set.
        """
        base = self._base(target)
        if base is not None:
            self._conversions.model(base, self._dtype, MODEL_LIMIT_S, stopping)

    def files(self, target: Target) -> dict[str, Any] | None:
        """Return the files with which llama.cpp answers, see ``pipes``; None if transformers does."""
        base = self._base(target)
        model = None if base is None else self._conversions.model(base, self._dtype, self._patience_s)
        if model is None or self._crashes[str(model.file)] >= _MOST_CRASHES:
            return None
        found = {"model": str(model.file), "dtype": model.dtype}
        if target.adapter is None:
            return found
        adapter = self._conversions.adapter(model, Path(target.adapter[1]))
        return None if adapter is None else {**found, "adapter": str(adapter)}

    def answered(self, files: Mapping[str, Any]) -> None:
        """Note that a model has answered."""
        with self._lock:
            self._crashes.pop(files["model"], None)

    def crashed(self, files: Mapping[str, Any]) -> None:
        """Note that the chat process ended by a fault of its own while a model was answering."""
        with self._lock:
            self._crashes[files["model"]] += 1
            if self._crashes[files["model"]] == _MOST_CRASHES:
                log.error(
                    "llama.cpp failed %d times in a row with %s: transformers answers it until the backend starts anew",
                    *(_MOST_CRASHES, files["model"]),
                )

    def describe(self) -> dict[str, str]:
        """Return who answers, as ``/v1/capabilities`` says it."""
        if self._why_not is None:
            return {"engine": LLAMA_CPP, "dtype": self._dtype}
        return {"engine": TRANSFORMERS, "reason": self._why_not}

    def _base(self, target: Target) -> Path | None:
        """Return the folder of a base model; None if llama.cpp does not answer at all."""
        if self._why_not is not None:
            return None
        return Path(target.base) if Path(target.base).is_dir() else cached_folder(target.base)


def _why_not_llama_cpp(settings: Settings) -> str | None:
    """Say why llama.cpp does not answer at all; None if it does."""
    if settings.chat_engine == TRANSFORMERS:
        return "it was chosen"
    if settings.chat_engine == AUTO and has_cuda():
        return "this machine has a GPU"
    if settings.chat_engine == AUTO and settings.chat_dtype == BF16 and has_bf16_instructions():  # which PyTorch uses
        return "it is quicker on this processor, which has instructions for bfloat16"
    return package.problem()
