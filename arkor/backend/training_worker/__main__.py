"""``python -m arkor.backend.training_worker SPEC``: train one attempt at a job.

Exit codes: 0 the job is complete or cancelled; 1 it failed, and the backend knows why; 3 the backend is gone; 4 told
to stop, to be resumed later; 5 another attempt has taken over; 12 memory ran out; 28 the disk is full; 68 the process
of another device, or its node, is gone; 69 the storage cannot be used.
"""

from __future__ import annotations

import logging
import os
import shutil
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import attrs

from arkor.backend.jobs import checkpoints
from arkor.backend.processes.exit_reasons import (
    DISK_FULL_EXIT_CODE,
    NO_MEMORY_EXIT_CODE,
    NO_STORAGE_EXIT_CODE,
    NODE_LOST_EXIT_CODE,
)
from arkor.backend.training_worker.failures import explain, is_no_memory, is_no_space
from arkor.backend.training_worker.limits.device import prepare_environment
from arkor.backend.training_worker.others import ProcessEnded
from arkor.backend.training_worker.reporter import Reporter
from arkor.backend.training_worker.spec import WorkerSpec, read_spec
from arkor.backend.training_worker.stopping import Interrupted, Position, StopReason, StopSwitch
from arkor.errors import ArkorError, ObjectChanged, ObjectMissing, StorageError

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_SUPERSEDED = 5

# A backend that stops still answers for a moment.
_LAST_WORDS_S = 2.0
_ORPHAN_GRACE_S = 60.0

log = logging.getLogger("arkor.worker")


class _Orders:
    """Does what the backend says, from the reporter's thread."""

    def __init__(self, stop: StopSwitch) -> None:
        self._stop = stop

    def cancelled(self) -> None:
        self._stop.request(StopReason.CANCELLED)

    def superseded(self) -> None:
        log.warning("Another attempt has taken over: leaving")
        os._exit(EXIT_SUPERSEDED)  # no clean-up may run: the files are the other attempt's by now

    def orphaned(self) -> None:
        self._stop.request(StopReason.ORPHANED)
        # Nobody is left who would end a worker that is stuck in a long step.
        timer = threading.Timer(_ORPHAN_GRACE_S, os._exit, [StopReason.ORPHANED.value])
        timer.daemon = True
        timer.start()


def run(spec: WorkerSpec) -> int:
    """Train, and return the exit code.

    Args:
        spec: the attempt.
    """
    stop, position = StopSwitch(), Position()
    stop.install()
    url = f"{spec.backend_url}/internal/jobs/{spec.job_id}/events"
    reporter = Reporter(url, spec.token, spec.attempt, _Orders(stop))
    reporter.start()
    try:
        from arkor.backend.training_worker.training import train  # takes seconds: the libraries

        def leave(ended: ProcessEnded) -> None:
            os._exit(_failed(ended, spec, reporter, position))

        train(spec, reporter, stop, position, on_stuck=leave)
    except Interrupted as exc:
        return _stopped(exc.reason, spec, reporter, position)
    except Exception as exc:
        log.exception("The training failed")
        if stop.reason is not None:  # unwinding a library that was interrupted may look like a failure of its own
            return _stopped(stop.reason, spec, reporter, position)
        return _failed(exc, spec, reporter, position)
    return _ended(0, reporter, lambda: _remove_checkpoints(spec))


def _remove_checkpoints(spec: WorkerSpec) -> None:
    shutil.rmtree(spec.checkpoints_dir, ignore_errors=True)
    try:
        spec.files.storage.delete_all(f"{spec.files.key(checkpoints.FOLDER)}/")
    except (OSError, StorageError) as exc:  # leftovers cost space, and nothing else
        log.warning("The checkpoints were not removed: %s", exc)


def _failed(exc: Exception, spec: WorkerSpec, reporter: Reporter, position: Position) -> int:
    """Return the exit code for a failure, after the backend has heard of it."""
    if isinstance(exc, ProcessEnded) and exc.exit_code < 0:
        reporter.flush(_LAST_WORDS_S)
        _die_of(-exc.exit_code)
    code = _to_be_resumed(exc, spec, position)
    if code is not None:
        _keep_whole_checkpoint(spec)
        reporter.flush(_LAST_WORDS_S)
        return code
    reporter.send("training.failed", error=explain(exc, spec.job_dir), **position.fields())
    return _ended(EXIT_FAILED, reporter, lambda: _tidy_for_others(spec))


def _die_of(number: int) -> None:
    """End as the process of another device did, so that the backend takes it for what it is."""
    for signal_number in (number, signal.SIGKILL):  # this process handles some of them
        os.kill(os.getpid(), signal_number)


def _to_be_resumed(exc: Exception, spec: WorkerSpec, position: Position) -> int | None:
    """Return the exit code for a lack of something that the next attempt may have; None for other failures."""
    if not spec.takes_faults:
        return None
    if isinstance(exc, StorageError) and not isinstance(exc, (ObjectMissing, ObjectChanged)):
        return NO_STORAGE_EXIT_CODE
    code = exc.exit_code if isinstance(exc, ProcessEnded) else 0  # another process says what it lacked with its code
    if is_no_space(exc) or code == DISK_FULL_EXIT_CODE:
        return DISK_FULL_EXIT_CODE
    if code == NODE_LOST_EXIT_CODE:
        return code
    # With one row in a batch there is no smaller one, and before the first batch a smaller one changes nothing.
    has_smaller = position.has_begun and spec.config.value("batch_size") > 1
    is_no_memory_left = is_no_memory(exc) or code == NO_MEMORY_EXIT_CODE
    return NO_MEMORY_EXIT_CODE if has_smaller and is_no_memory_left else None


def _stopped(reason: StopReason, spec: WorkerSpec, reporter: Reporter, position: Position) -> int:
    log.info("Stopped at step %s: %s", position.step, reason.name.lower())
    if reason is StopReason.CANCELLED:
        reporter.send("training.cancelled", **position.fields())
        return _ended(reason.value, reporter, lambda: _tidy_for_others(spec))
    reporter.flush(_LAST_WORDS_S)
    return int(reason.value)


def _ended(code: int, reporter: Reporter, tidy: Callable[[], object]) -> int:
    """Wait until the backend knows the end; only then is there nothing left to resume."""
    if not reporter.flush():
        return int(StopReason.ORPHANED.value)
    tidy()
    return code


def _tidy_for_others(spec: WorkerSpec) -> None:
    """Keep the last whole checkpoint alone, for a new job that goes on from it; in the storage, if that is apart."""
    if spec.files.are_apart:
        shutil.rmtree(spec.checkpoints_dir, ignore_errors=True)
    else:
        _keep_whole_checkpoint(spec)


def _keep_whole_checkpoint(spec: WorkerSpec) -> None:
    """Keep the last whole checkpoint alone, for the next attempt."""
    checkpoints.keep_only(spec.checkpoints_dir, checkpoints.latest_complete(spec.checkpoints_dir))


def _on_kept_threads(spec: WorkerSpec) -> WorkerSpec:
    """With full determinism, compute on as many threads as the first attempt, on whichever machine that was."""
    if not (spec.config.value("full_determinism") and spec.files.are_apart):
        return spec
    try:
        return attrs.evolve(spec, threads=int(spec.files.storage.read(spec.files.key(checkpoints.THREADS))))
    except ObjectMissing:
        spec.files.keep(spec.job_dir / checkpoints.THREADS)
        return spec


def main(arguments: list[str]) -> int:
    """Run the worker for the spec that the command line names.

    Args:
        arguments: the command line, without the program's name.
    """
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("urllib3").setLevel(logging.ERROR)  # its warnings have whole URLs, with their signatures
    if len(arguments) != 1:
        log.error("usage: python -m arkor.backend.training_worker SPEC")
        return EXIT_USAGE
    try:
        spec = _on_kept_threads(read_spec(Path(arguments[0])))
    except StorageError as exc:
        log.error("%s", exc)  # noqa: TRY400  # the text says it all
        return NO_STORAGE_EXIT_CODE
    except ArkorError as exc:
        log.error("%s", exc)  # noqa: TRY400  # the text says it all
        return EXIT_USAGE
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")  # whoever started this process may have set it
    spec = attrs.evolve(spec, gpus=spec.gpus or tuple(name for name in visible if name))
    gpu = next(iter(spec.gpus), None)
    prepare_environment(spec.threads, gpu, deterministic=spec.config.value("full_determinism"))
    return run(spec)


if __name__ == "__main__":
    exit_code = main(sys.argv[1:])
    logging.shutdown()
    os._exit(exit_code)  # taking the libraries down in order lasts 1.5 s, and nothing is left to save
