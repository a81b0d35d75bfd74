"""The other processes of an attempt, as the first one sees them: it starts them, and notices if one of them ends."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import pickle
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs

from arkor.backend.processes.exit_reasons import NODE_LOST_EXIT_CODE, describe_death
from arkor.backend.training_worker.elsewhere import PARTNER, Gathering, Partner
from arkor.backend.training_worker.plan import Part, Plan
from arkor.backend.training_worker.team import Meeting, Team, is_lost_partner, joined
from arkor.system.processes import module_command

log = logging.getLogger("arkor.worker")

ROWS = "rows"  # in the folder that the processes share
PARTNER_LOST_EXIT_CODE = 6  # of one that ends only because another one has

_LAST_WORDS_S = 3.0  # from the loss of a process until it is known how it ended
_UNWIND_S = 10.0  # from its end until the first process is left at once, which may wait for it for ever
_LEAVE_S = 10.0  # from the end of the training until they are ended


class ProcessEnded(Exception):
    """Another process of the attempt ended before its time.

    Attributes:
        exit_code: how, as ``subprocess`` gives it.
        error: why, in a sentence without its full stop.
    """

    def __init__(self, rank: int, size: int, exit_code: int, error: str) -> None:
        super().__init__(f"On device {rank + 1} of {size}: {error}")
        self.exit_code = exit_code


class Child:
    """One of the other processes, which the first one has started.

    Args:
        gpu: the CUDA device that it has, as ``CUDA_VISIBLE_DEVICES`` names it; None for those of the first one.
    """

    def __init__(self, gpu: str | None) -> None:
        self._process = subprocess.Popen(
            module_command(PARTNER),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, **({} if gpu is None else {"CUDA_VISIBLE_DEVICES": gpu})},
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._input, self._output = self._process.stdin, self._process.stdout

    def begin(self, part: Part) -> None:
        """Tell it what to do."""
        pickle.dump(part, self._input)
        self._input.flush()  # it stays open: its end tells the process that this one is gone

    def ended(self) -> tuple[int, bytes]:
        """Wait for its end; return its exit code, and what it has said."""
        said = self._output.read()
        return self._process.wait(), said

    def kill(self) -> None:
        """Let it end at once."""
        self._process.kill()

    def close(self) -> None:
        """Let it go; it has ended."""
        self._input.close()
        self._output.close()


class Others:
    """The other processes of an attempt. Thread-safe.

    Args:
        plan: the attempt.
        meeting: where all processes find each other.
        examples: the folder of the rows as the model sees them.
        on_stuck: called, from another thread, if one of them has ended, and the first process has not noticed it.
        gathering: where those on other nodes come; None to start them here.

    Raises:
        ProcessEnded: one of them has not come.
        OSError: they cannot be started.
    """

    def __init__(
        self,
        plan: Plan,
        meeting: str,
        examples: Path,
        on_stuck: Callable[[ProcessEnded], None],
        gathering: Gathering | None = None,
    ) -> None:
        self._size = int(plan.spec.config.value("devices"))
        self._come = {} if gathering is None else gathering.partners(self._size, plan.spec.token)
        plan = attrs.evolve(plan, spec=attrs.evolve(plan.spec, storage=None))  # the first process alone uses it
        self._on_stuck = on_stuck
        self._changed = threading.Condition()
        self._ended: list[ProcessEnded] = []
        self._is_over = False
        self._threads: list[threading.Thread] = []
        self._processes: list[Child | Partner] = []
        try:
            for rank in range(1, self._size):
                process = self._child(rank, plan.spec.gpus) if gathering is None else self._one_that_has_come(rank)
                self._begin(process, Part(plan, rank, meeting, examples))
        except BaseException:
            self.close()
            raise

    def reason(self) -> ProcessEnded | None:
        """Return how the first of them ended that did not end because of another one; None if none did in time."""
        with self._changed:
            self._changed.wait_for(lambda: any(map(_is_cause, self._ended)), _LAST_WORDS_S)
            return min(self._ended, key=lambda ended: not _is_cause(ended), default=None)

    def close(self, patience_s: float = 0.0) -> None:
        """End them.

        Args:
            patience_s: how long they may take to end by themselves.
        """
        with self._changed:
            self._is_over = True
            self._changed.notify_all()
        for thread, process in zip(self._threads, self._processes, strict=True):
            thread.join(patience_s)
            if thread.is_alive():
                process.kill()
        for thread, process in zip(self._threads, self._processes, strict=True):
            thread.join()
            process.close()
        for unused in self._come.values():
            unused.close()

    def _child(self, rank: int, gpus: Sequence[str]) -> Child:
        return Child(gpus[rank] if len(gpus) >= self._size else None)

    def _one_that_has_come(self, rank: int) -> Partner:
        if rank not in self._come:
            raise ProcessEnded(rank, self._size, NODE_LOST_EXIT_CODE, "its process has not come")
        return self._come[rank]

    def _begin(self, process: Child | Partner, part: Part) -> None:
        watch = threading.Thread(target=self._watch, args=(part.rank, process), daemon=True)
        watch.start()
        self._processes.append(process)
        self._threads.append(watch)
        with contextlib.suppress(ConnectionError):  # it has ended already, which its thread notices
            process.begin(part)

    def _watch(self, rank: int, process: Child | Partner) -> None:
        code, said = process.ended()
        if code == 0:
            return
        ended = ProcessEnded(rank, self._size, code, _why(code, said))
        with self._changed:
            if self._is_over:
                return
            log.error("%s", ended)
            self._ended.append(ended)
            self._changed.notify_all()
            is_noticed = self._changed.wait_for(lambda: self._is_over, _UNWIND_S)
        if not is_noticed:
            self._on_stuck(self.reason() or ended)


@contextmanager
def team_of(
    plan: Plan,
    shared: Path | None,
    on_stuck: Callable[[ProcessEnded], None],
    gathering: Gathering | None = None,
) -> Iterator[Team]:
    """Start the other processes of an attempt, and end them with the block.

    Args:
        plan: the attempt.
        shared: a folder with the rows as the model sees them, in ``rows``, which goes with the block; None if there are
            no other processes.
        on_stuck: see ``Others``; it does not return.
        gathering: see ``Others``.

    Raises:
        ProcessEnded: one of them ended before its time.
        OSError: they cannot be started.
    """
    if shared is None:
        yield Team()
        return
    meeting = Meeting.in_file(shared / "meeting") if gathering is None else Meeting.at(gathering.address)
    others = Others(plan, meeting.url, shared / ROWS, on_stuck, gathering)
    try:
        yield joined(0, int(plan.spec.config.value("devices")), meeting, is_cpu=plan.device.is_cpu)
    except Exception as exc:
        ended = others.reason() if is_lost_partner(exc) else None
        if ended is not None:
            raise ended from exc
        raise
    else:
        others.close(_LEAVE_S)
    finally:
        others.close()
        shutil.rmtree(shared, ignore_errors=True)  # it costs disk space, and nothing else


def leave(_ended: ProcessEnded) -> None:
    """Leave at once, because a process has ended and this one waits for it."""
    os._exit(1)


def _is_cause(ended: ProcessEnded) -> bool:
    return ended.exit_code != PARTNER_LOST_EXIT_CODE


def _why(code: int, said: bytes) -> str:
    try:
        return str(json.loads(said)["error"])
    except (ValueError, KeyError):  # it could not say it
        return describe_death(code) if code < 0 else f"its worker ended with exit code {code}"


def say(error: str, output: Any) -> None:
    """Say why this process, one of the others, ends.

    Args:
        error: a sentence without its full stop.
        output: what the first process reads.
    """
    output.write(json.dumps({"error": error}).encode())
    output.flush()
