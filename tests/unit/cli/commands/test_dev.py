"""``arkor dev``, before there is a server."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import pytest

from arkor.cli.commands.dev import dev


def test_nobody_has_to_read_what_it_prints(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its stdout may be closed, as some that start programs in the background do."""

    def serve(*_: Any, ready: Callable[[str], object], **__: Any) -> int:
        ready("http://127.0.0.1:4000/")
        return 143

    monkeypatch.setattr("arkor.studio.launch.serve", serve)
    monkeypatch.setattr(sys, "stdout", None)
    assert dev.callback is not None
    assert dev.callback(port=0, opens=False, local=False) == 143
