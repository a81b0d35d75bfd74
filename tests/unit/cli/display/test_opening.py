"""What a run says at its beginning about its time; tests/cli has the whole block."""

from __future__ import annotations

from typing import Any

import pytest

from arkor.cli.display.opening import Pace, opening
from arkor.protocol.events import TrainingStartedEvent
from arkor.protocol.jobs import TrainingJob

CONFIG = {"model": "m", "batchSize": 4}


def ended(job_id: str, seconds: int, steps: int | None = 20, **fields: Any) -> TrainingJob:
    """Return a job that completed after some seconds."""
    settings: dict[str, Any] = {"status": "completed", "config": CONFIG, "extra": {"progress": {"step": steps}}}
    at = f"2026-01-01T00:{seconds // 60:02}:{seconds % 60:02}Z"
    return TrainingJob(id=job_id, started_at="2026-01-01T00:00:00Z", completed_at=at, **{**settings, **fields})


def test_the_newest_job_of_the_same_kind_gives_the_pace() -> None:
    """One that completed, with the same model and settings that matter, and no dry run."""
    other = ended("job_2", 40, config={**CONFIG, "batchSize": 8})
    dry, failed = ended("job_3", 40, config={**CONFIG, "dryRun": True}), ended("job_4", 40, status="failed")
    silent = ended("job_5", 40, None)
    earlier = [other, dry, failed, silent, ended("job_6", 100), ended("job_7", 20)]
    assert Pace.of_earlier(TrainingJob(id="job_1", config=CONFIG), earlier) == Pace(5.0, "job_6")
    assert Pace.of_earlier(TrainingJob(id="job_1", config={"model": "other"}), earlier) is None
    assert Pace.of_earlier(TrainingJob(id="job_1", config=CONFIG), [ended("job_8", 0)]) is None


@pytest.mark.parametrize(
    ("metadata", "pace", "time"),
    [
        ({"maxSteps": 60}, Pace(2.0, "job_abcdefghij"), "  time   about 2m 00s, at the pace of job_abcdef"),
        ({"maxSteps": 60, "resumedFromStep": 30}, Pace(2.0, "job_1"), "  time   about 1m 00s, at the pace of job_1"),
        ({"maxSteps": 60}, None, None),
        ({}, Pace(2.0, "job_1"), None),
    ],
)
def test_the_time_is_said_where_an_earlier_job_tells(
    metadata: dict[str, Any], pace: Pace | None, time: str | None
) -> None:
    """And not made up otherwise."""
    lines = opening(TrainingJob(id="job_9"), TrainingStartedEvent("job_9", "", metadata), pace)
    found = [line.replace("\x1b[2m", "").replace("\x1b[0m", "") for line in lines if "about" in line]
    assert found == ([time] if time else [])
