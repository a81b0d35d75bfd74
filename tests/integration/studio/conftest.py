from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="package", autouse=True)
def _heed_signals() -> Iterator[None]:
    """Let these reach Studio also where the tests run in the background or under nohup, which ignore them."""
    before_int = signal.signal(signal.SIGINT, signal.default_int_handler)
    before_hup = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGINT, before_int)
    signal.signal(signal.SIGHUP, before_hup)
