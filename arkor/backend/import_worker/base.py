"""The tensors that an adapter of some shape has on a base model: PEFT says so, of a model without weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
import torch
from peft import get_peft_model, get_peft_model_state_dict
from transformers import AutoModelForCausalLM

from arkor.backend.import_worker.shape import Shape
from arkor.backend.imports.task import CONFIG
from arkor.backend.training_worker.model import load_config
from arkor.errors import ModelError
from arkor.protocol import wire
from arkor.protocol.config import ALL_LINEAR, SETTINGS
from arkor.text import first_line


@attrs.frozen(kw_only=True)
class Fitted:
    """An adapter of some shape on a base model.

    Attributes:
        tensors: the shapes of its tensors, by their names in the file.
        modules: the names of the base model's modules.
        settings: the adapter's shape as settings of a job, in wire names.
        config: the same as the content of ``adapter_config.json``: all that was checked, and nothing else.
    """

    tensors: Mapping[str, tuple[int, ...]] = attrs.field(hash=False)
    modules: frozenset[str]
    settings: Mapping[str, Any] = attrs.field(hash=False)
    config: Mapping[str, Any] = attrs.field(hash=False)


def load_base(path: str, name: str) -> Any:
    """Return a base model without its weights.

    Args:
        path: what transformers loads it from.
        name: what the user calls it.

    Raises:
        ModelError: it is no model that writes text, or brings code of its own.
    """
    try:
        with torch.device("meta"):
            return AutoModelForCausalLM.from_config(load_config(path))
    except Exception as exc:  # transformers raises whatever its parts raise
        raise ModelError(f"model: {name} cannot be loaded: {first_line(exc)}") from exc


def fit_to(base: Any, name: str, shape: Shape) -> Fitted:
    """Put an adapter of a shape on a base model.

    Args:
        base: as ``load_base`` returned it; it is changed.
        name: what the user calls it.
        shape: of the adapter.

    Raises:
        ModelError: the model has no such modules.
    """
    modules = frozenset(module for module, _ in base.named_modules())
    try:
        with torch.device("meta"):
            model = get_peft_model(base, shape.peft, low_cpu_mem_usage=True)
    except Exception as exc:  # PEFT raises whatever its parts raise
        raise ModelError(f"{CONFIG} does not fit {name}: {first_line(exc)}") from exc
    state = get_peft_model_state_dict(model, save_embedding_layers=False)
    settings = {**shape.settings, "lora_target_modules": _targets(shape, model, modules)}
    return Fitted(
        tensors={key: tuple(value.shape) for key, value in state.items()},
        modules=modules,
        settings={wire.wire_name(setting): value for setting, value in settings.items()},
        config={
            name: sorted(value) if isinstance(value, set) else value for name, value in shape.peft.to_dict().items()
        },
    )


def _targets(shape: Shape, model: Any, modules: frozenset[str]) -> str | list[str]:
    """Return the modules that have the adapter, as a job names them: its own training may go on from here."""
    given = shape.settings["lora_target_modules"]
    if given == ALL_LINEAR or not isinstance(given, str):
        return given if isinstance(given, str) else sorted(given)
    targeted = set(model.targeted_module_names)
    ends = {module.rpartition(".")[2] for module in targeted}
    fitting = {module for module in modules if module.rpartition(".")[2] in ends}
    found = sorted(ends if fitting == targeted else targeted)
    if not SETTINGS["lora_target_modules"].check.accepts(found):
        raise ModelError(
            f"{CONFIG}: target_modules is a pattern that names {len(found):,} modules, and 1000 may be named"
        )
    return found
