"""How a program that runs ``arkor start`` learns the id of its job: through a pipe that the environment names.

The command's output is no place for it: the user's code may print anything there.
"""

from __future__ import annotations

import contextlib
import json
import os
import stat
import threading
from collections.abc import Mapping

VARIABLE = "ARKOR_JOB_PIPE"
_READ_BYTES = 65536


class JobPipe:
    """The reading end, for the program that starts the command.

    Pass ``writer`` and ``environment`` on to the new process, then call ``handed_on``.

    Attributes:
        writer: the file descriptor to pass on.

    Thread-safety: safe. Close it when the process has ended.
    """

    def __init__(self) -> None:
        self._reader, self.writer = os.pipe()
        os.set_blocking(self._reader, False)
        self._lock = threading.Lock()
        self._read = b""
        self._is_closed = False
        self._job_id: str | None = None

    @property
    def environment(self) -> Mapping[str, str]:
        """What the process needs to find the pipe."""
        return {VARIABLE: str(self.writer)}

    def handed_on(self) -> None:
        """Leave the writing end to the process."""
        os.close(self.writer)

    def job_id(self) -> str | None:
        """Return the job's id; None until the command has handed it over. Does not wait."""
        with self._lock:
            if self._job_id is None and not self._is_closed:
                with contextlib.suppress(BlockingIOError):  # nothing yet
                    self._read += os.read(self._reader, _READ_BYTES)
                self._job_id = _first(self._read)
            return self._job_id

    def close(self) -> None:
        """Take what is still in the pipe, and close it."""
        self.job_id()
        with self._lock:
            if not self._is_closed:
                self._is_closed = True
                os.close(self._reader)


class ParentPipe:
    """The writing end, in the command. Take it before the user's code runs, which then cannot pass it on.

    Thread-safety: one thread.
    """

    def __init__(self) -> None:
        self._pid = os.getpid()
        self._writer = _taken(os.environ.pop(VARIABLE, ""))

    def tell(self, job_id: str) -> None:
        """Hand the job's id to the program that asked for it; do nothing in a process that the user's code forked."""
        if self._writer is not None and os.getpid() == self._pid:
            with contextlib.suppress(OSError):  # the reader has left: the job goes on without it
                os.write(self._writer, json.dumps(job_id).encode() + b"\n")


def _taken(number: str) -> int | None:
    """Return the file descriptor, which no child process inherits then; None if it is not a pipe."""
    try:
        writer = int(number)
        if not stat.S_ISFIFO(os.fstat(writer).st_mode):
            return None
        os.set_inheritable(writer, False)
    except (ValueError, OverflowError, OSError):  # another program's variable, or one that was passed on too far
        return None
    return writer


def _first(read: bytes) -> str | None:
    """Return the id that the first whole line holds."""
    line, end, _ = read.partition(b"\n")
    try:
        body = json.loads(line) if end else None
    except ValueError:
        return None
    return body if isinstance(body, str) else None
