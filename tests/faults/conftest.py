from __future__ import annotations

from collections.abc import Iterator

import pytest

from arkor.http import abort
from tests.support.events import long_plan
from tests.support.rawserver import RawServer


@pytest.fixture(autouse=True)
def _watchers_leave_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a watcher without work leave at once, so that each test can see it go."""
    monkeypatch.setattr(abort, "WATCH_PERIOD_S", 0.02)


@pytest.fixture
def server() -> Iterator[RawServer]:
    """A backend of raw bytes, whose jobs have 40 events."""
    with RawServer(long_plan()) as running:
        yield running
