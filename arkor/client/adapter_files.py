"""Whether two adapters are the same, byte by byte, and in what they differ; without torch.

``adapter_model.safetensors`` is the length of a header as 8 bytes, the header as JSON, and the numbers of the tensors.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs

from arkor.errors import ArkorError

WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"
_MOST_HEADER_BYTES = 100 * 2**20  # as safetensors itself reads at most
_PIECE_BYTES = 2**18


def _floats(code: str) -> Callable[[bytes], tuple[float, ...]]:
    size = struct.calcsize(f"<{code}")
    return lambda piece: struct.unpack(f"<{len(piece) // size}{code}", piece)


def _bfloats(piece: bytes) -> tuple[float, ...]:
    """Read numbers of 16 bits that are the first half of a float32 each."""
    wide = bytearray(2 * len(piece))
    wide[2::4], wide[3::4] = piece[::2], piece[1::2]
    return _floats("f")(bytes(wide))


_READERS = {"F32": _floats("f"), "F16": _floats("e"), "BF16": _bfloats}


@attrs.frozen
class _Tensor:
    """A tensor in a file: its number type and shape, and the place of its bytes from the start of the file."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int

    def __str__(self) -> str:
        return f"{self.dtype} {' x '.join(map(str, self.shape))}"

    def pieces(self, file: Path) -> Iterator[bytes]:
        """Yield its bytes."""
        with file.open("rb") as opened:
            opened.seek(self.start)
            for left in range(self.end - self.start, 0, -_PIECE_BYTES):
                yield opened.read(min(left, _PIECE_BYTES))


def difference_of(then: Path, now: Path) -> str:
    """Return in what two adapters differ first, in words; empty if both files of theirs have the same bytes.

    Args:
        then: the folder of an adapter.
        now: that of the other one.

    Raises:
        ArkorError: a file is missing or is not what its name says.
    """
    try:
        weights, config = (_same_bytes(then / name, now / name) for name in (WEIGHTS, CONFIG))
        if not weights:
            return _of_weights(then / WEIGHTS, now / WEIGHTS)
        return "" if config else _of_configs(*(json.loads((folder / CONFIG).read_bytes()) for folder in (then, now)))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, struct.error) as exc:
        raise ArkorError(f"The adapters cannot be compared: {type(exc).__name__}: {exc}") from exc


def _same_bytes(one: Path, other: Path) -> bool:
    whole = _Tensor("", (), 0, one.stat().st_size)
    is_as_long = whole.end == other.stat().st_size
    return is_as_long and all(a == b for a, b in zip(whole.pieces(one), whole.pieces(other), strict=True))


def _of_weights(then: Path, now: Path) -> str:
    before, after = _tensors(then), _tensors(now)
    for name, tensor in before.items():
        other = after.get(name)
        if other is None:
            return f"the tensor {name} is in the first adapter only"
        if (tensor.dtype, tensor.shape) != (other.dtype, other.shape):
            return f"the tensor {name} was {tensor}, and is {other} now"
        if any(a != b for a, b in zip(tensor.pieces(then), other.pieces(now), strict=True)):
            return f"the first tensor that differs is {name} ({tensor}){_by_how_much(tensor, other, then, now)}"
    more = next((name for name in after if name not in before), None)
    return f"{WEIGHTS} has another header" if more is None else f"the tensor {more} is in the second adapter only"


def _by_how_much(tensor: _Tensor, other: _Tensor, then: Path, now: Path) -> str:
    read = _READERS.get(tensor.dtype)
    if read is None:
        return ""
    count, largest = 0, 0.0
    for before, after in zip(tensor.pieces(then), other.pieces(now), strict=True):
        gaps = [abs(a - b) for a, b in zip(read(before), read(after), strict=True) if a != b]
        count += len(gaps)
        largest = max([largest, *(math.inf if math.isnan(gap) else gap for gap in gaps)])
    return f": {count:,} of {math.prod(tensor.shape):,} numbers, by at most {largest:.3g}"


def _tensors(file: Path) -> dict[str, _Tensor]:
    """Read the header of a file, in the order of the names."""
    with file.open("rb") as opened:
        (length,) = struct.unpack("<Q", opened.read(8))
        header: Mapping[str, Any] = json.loads(opened.read(min(length, _MOST_HEADER_BYTES)))
    start = 8 + length
    return {
        name: _Tensor(entry["dtype"], tuple(entry["shape"]), *(start + place for place in entry["data_offsets"]))
        for name, entry in sorted(header.items())
        if name != "__metadata__"
    }


def _of_configs(then: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    for name in sorted({*then, *now}):
        if then.get(name) != now.get(name):
            return f"{CONFIG}: {name} was {json.dumps(then.get(name))}, and is {json.dumps(now.get(name))} now"
    return f"{CONFIG} has the same values, written in another way"
