"""The tensors of an adapter, held against those that its configuration and its base model ask for."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from arkor.backend.import_worker.base import Fitted
from arkor.backend.imports.task import WEIGHTS
from arkor.errors import ModelError
from arkor.text import first_line, short_repr

_DTYPES = frozenset({"F32", "F16", "BF16"})
_MOST_TENSORS = 100_000
_TENSOR = re.compile(r"base_model\.model\.(?P<module>.+?)(?:\.lora_[A-Za-z_]+)?(?:\.(?:weight|bias))?")


def check_tensors(file: Path, fitted: Fitted, model: str) -> None:
    """Check that a file has the tensors of an adapter, and that they are numbers.

    Args:
        file: of safetensors.
        fitted: the tensors that it is to have.
        model: what the user calls the base model.

    Raises:
        ModelError: it is damaged, a tensor is missing, too many, of another shape or type, or has no numbers; the text
            names the tensor.
    """
    try:
        with safe_open(file, "pt") as opened:
            names = list(opened.keys())
            if len(names) > _MOST_TENSORS:
                raise ModelError(f"{WEIGHTS} has {len(names):,} tensors, and may have {_MOST_TENSORS:,}")
            _check_names(names, fitted, model)
            for name in names:
                _check_form(opened.get_slice(name), name, fitted.tensors[name], model)
            for name in names:
                if not torch.isfinite(opened.get_tensor(name)).all():
                    raise ModelError(
                        f"{WEIGHTS}: tensor {name} has values that are no finite numbers (NaN or infinity)"
                    )
    except SafetensorError as exc:
        raise ModelError(f"{WEIGHTS} is damaged, or no safetensors file: {first_line(exc)}") from exc


def _check_names(names: Sequence[str], fitted: Fitted, model: str) -> None:
    for name in names:
        if name in fitted.tensors:
            continue
        shown, match = short_repr(name, 300), _TENSOR.fullmatch(name)
        if match is None:
            raise ModelError(
                f"{WEIGHTS}: tensor {shown} is none of a LoRA adapter, as save_pretrained of PEFT writes it"
            )
        if match["module"] not in fitted.modules:
            raise ModelError(
                f"{WEIGHTS}: tensor {shown} belongs to a module that {model} does not have: the adapter was trained on "
                "another model"
            )
        raise ModelError(f"{WEIGHTS}: tensor {shown} is none that adapter_config.json asks for on {model}")
    known = frozenset(names)
    missing = next((name for name in fitted.tensors if name not in known), None)
    if missing is not None:
        raise ModelError(f"{WEIGHTS} lacks tensor {missing}, which adapter_config.json asks for on {model}")


def _check_form(tensor: Any, name: str, shape: tuple[int, ...], model: str) -> None:
    found = tuple(tensor.get_shape())
    if found != shape:
        raise ModelError(
            f"{WEIGHTS}: tensor {name} has the shape {list(found)}, and adapter_config.json on {model} asks for "
            f"{list(shape)}"
        )
    if tensor.get_dtype() not in _DTYPES:
        raise ModelError(
            f"{WEIGHTS}: tensor {name} is of type {tensor.get_dtype()}, and may be one of {', '.join(sorted(_DTYPES))}"
        )
