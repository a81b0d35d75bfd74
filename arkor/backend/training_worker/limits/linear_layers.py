"""The linear layers of a model, and those of them that get an adapter."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from arkor.data.formats import name_list
from arkor.errors import ConfigError
from arkor.protocol.config import ALL_LINEAR, JobConfig


def linear_layers(model: Any) -> dict[str, Any]:
    """Return a model's linear layers by their whole names: all but the one that makes the logits.

    Args:
        model: of transformers.
    """
    from torch.nn import Linear
    from transformers.pytorch_utils import Conv1D

    head = model.get_output_embeddings()
    found = model.named_modules()
    return {name: layer for name, layer in found if isinstance(layer, (Linear, Conv1D)) and layer is not head}


def target_modules(model: Any, config: JobConfig) -> str | list[str]:
    """Return the modules that get an adapter, as PEFT takes them.

    PEFT passes over a name that no module has, as long as another one fits; and it picks layers among names only.

    Args:
        model: of transformers.
        config: the job's settings.

    Raises:
        ConfigError: the model lacks a module or a layer that the settings name, or a module would get an adapter and be
            trained whole.
    """
    count = model.config.get_text_config().num_hidden_layers
    numbers = config.layers_to_transform
    for number in numbers if isinstance(numbers, (list, tuple)) else [numbers]:
        if number is not None and number >= count:
            raise ConfigError("layers_to_transform", f"{number} is none of the model's layers, 0 to {count - 1}")
    wanted = config.value("lora_target_modules")
    known = sorted({name.rpartition(".")[2] for name in linear_layers(model)})
    whole = config.modules_to_save or ()
    _check_modules(model, "modules_to_save", whole, known)
    with_adapter = known if wanted == ALL_LINEAR else wanted
    both = sorted({name.rpartition(".")[2] for name in whole} & {name.rpartition(".")[2] for name in with_adapter})
    if both:
        raise ConfigError(
            "modules_to_save", f"{name_list(both)} gets an adapter: leave it out here or in target_modules"
        )
    if wanted == ALL_LINEAR:
        return known if numbers is not None else ALL_LINEAR
    _check_modules(model, "target_modules", wanted, known)
    return list(wanted)


def _check_modules(model: Any, field: str, wanted: Sequence[str], known: list[str]) -> None:
    names = [name for name, _ in model.named_modules()]
    for name in wanted:
        if not any(known_name == name or known_name.endswith(f".{name}") for known_name in names):
            raise ConfigError(field, f"the model has no module {name_list([name])}; it has {name_list(known)}")
