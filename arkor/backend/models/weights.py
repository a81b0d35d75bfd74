"""How large a model is, read from the headers of its files."""

from __future__ import annotations

import json
import struct
from pathlib import Path

from arkor.backend.models.catalogue import weight_files
from arkor.system.files import open_regular

_MAX_HEADER_BYTES = 16 * 2**20  # of more than 100,000 tensors
_MOST_NUMBERS = 2**50  # of a tensor: beyond any disk


def count_parameters(folder: Path) -> int | None:
    """Return how many numbers a model has; None where its files do not say.

    Args:
        folder: with safetensors files; of PyTorch's own format the size is taken for two bytes a number.
    """
    files = weight_files(folder)
    if not files:
        return None
    try:
        if files[0].suffix != ".safetensors":
            return sum(file.stat().st_size for file in files) // 2
        return sum(_numbers_in(file) for file in files)
    except _DAMAGED:  # loading it will say how
        return None


_DAMAGED = (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, struct.error)


def _numbers_in(file: Path) -> int:
    with open_regular(file) as handle:
        (length,) = struct.unpack("<Q", handle.read(8))
        if length > _MAX_HEADER_BYTES:
            raise ValueError(f"{file} is not a safetensors file")
        header = json.loads(handle.read(length))
    return sum(_product(entry["shape"]) for name, entry in header.items() if name != "__metadata__")


def _product(shape: list[int]) -> int:
    numbers = 1
    for size in shape:
        numbers *= size
        if not 0 <= numbers <= _MOST_NUMBERS:  # before it takes long to multiply
            raise ValueError(f"a tensor has a shape of {len(shape)} sizes that are too large")
    return numbers
