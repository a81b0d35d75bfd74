"""A worker's report: each number in it has to fit into the database."""

from __future__ import annotations

from typing import Any

import pytest

from arkor.backend.jobs.worker_report import parse_report
from arkor.serving.refusal import Refusal

ARTIFACT = {"name": "a", "step": 1, "sizeBytes": 10, "sha256": "0" * 64}
SAVED = {"seq": 1, "type": "checkpoint.saved", "step": 1, "artifacts": [ARTIFACT]}
HUGE = [2**63, 10**30, 1e300, -1]


def test_a_good_report_is_read() -> None:
    """With its artifacts."""
    report = parse_report({"attempt": 2**63 - 1, "events": [SAVED]})
    assert [artifact.size_bytes for event in report.events for artifact in event.artifacts] == [10]


@pytest.mark.parametrize("number", HUGE)
@pytest.mark.parametrize("place", ["attempt", "seq", "step", "artifact step", "artifact size"])
def test_a_number_that_is_too_large_is_refused(place: str, number: Any) -> None:
    """Wherever it stands."""
    artifact = {
        **ARTIFACT,
        **{"artifact step": {"step": number}, "artifact size": {"sizeBytes": number}}.get(place, {}),
    }
    event = {**SAVED, **({place: number} if place in SAVED else {}), "artifacts": [artifact]}
    with pytest.raises(Refusal) as raised:
        parse_report({"attempt": number if place == "attempt" else 1, "events": [event]})
    assert raised.value.status == 400


SAMPLE = {"seq": 1, "type": "sample.made", "step": 0, "sample": 0, "prompt": "?", "answer": "!"}


def test_a_sample_names_its_step_and_its_prompt() -> None:
    """A repeat of it is known by them."""
    (event,) = parse_report({"attempt": 1, "events": [SAMPLE]}).events
    assert (event.step, event.fields["sample"]) == (0, 0)
    for name in ("step", "sample"):
        for value in (None, "1", -1, 1.5):
            with pytest.raises(Refusal, match=name):
                parse_report({"attempt": 1, "events": [{**SAMPLE, name: value}]})


def test_a_sample_has_a_largest_size() -> None:
    """In bytes: each of them is kept."""
    parse_report({"attempt": 1, "events": [{**SAMPLE, "answer": "é" * 32_000}]})
    with pytest.raises(Refusal, match="a sample has at most 65536 bytes"):
        parse_report({"attempt": 1, "events": [{**SAMPLE, "answer": "é" * 33_000}]})
