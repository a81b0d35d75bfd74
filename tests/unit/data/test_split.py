"""Which rows are held out."""

from __future__ import annotations

from hypothesis import given, strategies as st

from arkor.data.split import split_rows


@given(count=st.integers(2, 60), fraction=st.floats(0.001, 0.999), seed=st.none() | st.integers(0, 5))
def test_a_split_loses_and_doubles_nothing(count: int, fraction: float, seed: int | None) -> None:
    """Either side has a row at least, in its former order, and together they are all."""
    train, held_out = split_rows(count, fraction, seed)
    assert train
    assert held_out
    assert sorted([*train, *held_out]) == list(range(count))
    assert list(train) == sorted(train)
    assert list(held_out) == sorted(held_out)
