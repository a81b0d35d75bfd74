"""How Studio answers with an error of the library."""

from __future__ import annotations

import pytest

from arkor.errors import ConnectionFailed
from arkor.studio.upstream import refusal_of


@pytest.mark.parametrize(
    ("is_cloud", "ending"),
    [(True, " To use the backend on this machine instead, start Studio with: arkor dev --local."), (False, "")],
)
def test_a_cloud_out_of_reach_is_answered_with_the_command_that_does_without(is_cloud: bool, ending: str) -> None:
    """Not with a script's keyword, which the page has no place for."""
    refusal = refusal_of(ConnectionFailed("No answer.", sent=False, is_cloud=is_cloud))
    assert (refusal.status, refusal.body["error"]) == (502, f"No answer.{ending}")
