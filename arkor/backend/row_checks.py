"""Checking the rows of uploads, so that a hostile row does no harm.

A row of 16 MiB may take half a GB and a second to become Python objects, and meanwhile no other thread runs. So rows
are checked in a process of their own, with limits for memory and processor time and a low priority; it takes 0.1 s to
start. A data set of up to 64 KiB is checked in this process: whatever is in it, that takes at most 0.1 s of processor
time, 3 ms of them without a break for others, and 2 MB.

Protocol: docs/protocol.md, "Datasets".
"""

from __future__ import annotations

import json
import signal
import subprocess
import threading
from typing import IO

from arkor.backend.processes.exit_reasons import describe_check_exit
from arkor.data.jsonl import check_rows, read_lines
from arkor.errors import DatasetError
from arkor.serving.refusal import Refusal
from arkor.system.processes import child, module_command

SMALL_BYTES = 64 * 1024
_SOURCE = "The data set"
_LEAST_S = 10
_BYTES_A_SECOND = 2 * 1024**2  # the slowest good rows are four times as fast
_PATIENCE_S = 600.0  # a client waits as long for its answer


class RowChecks:
    """Checks the rows of uploads. Thread-safe; each ``count`` under way has one process at most."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._one_at_a_time = threading.Lock()
        self._processes: set[subprocess.Popen[bytes]] = set()
        self._is_closed = False

    def count(self, file: IO[bytes], size_bytes: int) -> int:
        """Return how many rows there are; all are good.

        Args:
            file: the rows, a file of the system, to be read from where it is.
            size_bytes: their size.

        Raises:
            DatasetError: rows are bad, or cannot be checked within the limits.
            Refusal: 500, the process died; 503, the backend is stopping.
            OSError: the process cannot be started.
        """
        if size_bytes <= SMALL_BYTES:
            with self._one_at_a_time:  # no slower, as Python runs one thread at a time
                return check_rows(_SOURCE, read_lines(file)).rows
        limit_s = _LEAST_S + size_bytes // _BYTES_A_SECOND
        code, said = self._run(file, limit_s)
        if code == 0:
            return int(json.loads(said)["rows"])
        if code == 1 and said:
            message, problems, more = json.loads(said)["error"]
            raise DatasetError(_SOURCE, message, [(row, reason) for row, reason in problems], more)
        if self._is_closed:
            raise _stopping()
        if code == -signal.SIGXCPU:
            raise DatasetError(_SOURCE, f"its rows take more than {limit_s} s of processor time to be checked")
        raise Refusal(500, describe_check_exit(code))

    def close(self) -> None:
        """End every check."""
        with self._lock:
            self._is_closed = True
            for process in self._processes:
                process.kill()

    def _run(self, file: IO[bytes], limit_s: int) -> tuple[int, bytes]:
        """Return the exit code of a process that checked the rows, and what it said."""
        command = module_command("arkor.backend.row_check", str(limit_s))
        with child(command, stdin=file, stdout=subprocess.PIPE, start_new_session=True) as process:
            with self._lock:
                if self._is_closed:
                    raise _stopping()
                self._processes.add(process)
            try:
                said, _ = process.communicate(timeout=_PATIENCE_S)
            except subprocess.TimeoutExpired as exc:
                raise DatasetError(_SOURCE, f"its rows were not checked within {_PATIENCE_S:.0f} s") from exc
            finally:
                with self._lock:
                    self._processes.discard(process)
        return process.returncode, said


def _stopping() -> Refusal:
    return Refusal(503, "The backend is stopping.", headers={"Retry-After": "5"})
