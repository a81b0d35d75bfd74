"""The adapters of one model of llama.cpp: loaded when they are asked for, the least recently used ones dropped."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection

from arkor.backend.inference_worker.llama_engine.model import Model
from arkor.backend.inference_worker.llama_engine.places import Places

CAPACITY = 8


class Adapters:
    """LoRA adapters in GGUF files. Not thread-safe.

    Args:
        model: the model.
        places: where its texts are.
        capacity: how many stay loaded, at least as many as there are rows in a batch.
    """

    def __init__(self, model: Model, places: Places, capacity: int = CAPACITY) -> None:
        self._model = model
        self._places = places
        self._capacity = capacity
        self._loaded: OrderedDict[str, int] = OrderedDict()  # its name to llama.cpp's, least recently used first

    def load(self, name: str, path: str, in_use: Collection[str]) -> str:
        """Make an adapter ready; see ``base.Adapters.load``.

        Raises:
            LlamaError: it cannot be loaded, or does not fit this model.
        """
        if name not in self._loaded:
            for other in [other for other in self._loaded if other not in in_use]:
                if len(self._loaded) < self._capacity:
                    break
                handle = self._loaded.pop(other)
                self._places.drop(handle)
                self._model.drop_adapter(handle)
            self._loaded[name] = self._model.load_adapter(path)
        self._loaded.move_to_end(name)
        return name

    def is_lone(self, _name: str | None) -> bool:
        """All adapters that llama.cpp takes can be used beside others."""
        return False

    def handle(self, name: str | None) -> int | None:
        """Return what llama.cpp calls an adapter."""
        return None if name is None else self._loaded[name]
