"""Rows out of a JSON array."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from hypothesis import given, strategies as st

from arkor.data import json_array
from arkor.data.json_array import read_array
from arkor.data.jsonl import MAX_ROW_BYTES

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


def opened(content: bytes) -> tuple[io.BytesIO, Any]:
    """Return a file, and its reader."""
    file: Any = io.BytesIO(content)
    return file, io.BufferedReader(file)


def found(content: bytes) -> list[tuple[int, Any, str | None]]:
    """Return what is found in an array."""
    return list(read_array(opened(content)[1]))


@given(
    st.lists(VALUES, max_size=6),
    st.integers(1, 20),
    st.sampled_from([None, 0, 2]),
    st.booleans(),
    st.sampled_from(["", " ", "\r\n\t"]),
)
def test_an_array_is_read_as_json_reads_it(
    values: list[Any], chunk: int, indent: int | None, ascii_only: bool, blanks: str
) -> None:
    """However it is cut: within a character, a number, a word or an escape."""
    text = blanks + json.dumps(values, indent=indent, ensure_ascii=ascii_only) + blanks
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(json_array, "CHUNK_CHARACTERS", chunk)
        read = found(text.encode(errors="surrogatepass") if ascii_only else text.encode())
    assert read == [(number, value, None) for number, value in enumerate(values, start=1)]


@given(st.binary(max_size=60), st.integers(1, 20))
def test_whatever_the_bytes_an_array_ends_with_a_reason_or_is_json(content: bytes, chunk: int) -> None:
    """Nothing else is raised."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(json_array, "CHUNK_CHARACTERS", chunk)
        read = found(b"[" + content)
    if all(reason is None for _, _, reason in read):
        assert json.loads(b"[" + content) == [value for _, value, _ in read]


@pytest.mark.parametrize("start", [b'["', b"[[", b'[{"a":', b"[1"])
def test_an_element_is_as_long_as_a_row_may_be(start: bytes) -> None:
    """A longer one is the last, and is not read to its end."""
    filling = {b'["': b"x", b"[[": b"1,", b'[{"a":': b" ", b"[1": b"1"}[start]
    file, reader = opened(start + filling * (3 * MAX_ROW_BYTES // len(filling)))
    ((_, value, reason),) = read_array(reader)
    assert value is None
    assert reason
    assert "longer than 16 MiB" in reason or "not JSON" in reason
    assert file.tell() < 2.5 * MAX_ROW_BYTES
