"""The adapters of one base model: loaded when they are asked for, the least recently used ones dropped."""

from __future__ import annotations

import itertools
import logging
from collections import OrderedDict
from collections.abc import Collection, Sequence
from typing import Any

from arkor.serving.refusal import Refusal
from arkor.text import first_line

log = logging.getLogger("arkor.chat")

CAPACITY = 8
_BASE = "__base__"  # what PEFT calls a row without an adapter
_SOME = "some"  # one or the other


class Adapters:
    """Puts LoRA adapters on a model, and says which row of a batch uses which. Not thread-safe.

    PEFT passes each row's adapter to its layers with hooks that it sets and removes around every call; that takes
    longer than the token (10 ms for a model of 30 layers, PEFT 0.21). Here each layer gets one hook for good, and rows
    that all use the same adapter go without.

    A row with an adapter of DoRA, or with one that brings whole modules, needs a call of its own, see ``is_lone``.

    Args:
        model: of transformers; its linear layers are replaced in place by the first adapter.
        capacity: how many stay loaded, at least as many as there are rows in a batch.
    """

    def __init__(self, model: Any, capacity: int = CAPACITY) -> None:
        self._model = model
        self._capacity = capacity
        self._peft: Any = None
        self._loaded: OrderedDict[str, str] = OrderedDict()  # its name to ours, least recently used first
        self._lone: set[str] = set()
        self._whole: list[Any] = []  # PEFT's wrappers of the modules that some adapter has brought whole
        self._numbers = itertools.count()
        self._active: str | None = None  # what rows get that are told nothing; None where that is not known
        self._names: list[str] | None = None  # what each row is told

    def load(self, name: str, path: str, in_use: Collection[str]) -> str:
        """Make an adapter ready.

        Args:
            name: what it is; the same name means the same weights.
            path: the folder with ``adapter_config.json`` and its weights.
            in_use: the returned names that may not be dropped.

        Returns:
            What ``use`` calls it.

        Raises:
            Refusal: 500, it cannot be loaded, or does not fit this model.
        """
        if name not in self._loaded:
            self._make_room(in_use)
            self._loaded[name] = self._load(path)
        self._loaded.move_to_end(name)
        return self._loaded[name]

    def is_lone(self, name: str | None) -> bool:
        """Whether rows with an adapter, as ``load`` named it, cannot be in one call with others."""
        return name in self._lone

    def use(self, rows: Sequence[str | None], *, once: bool = False) -> None:
        """Let the next calls of the model use these adapters.

        Args:
            rows: one for each row; None is the base alone.
            once: whether other rows will follow soon. Then the layers are told row by row, also where all rows are
                alike: that makes a call a tenth slower, and setting the layers to one adapter takes as long as a token.
        """
        if self._peft is None:
            return
        names = [row or _BASE for row in rows]
        is_mixed = len(set(names)) > 1
        self._names = None
        if not is_mixed and self._active == names[0]:
            return
        if is_mixed or (once and names[0] not in self._lone):
            self._switch_on()
            self._rest_whole_modules()
            self._names = names
        elif names[0] == _BASE:
            self._peft.base_model.disable_adapter_layers()
            self._active = _BASE
        else:
            self._switch_on()
            self._peft.base_model.set_adapter(names[0], inference_mode=True)
            self._active = names[0]

    def _switch_on(self) -> None:
        if self._active in {_BASE, None}:
            self._peft.base_model.enable_adapter_layers()
            self._active = _SOME

    def _rest_whole_modules(self) -> None:
        """Let the model's own modules work where a lone adapter has brought others."""
        if self._active != _SOME and self._active not in self._lone:
            return
        for module in self._whole:
            module.set_adapter([], inference_mode=True)
        self._active = _SOME

    def _make_room(self, in_use: Collection[str]) -> None:
        for name, ours in list(self._loaded.items()):
            if len(self._loaded) < self._capacity:
                return
            if ours not in in_use:
                self._delete(ours)
                del self._loaded[name]

    def _load(self, path: str) -> str:
        from peft import PeftConfig, PeftModel

        ours, self._active = f"adapter_{next(self._numbers)}", None
        try:
            if self._peft is None:
                config = PeftConfig.from_pretrained(path)
                self._peft = PeftModel(self._model, config, ours, autocast_adapter_dtype=False, low_cpu_mem_usage=True)
            self._peft.load_adapter(path, ours, autocast_adapter_dtype=False, low_cpu_mem_usage=True)
        except Exception as exc:  # a damaged file makes PEFT raise whatever its parts raise
            log.exception("An adapter cannot be loaded")
            if self._peft is not None and ours in self._peft.peft_config:
                self._delete(ours)
            why = first_line(exc)
            raise Refusal(500, f"The adapter cannot be loaded: {why}") from exc
        self._settle(ours)
        config = self._peft.peft_config[ours]
        if config.use_dora or config.modules_to_save:
            self._lone.add(ours)
        return ours

    def _settle(self, ours: str) -> None:
        """Bring a new adapter into the model's own number type, and hook the layers that are new with it."""
        from peft.tuners.lora import LoraLayer
        from peft.utils import ModulesToSaveWrapper

        self._peft.eval()
        self._whole = [module for module in self._model.modules() if isinstance(module, ModulesToSaveWrapper)]
        for module in self._whole:
            if ours in module.modules_to_save:
                module.modules_to_save[ours].to(dtype=self._model.dtype)
        for layer in self._model.modules():
            if not isinstance(layer, LoraLayer):
                continue
            for matrices in (layer.lora_A, layer.lora_B, layer.lora_magnitude_vector):
                if ours in matrices:
                    matrices[ours].to(dtype=self._model.dtype)
            if not layer._forward_pre_hooks:
                layer.register_forward_pre_hook(self._tell_names, with_kwargs=True)

    def _tell_names(self, _layer: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        return None if self._names is None else (args, {**kwargs, "adapter_names": self._names})

    def _delete(self, ours: str) -> None:
        self._active = None
        self._lone.discard(ours)
        self._peft.delete_adapter(ours)
