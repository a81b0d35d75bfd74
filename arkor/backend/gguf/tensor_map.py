"""``python -m arkor.backend.gguf.tensor_map BASE FILE``: find out what llama.cpp makes of the weights of a model.

BASE is the model's folder, FILE the JSON file to write; ``TensorMap`` has what it holds. It runs with llama.cpp's
scripts on its path, see ``scripts``.

The scripts know what becomes of each weight: another name and, in some kinds of models, another order of its rows. So
they are given weights whose numbers say where they stand. A weight of which anything else becomes is left out.
"""

from __future__ import annotations

import json
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gguf
import torch

from arkor.backend.gguf.maps import Part, TensorMap
from arkor.backend.models.catalogue import weight_files


def scripted(base: Path, kind: gguf.LlamaFileType, file: Path, **how: Any) -> Any:
    """Return a model as the scripts convert it.

    Args:
        base: the model's folder.
        kind: the number type to write.
        file: the GGUF file to write.
        how: as the scripts' classes take it.
    """
    from conversion import ModelBase, ModelType, get_model_architecture, get_model_class  # type: ignore[import-not-found]

    hparams = ModelBase.load_hparams(base, False)
    architecture = get_model_class(get_model_architecture(hparams, ModelType.TEXT))
    return architecture(base, kind, file, hparams=hparams, **how)


def find(base: Path) -> TensorMap:
    """Return the map of a model."""
    model = scripted(base, gguf.LlamaFileType.ALL_F32, base, eager=True, dry_run=True)
    modules = {}
    with torch.inference_mode():
        for name, shape in _matrices(base):
            parts = _parts(model, name, *shape)
            if parts:
                modules[name.removesuffix(".weight")] = parts
    return TensorMap(gguf.MODEL_ARCH_NAMES[model.model_arch], modules)


def _matrices(base: Path) -> Iterator[tuple[str, tuple[int, int]]]:
    """Yield the names and sizes of a model's matrices."""
    for file in weight_files(base):
        if file.suffix != ".safetensors":
            sys.exit("The model's weights are not safetensors.")
        with file.open("rb") as content:
            (length,) = struct.unpack("<Q", content.read(8))
            header = json.loads(content.read(length))
        for name, entry in header.items():
            if name.endswith(".weight") and len(entry["shape"]) == 2:
                yield name, tuple(entry["shape"])


def _parts(model: Any, name: str, height: int, width: int) -> list[Part] | None:
    """Return the tensors that a matrix becomes, each with the rows that it has; None if they have anything else."""
    down = torch.arange(height, dtype=torch.float32)[:, None].expand(height, width)
    across = torch.arange(width, dtype=torch.float32)[None].expand(height, width)
    try:
        rows, columns = _modified(model, name, down), _modified(model, name, across)
    except Exception:  # the scripts check what they are given
        return None
    parts = []
    for tensor, found in rows.items():
        has_columns = columns[tensor].shape[1:] == (width,) and bool((columns[tensor] == across[0]).all())
        numbers = found[:, 0].long()
        if not has_columns or not bool((found == numbers[:, None]).all()) or len(set(numbers.tolist())) < len(numbers):
            return None
        order = numbers.tolist()
        parts.append(Part(tensor, None if order == list(range(height)) else order))
    return parts


def _modified(model: Any, name: str, weight: torch.Tensor) -> dict[str, torch.Tensor]:
    block = next((int(part) for part in name.split(".") if part.isdecimal()), None)
    return dict(model.modify_tensors(weight.contiguous(), name, block))


if __name__ == "__main__":
    find(Path(sys.argv[1])).write(Path(sys.argv[2]))
