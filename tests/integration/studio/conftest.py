from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="package", autouse=True)
def _heed_interrupts() -> Iterator[None]:
    """Let Ctrl-C reach Studio also where the tests run in the background, which ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
