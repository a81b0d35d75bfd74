"""Jobs as lines of a table: what their times look like."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from arkor.cli.job_table import moment


@pytest.fixture
def _zone(zone: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as changed:
        changed.setenv("TZ", zone)
        time.tzset()
        yield
    time.tzset()


@pytest.mark.usefixtures("_zone")
@pytest.mark.parametrize(
    ("zone", "at", "shown"),
    [
        ("Asia/Tokyo", "2026-01-31T20:00:00Z", "2026-02-01 05:00"),
        ("Asia/Tokyo", "9999-12-31T23:59:59Z", ""),
        ("America/New_York", "0001-01-01T00:00:00Z", ""),
        ("America/New_York", "soon", ""),
    ],
)
def test_a_time_is_that_of_the_users_zone(at: str, shown: str) -> None:
    """One that the calendar lacks there is none: some backends write the first second of the year 1 for that."""
    assert moment(at) == shown
