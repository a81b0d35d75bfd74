"""Tokens of data sets: hidden at any depth, and nothing else with them."""

from __future__ import annotations

from typing import Any

import pytest

from arkor.protocol.secrets import without_tokens

SOURCE = {"type": "blob", "url": "u", "token": "SECRET"}


@pytest.mark.parametrize(("instead", "shown"), [(None, {}), ("…", {"token": "…"})])
def test_a_token_is_hidden_wherever_its_data_set_is(instead: str | None, shown: dict[str, str]) -> None:
    """In a job, in a list of jobs, in an event that repeats the settings; the value that was given stays as it is."""
    job = {"id": "job_1", "config": {"datasetSource": SOURCE, "evalDatasetSource": SOURCE}}
    source = {"type": "blob", "url": "u", **shown}
    hidden = {"id": "job_1", "config": {"datasetSource": source, "evalDatasetSource": source}}
    assert without_tokens([job, {"metadata": [job]}], instead=instead) == [hidden, {"metadata": [hidden]}]
    assert SOURCE["token"] == "SECRET"


@pytest.mark.parametrize(
    "value",
    [None, "token", {"token": "mine"}, {"datasetSource": "token"}, {"datasetSource": {"type": "dataset", "id": "9f"}}],
)
def test_what_is_no_token_of_a_data_set_stays(value: Any) -> None:
    """A source without a token gets none in its place either."""
    assert without_tokens(value, instead="…") == value
