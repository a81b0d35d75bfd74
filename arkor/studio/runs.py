"""The one training that Studio runs at a time: ``arkor start`` as a child process."""

from __future__ import annotations

import codecs
import logging
import os
import signal
import subprocess
import threading
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from arkor.errors import ArkorError, InterpreterMissing
from arkor.serving.refusal import Refusal
from arkor.studio.log import Log
from arkor.studio.processes import start_child
from arkor.system.job_pipe import JobPipe
from arkor.system.processes import signal_group

logger = logging.getLogger(__name__)

_LAST_WORDS_S = 2.0  # for what is left in the pipe; somebody else may hold it open
_LEAVING_S = 5.0
_INTERRUPTED = 130


class Runs:
    """Starts and stops ``arkor start``, one at a time.

    Args:
        project_dir: where it runs.
        local: whether it is told ``--local``.
        cancel: cancels a job by its id, where the command did not get to it; raises an ArkorError where it cannot.
        patience_s: what a stopped command has to cancel its job, in seconds; a submission under way counts.

    Thread-safety: safe.
    """

    def __init__(
        self, project_dir: Path, *, local: bool, cancel: Callable[[str], object], patience_s: float = 60.0
    ) -> None:
        self._project_dir = project_dir
        self._options = ["--on-interrupt", "cancel", *(["--local"] if local else [])]
        self._cancel = cancel
        self._patience_s = patience_s
        self._lock = threading.Lock()
        self._closed = False
        self.last: Run | None = None

    def start(self, *, dry_run: bool) -> Run:
        """Start a run.

        Raises:
            Refusal: 409, another one is under way; 500, the process cannot be started.
            InterpreterMissing: there is no Python to run it.
        """
        with self._lock:
            if self._closed or (self.last is not None and self.last.is_running):
                raise Refusal(409, "A training runs already: stop it first, or wait for its end.")
            arguments = ["start", *self._options, *(["--dry-run"] if dry_run else [])]
            number = 1 if self.last is None else self.last.number + 1
            try:
                self.last = Run.begin(number, arguments, self._project_dir, dry_run=dry_run)
            except InterpreterMissing:
                raise
            except OSError as exc:
                raise Refusal(500, f"arkor start cannot be run in {self._project_dir}: {exc.strerror}.") from exc
            return self.last

    def stop(self) -> None:
        """Stop the run and cancel its job, and return at once.

        Raises:
            Refusal: 409, nothing runs.
        """
        run = self.last
        if run is None or not run.is_running:
            raise Refusal(409, "No training runs.")
        if run.interrupt():
            args = (run, self._cancel, self._patience_s)
            threading.Thread(target=_see_to_its_end, args=args, name="stop", daemon=True).start()

    def state(self) -> dict[str, Any]:
        """Return what ``GET /api/train`` tells."""
        run = self.last
        return {"running": run is not None and run.is_running, "run": None if run is None else run.to_wire()}

    def close(self) -> Run | None:
        """End the run with its processes, and return it where its job goes on."""
        with self._lock:
            self._closed = True
            run = self.last
        if run is None or not run.is_running:
            return None
        run.leave()
        return None if run.is_stopping or run.job_id is None else run

    def kill(self) -> None:
        """End the run's processes at once; takes no lock, so that a signal's handler may call it."""
        if self.last is not None:
            self.last.kill()


class Run:
    """One child process and its output.

    Attributes:
        number: counts the runs of this launch, from 1.
        log: what it has written.
        exit_code: as a shell would tell it; None while it runs.

    Thread-safety: safe.
    """

    def __init__(self, number: int, process: subprocess.Popen[bytes], job_pipe: JobPipe, *, dry_run: bool) -> None:
        self.number = number
        self.log = Log()
        self.exit_code: int | None = None
        self._dry_run = dry_run
        self._started_at = datetime.now(timezone.utc)
        self._process = process
        self._job_pipe = job_pipe
        self._lock = threading.Lock()
        self._stopping = False
        self._ended = threading.Event()
        self._reader = threading.Thread(target=self._read, name="run-output", daemon=True)
        self._reader.start()
        threading.Thread(target=self._wait, name="run", daemon=True).start()

    @classmethod
    def begin(cls, number: int, arguments: list[str], project_dir: Path, *, dry_run: bool) -> Run:
        """Start a child process.

        Raises:
            OSError: it cannot be started.
        """
        job_pipe = JobPipe()
        try:
            process = start_child(arguments, project_dir, subprocess.STDOUT, job_pipe)
        except BaseException:
            job_pipe.close()
            raise
        finally:
            job_pipe.handed_on()
        return cls(number, process, job_pipe, dry_run=dry_run)

    @property
    def job_id(self) -> str | None:
        """Its job, once the command has handed over the id."""
        return self._job_pipe.job_id()

    @property
    def is_running(self) -> bool:
        """Whether it has not ended yet."""
        return not self._ended.is_set()

    @property
    def is_stopping(self) -> bool:
        """Whether it was asked to cancel its job."""
        return self._stopping

    def to_wire(self) -> dict[str, Any]:
        """Return the run as the API tells of it."""
        return {
            "id": self.number,
            "dryRun": self._dry_run,
            "jobId": self.job_id,
            "startedAt": self._started_at.isoformat(),
            "exitCode": self.exit_code,
            "stopping": self._stopping,
        }

    def wait(self, timeout_s: float) -> bool:
        """Wait for its end; return False where that has not come in time."""
        return self._ended.wait(timeout_s)

    def interrupt(self) -> bool:
        """Ask the command to cancel its job and end; return whether this was the first time."""
        with self._lock:
            if self._stopping:  # a second Ctrl-C would make it leave a submission under way
                return False
            self._stopping = True
        signal_group(self._process.pid, signal.SIGINT)
        return True

    def leave(self) -> None:
        """End the process as if Studio had died, with little patience; what was asked to cancel its job may do so."""
        if self._stopping and self.wait(_LEAVING_S):
            return
        assert self._process.stdin is not None
        self._process.stdin.close()
        if not self.wait(_LEAVING_S):
            self.kill()
            self.wait(_LEAVING_S)

    def kill(self) -> None:
        """End its processes at once."""
        if self.exit_code is None:
            signal_group(self._process.pid)

    def _read(self) -> None:
        assert self._process.stdout is not None
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        with self._process.stdout as out:
            while data := os.read(out.fileno(), 65536):
                self.log.write(decoder.decode(data))
        self.log.write(decoder.decode(b"", final=True))

    def _wait(self) -> None:
        code = self._process.wait()
        signal_group(self._process.pid)  # what the user's code has left behind
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._job_pipe.close()
        self._reader.join(_LAST_WORDS_S)
        self.exit_code = code if code >= 0 else 128 - code
        self._ended.set()  # before the log ends: who has read it to its end finds no run under way
        self.log.end(f"[exit {self.exit_code}]")


def _see_to_its_end(run: Run, cancel: Callable[[str], object], patience_s: float) -> None:
    """Wait for a run that was asked to stop; where it does not, end it, and cancel its job from here."""
    if not run.wait(patience_s):
        run.kill()
        run.wait(_LEAVING_S)
    if run.job_id is not None and run.exit_code not in (0, 1, _INTERRUPTED):
        try:
            cancel(run.job_id)
        except ArkorError as exc:
            logger.warning("Job %s could not be cancelled: %s", run.job_id, exc)
