"""A whole number of a request, or a 400."""

from __future__ import annotations

from typing import Any

import pytest

from arkor.backend.whole_numbers import LARGEST, read_whole_number
from arkor.serving.refusal import Refusal


@pytest.mark.parametrize(("value", "number"), [(0, 0), (3, 3), (3.0, 3), (LARGEST, LARGEST)])
def test_a_whole_number_is_read(value: float, number: int) -> None:
    """JSON may write it with a point."""
    read = read_whole_number(value, "step")
    assert (type(read), read) == (int, number)


@pytest.mark.parametrize("value", [None, True, "3", 1.5, float("nan"), float("inf"), [], -1, LARGEST + 1])
def test_anything_else_is_refused_by_its_name(value: Any) -> None:
    """With its range and the value, cut where it is long."""
    with pytest.raises(Refusal) as raised:
        read_whole_number(value, "step")
    assert raised.value.status == 400
    assert raised.value.error == f"step: must be a whole number, 0 or more, not {value!r}."


def test_a_range_with_an_end_is_said() -> None:
    """Both of its ends are good."""
    assert [read_whole_number(value, "seed", -2, 2) for value in (-2, 2)] == [-2, 2]
    with pytest.raises(Refusal, match="seed: must be a whole number, -2 to 2, not 3"):
        read_whole_number(3, "seed", -2, 2)
