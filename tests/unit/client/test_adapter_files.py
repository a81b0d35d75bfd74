"""In what two adapters differ, read from their files without torch."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest

from arkor.client.adapter_files import difference_of
from arkor.errors import ArkorError

CONFIG = {"r": 8, "base_model_name_or_path": "owner/base"}


def write_adapter(folder: Path, tensors: dict[str, tuple[str, list[int], bytes]], **config: Any) -> Path:
    """Write an adapter of tensors: their number types, shapes and bytes."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    place = 0
    for name, (dtype, shape, content) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [place, place + len(content)]}
        place += len(content)
    text = json.dumps(header).encode()
    folder.mkdir()
    body = b"".join(content for _, _, content in tensors.values())
    (folder / "adapter_model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + body)
    (folder / "adapter_config.json").write_text(json.dumps({**CONFIG, **config}))
    return folder


def floats(*values: float) -> tuple[str, list[int], bytes]:
    """Return a tensor of float32."""
    return "F32", [len(values)], struct.pack(f"<{len(values)}f", *values)


@pytest.fixture
def first(tmp_path: Path) -> Path:
    return write_adapter(tmp_path / "first", {"a": floats(1.0, 2.0), "b": floats(3.0)})


def test_the_same_bytes_differ_in_nothing(first: Path, tmp_path: Path) -> None:
    """Whatever the folders are called."""
    other = write_adapter(tmp_path / "other", {"a": floats(1.0, 2.0), "b": floats(3.0)})
    assert difference_of(first, other) == ""


def test_the_first_tensor_that_differs_is_named(first: Path, tmp_path: Path) -> None:
    """With the largest difference, and how many numbers it has."""
    other = write_adapter(tmp_path / "other", {"a": floats(1.0, 2.25), "b": floats(9.0)})
    assert difference_of(first, other) == "the first tensor that differs is a (F32 2): 1 of 2 numbers, by at most 0.25"


@pytest.mark.parametrize(
    ("dtype", "one", "other", "largest"),
    [
        ("F16", struct.pack("<2e", 1.0, 2.0), struct.pack("<2e", 1.5, 2.0), "0.5"),
        ("BF16", struct.pack("<f", 1.0)[2:] + bytes(2), struct.pack("<f", -2.0)[2:] + bytes(2), "3"),
        ("F32", struct.pack("<2f", 1.0, 0.0), struct.pack("<2f", float("nan"), 0.0), "inf"),
    ],
)
def test_numbers_are_read_in_their_type(tmp_path: Path, dtype: str, one: bytes, other: bytes, largest: str) -> None:
    """Those of 16 bits too; what is no number is farthest."""
    before = write_adapter(tmp_path / "before", {"a": (dtype, [2, 1], one)})
    after = write_adapter(tmp_path / "after", {"a": (dtype, [2, 1], other)})
    said = f"the first tensor that differs is a ({dtype} 2 x 1): 1 of 2 numbers, by at most {largest}"
    assert difference_of(before, after) == said


def test_numbers_of_another_type_differ_without_a_figure(tmp_path: Path) -> None:
    """Such as whole ones."""
    before = write_adapter(tmp_path / "before", {"a": ("I8", [1], b"\1")})
    after = write_adapter(tmp_path / "after", {"a": ("I8", [1], b"\2")})
    assert difference_of(before, after) == "the first tensor that differs is a (I8 1)"


def test_a_long_tensor_is_compared_to_its_end(tmp_path: Path) -> None:
    """In pieces."""
    zeros = bytes(400_000)
    before = write_adapter(tmp_path / "before", {"a": ("F32", [100_000], zeros)})
    after = write_adapter(tmp_path / "after", {"a": ("F32", [100_000], zeros[:-4] + struct.pack("<f", 0.5))})
    assert difference_of(before, after).endswith("1 of 100,000 numbers, by at most 0.5")


def test_other_tensors_are_named(first: Path, tmp_path: Path) -> None:
    """One that only one of them has, or that has another shape."""
    fewer = write_adapter(tmp_path / "fewer", {"a": floats(1.0, 2.0)})
    assert difference_of(first, fewer) == "the tensor b is in the first adapter only"
    assert difference_of(fewer, first) == "the tensor b is in the second adapter only"
    other = write_adapter(tmp_path / "other", {"a": floats(1.0), "b": floats(3.0)})
    assert difference_of(first, other) == "the tensor a was F32 2, and is F32 1 now"


def test_another_configuration_is_named(first: Path, tmp_path: Path) -> None:
    """By its first key that differs."""
    other = write_adapter(tmp_path / "other", {"a": floats(1.0, 2.0), "b": floats(3.0)}, r=16)
    assert difference_of(first, other) == "adapter_config.json: r was 8, and is 16 now"
    (other / "adapter_config.json").write_text(json.dumps(CONFIG, indent=2))
    assert difference_of(first, other) == "adapter_config.json has the same values, written in another way"


@pytest.mark.parametrize("content", [b"", b"\x09\0\0\0\0\0\0\0[]", b"\xff" * 8 + b"{"])
def test_what_is_no_adapter_is_an_error(first: Path, tmp_path: Path, content: bytes) -> None:
    """Of ours."""
    other = write_adapter(tmp_path / "other", {})
    (other / "adapter_model.safetensors").write_bytes(content)
    with pytest.raises(ArkorError, match=r"^The adapters cannot be compared: "):
        difference_of(first, other)
