"""How large a model is, read from the headers of its files."""

from __future__ import annotations

import json
import math
import struct
from pathlib import Path

from arkor.backend.models.catalogue import weight_files

_MAX_HEADER_BYTES = 100 * 2**20  # the format's own limit


def count_parameters(folder: Path) -> int | None:
    """Return how many numbers a model has; None where its files do not say.

    Args:
        folder: with safetensors files; of PyTorch's own format the size is taken for two bytes a number.
    """
    files = weight_files(folder)
    if not files:
        return None
    if files[0].suffix != ".safetensors":
        return sum(file.stat().st_size for file in files) // 2
    try:
        return sum(_numbers_in(file) for file in files)
    except (OSError, ValueError, KeyError, TypeError, struct.error):  # damaged: loading it will say how
        return None


def _numbers_in(file: Path) -> int:
    with file.open("rb") as handle:
        (length,) = struct.unpack("<Q", handle.read(8))
        if length > _MAX_HEADER_BYTES:
            raise ValueError(f"{file} is not a safetensors file")
        header = json.loads(handle.read(length))
    return sum(math.prod(entry["shape"]) for name, entry in header.items() if name != "__metadata__")
