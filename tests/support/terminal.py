"""The command line on a terminal: somebody reads what it asks, and types."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Sequence

import psutil

from tests.support.eventually import eventually

TIMEOUT_S = 30.0


class Terminal:
    """A running ``python -m arkor.cli`` on a terminal of its own. Use it as a context manager.

    Args:
        arguments: of the command line.
        program: what Python runs.
        term: the terminal's kind; a dumb one has no colours.
        columns: characters of a line.

    Attributes:
        seen: all that it has shown so far, with plain line ends.
    """

    def __init__(
        self, *arguments: str, program: Sequence[str] = ("-m", "arkor.cli"), term: str = "dumb", columns: int = 80
    ) -> None:
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        self.process = subprocess.Popen(
            [sys.executable, *program, *arguments],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
            env={**os.environ, "PYTHONWARNINGS": "error", "TERM": term},
        )
        os.close(slave)
        self.seen = ""

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._master)

    def expect(self, text: str) -> str:
        """Wait until a text is shown, and return all that was shown so far."""
        deadline = time.monotonic() + TIMEOUT_S
        while text not in self.seen:
            left_s = deadline - time.monotonic()
            assert left_s > 0, f"{text!r} was not shown: {self.seen}"
            assert self._read(left_s), f"it ended without showing {text!r}: {self.seen}"
        return self.seen

    def type(self, line: str) -> None:
        """Type a line."""
        os.write(self._master, f"{line}\n".encode())

    def press(self, keys: str) -> None:
        """Type without Return."""
        os.write(self._master, keys.encode())

    def hang_up(self) -> None:
        """Close the terminal, as a window or a lost SSH connection does.

        The kernel sends SIGHUP for a controlling terminal, which this one is not.
        """
        os.close(self._master)
        self._master = os.open(os.devnull, os.O_RDWR)
        self.process.send_signal(signal.SIGHUP)

    def interrupt(self, number: int = signal.SIGINT) -> None:
        """Press Ctrl-C, or send another signal, once the process waits for something.

        Python's readline notices a signal that comes while it draws only with the next key.
        """
        eventually(lambda: psutil.Process(self.process.pid).status() == psutil.STATUS_SLEEPING, "it waits")
        self.process.send_signal(number)

    def end(self) -> tuple[int, str]:
        """Wait for the end, and return the exit code and all that was shown."""
        while self._read(TIMEOUT_S):
            pass
        return self.process.wait(TIMEOUT_S), self.seen

    def _read(self, timeout_s: float) -> bool:
        if not select.select([self._master], [], [], timeout_s)[0]:
            return False
        with contextlib.suppress(OSError):  # on Linux a terminal that nobody has open any more
            data = os.read(self._master, 65536)
            self.seen += data.decode().replace("\r\n", "\n")
            return bool(data)
        return False
