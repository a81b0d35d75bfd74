"""A body's JSON: its values are counted before it is parsed."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings, strategies as st

from arkor.backend.routes import access
from arkor.backend.routes.access import _has_many_values
from arkor.serving.refusal import Refusal

MOST = 12
TEXTS = st.text(alphabet=st.sampled_from(list('a,[{"\\\\:é😀 ')))
VALUES = st.recursive(
    TEXTS | st.none() | st.integers(),
    lambda inner: st.lists(inner, max_size=8) | st.dictionaries(TEXTS, inner, max_size=8),
    max_leaves=30,
)


def children(value: Any) -> int:
    """Return how many values are inside a value, an empty list or object counted twice."""
    if not isinstance(value, (list, dict)):
        return 0
    inside = list(value.values() if isinstance(value, dict) else value)
    return max(1, len(inside)) + sum(map(children, inside))


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a body have few values."""
    monkeypatch.setattr(access, "_MAX_VALUES", MOST)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(VALUES, st.booleans())
@example({"a": [0] * (MOST - 1)}, True)
@example({"a": [0] * MOST}, True)
@example({'\\",' * MOST: '",\\'}, True)
def test_values_are_counted_without_parsing(value: Any, escaped: bool) -> None:
    """What stands in texts does not count, however it is written."""
    text = json.dumps(value, ensure_ascii=escaped).encode()
    assert _has_many_values(text) == (children(value) > MOST)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "latin-1"])
def test_a_body_is_utf_8(encoding: str) -> None:
    """In another encoding the count would be wrong; the protocol has none."""
    with pytest.raises(Refusal, match="is not JSON"):
        access._parsed('{"a": "é"}'.encode(encoding))
