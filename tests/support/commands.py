"""The command line in real processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence

import attrs

TIMEOUT_S = 30.0


@attrs.frozen
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str


class Command:
    """A running ``python -m arkor.cli``, in the working directory and environment of the test."""

    def __init__(self, *arguments: str, program: Sequence[str] = ("-m", "arkor.cli")) -> None:
        self._debug = "--debug" in arguments
        self.process = subprocess.Popen(
            [sys.executable, *program, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONWARNINGS": "error"},
        )

    def interrupt(self) -> Ended:
        """Press Ctrl-C, and wait for the end."""
        self.process.send_signal(signal.SIGINT)
        return self.end()

    def end(self) -> Ended:
        """Wait for the end. Nobody is ever shown a traceback without asking for it."""
        try:
            out, err = self.process.communicate(timeout=TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.communicate()
            raise
        assert self._debug or "Traceback" not in out + err, out + err
        return Ended(self.process.returncode, out, err)


def run(*arguments: str) -> Ended:
    """Run a command to its end."""
    return Command(*arguments).end()
