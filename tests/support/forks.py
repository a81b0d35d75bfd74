"""A real fork of the test's process: what it does there, and what comes of it."""

from __future__ import annotations

import json
import os
import select
import signal
from collections.abc import Callable
from types import TracebackType
from typing import Any

HANGS_AFTER_S = 20.0


class Child:
    """A forked process that makes one call and then ends without a word to anybody. A context manager that ends it.

    Args:
        call: made in the child; returns something that JSON has.
    """

    def __init__(self, call: Callable[[], Any]) -> None:
        self._reader, writer = os.pipe()
        self._pid = os.fork()
        if self._pid == 0:
            _report(call, writer)
        os.close(writer)

    def __enter__(self) -> Child:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        os.kill(self._pid, signal.SIGKILL)  # a zombie, by now, where all is well
        os.waitpid(self._pid, 0)
        os.close(self._reader)

    def outcome(self, timeout_s: float = HANGS_AFTER_S) -> Any:
        """Return what the call returned, or the text of its exception; fail where it goes on for longer."""
        received = b""
        while select.select([self._reader], [], [], timeout_s)[0]:
            data = os.read(self._reader, 65536)
            if not data:
                return json.loads(received)
            received += data
        raise AssertionError(f"the child is still busy after {timeout_s} s")


def _report(call: Callable[[], Any], writer: int) -> None:
    try:
        outcome = json.dumps(call())
    except BaseException as exc:  # the test's own process must not go on twice
        outcome = json.dumps(repr(exc))
    os.write(writer, outcome.encode())
    os._exit(0)
