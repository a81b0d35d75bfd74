"""Real trainings to which faults happen: ``python bench/faults.py --seed 7``.

Two jobs at a time train a real model of a few thousand weights, 300 steps each. Six kinds of faults happen to them, in
an order that the seed fixes: SIGKILL to a worker; SIGKILL to the backend; a control
group whose memory another process takes until the kernel kills a worker; a full disk, which is a tmpfs; SIGSTOP to a
worker; a byte of a checkpoint that is changed on the disk, and its worker killed. The second and the third need a user
who may make control groups and mount.

At the end every job must be completed, or failed for a reason that fits the faults that it had. Each of its events must
be there exactly once. Each loss of a completed job must be that of an unbroken training. What is off is printed with
the seed, the files are kept, and the exit code is 1.

It needs Linux, the ``local`` extra and, for 60 faults, about ten minutes.
"""

from __future__ import annotations

import collections
import contextlib
import errno
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import attrs
import click
import psutil
from backend_process import BackendProcess

from arkor import LocalDataset, ReconnectPolicy, Trainer, TrainingLogEvent, TrainingResult
from arkor.errors import Aborted, ArkorError
from arkor.protocol.events import BACKEND_EVENT_TYPES, Event, TrainingInterruptedEvent
from arkor.protocol.jobs import JobStatus
from tests.support.processes import processes_of
from tests.support.small_model import write_rows, write_small_model

STEPS, SAVE_STEPS, BATCH = 300, 20, 4
CLIENTS = 2
TMPFS_MIB = 256
LIMIT_BYTES = 3 * 2**30
TOLERANCE = 1e-3  # smaller batches add the same numbers in another order
LOST_ATTEMPTS = 3
PATIENCE_S = 90.0  # for a job to come so far that a fault can happen to it
FULL_S = 20.0
_HOG = "taken = []\nwhile True: taken.append(bytearray(b'x') * 2**24)"
POLICY = ReconnectPolicy(base_delay=0.1, max_delay=0.5, idle_timeout=10.0)
OPTIONS = {
    "max-parallel": CLIENTS,
    "ping": 1,
    "lease": 4,
    "first-lease": 60,
    "cancel-grace": 3,
    "stop-grace": 5,
    "disk-room": 2**20,
}


@attrs.define
class Run:
    """A job, as the trainer that waits for it sees it.

    Attributes:
        trainer: the trainer.
        events: what was told.
        faults: which faults it had.
        result: how it ended; None before that.
        error: what ended the wait, if anything did.
    """

    trainer: Trainer
    events: list[Event] = attrs.field(factory=list)
    faults: collections.Counter[str] = attrs.field(factory=collections.Counter)
    result: TrainingResult | None = None
    error: str = ""

    @property
    def job_id(self) -> str:
        """Its id; empty until the backend has it."""
        return self.trainer.job.id if self.trainer.job else ""

    @property
    def step(self) -> int:
        """The last step that was told."""
        return max((event.step for event in self.events if isinstance(event, TrainingLogEvent)), default=0)


class Clients:
    """Threads that submit one job after another, and wait for each.

    Args:
        backend: where.
        rows: what the jobs are trained on.
    """

    def __init__(self, backend: BackendProcess, rows: Path) -> None:
        self.runs: list[Run] = []
        self.abort = threading.Event()
        self._backend = backend
        self._rows = rows
        self._no_more = threading.Event()
        self._changed = threading.Condition()
        self._threads = [threading.Thread(target=self._work, args=(number,)) for number in range(CLIENTS)]

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def finish(self, timeout_s: float) -> None:
        """Submit no more jobs, and wait for those that are under way."""
        self._no_more.set()
        deadline = time.monotonic() + timeout_s
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        self.abort.set()
        for thread in self._threads:
            thread.join()

    def under_way(self, rng: random.Random, is_ready: Callable[[Run], bool] = lambda run: run.step > 0) -> Run:
        """Return a job that trains and is ready for a fault; waits for one."""
        with self._changed:
            found: list[Run] = []

            def look() -> list[Run]:
                found[:] = [run for run in self.runs if run.result is None and not run.error and is_ready(run)]
                return found

            if not self._changed.wait_for(look, PATIENCE_S):
                raise click.ClickException(f"No job came so far for {PATIENCE_S:g} s.")
            return rng.choice(found)

    def await_change(self, is_so: Callable[[], bool], timeout_s: float) -> None:
        """Wait until something is so, looked at after each event, or for so many seconds."""
        with self._changed:
            self._changed.wait_for(is_so, timeout_s)

    def unbroken(self) -> Run:
        """Train one job without a fault."""
        run = self._new("unbroken")
        self._follow(run)
        return run

    def _work(self, number: int) -> None:
        while not self._no_more.is_set() and not self.abort.is_set():
            run = self._new(f"client {number}")
            with self._changed:
                self.runs.append(run)
            self._follow(run)

    def _new(self, name: str) -> Run:
        folder = self._backend.folder
        trainer = Trainer(
            name=name,
            model=str(folder / "model"),
            dataset=LocalDataset(self._rows),
            max_steps=STEPS,
            save_steps=SAVE_STEPS,
            batch_size=BATCH,
            learning_rate=1e-2,
            abort_event=self.abort,
            reconnect=POLICY,
            backend=self._backend.url,
            project_dir=folder / "project",
        )
        return Run(trainer)

    def _follow(self, run: Run) -> None:
        def hear(event: Event) -> None:
            with self._changed:
                run.events.append(event)
                self._changed.notify_all()

        while run.result is None:
            try:
                run.result = run.trainer.wait(on_event=hear)
            except Aborted:
                run.error = "its wait was given up"
                return
            except ArkorError as exc:  # the backend was away, or its disk full, as the job was submitted
                if run.trainer.job is not None or self.abort.wait(0.2):
                    run.error = repr(exc)
                    return


class Faults:
    """Makes faults.

    Args:
        backend: the backend.
        clients: whose jobs have the faults.
        rng: draws.
        group: the control group of the backend; None if there is none.
    """

    def __init__(self, backend: BackendProcess, clients: Clients, rng: random.Random, group: Group | None) -> None:
        self._group = group
        self._backend = backend
        self._clients = clients
        self._rng = rng
        self.kinds: dict[str, Callable[[], None]] = {
            "worker killed": self._kill_worker,
            "backend killed": self._kill_backend,
            "no memory": self._take_memory,
            "full disk": self._fill_disk,
            "worker stopped": self._stop_worker,
            "byte flipped": self._flip_byte,
        }

    def make(self, count: int, *, has_tmpfs: bool) -> Iterator[str]:
        """Make so many faults, of each kind as often, and yield each kind once it has happened."""
        left_out = [*([] if has_tmpfs else ["full disk"]), *(["no memory"] if self._group is None else [])]
        kinds = [kind for kind in self.kinds if kind not in left_out]
        order = [kinds[number % len(kinds)] for number in range(count)]
        self._rng.shuffle(order)
        for kind in order:
            self.kinds[kind]()
            yield kind

    def _worker(self, run: Run) -> psutil.Process | None:
        return self._backend.workers().get(run.job_id)

    def _to_a_worker(self, kind: str, do: Callable[[psutil.Process], None]) -> Run:
        seen = self._rng.randint(1, STEPS - 20)
        while True:
            run = self._clients.under_way(self._rng, lambda run: run.step >= seen)
            process = self._worker(run)
            if process is not None:
                with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):
                    do(process)
                    run.faults[kind] += 1
                    return run

    def _kill_worker(self) -> None:
        self._to_a_worker("worker killed", psutil.Process.kill)

    def _stop_worker(self) -> None:
        self._to_a_worker("worker stopped", lambda process: process.send_signal(signal.SIGSTOP))

    def _take_memory(self) -> None:
        """Take the memory of the group until the kernel has killed a worker."""
        self._clients.under_way(self._rng)
        for one in self._clients.runs:
            one.faults["no memory"] += one.result is None
        assert self._group is not None
        workers = list(self._backend.workers().values())
        for process in workers:
            with contextlib.suppress(OSError):
                Path(f"/proc/{process.pid}/oom_score_adj").write_text("1000")  # the kernel prefers it
        hog = subprocess.Popen([sys.executable, "-c", _HOG])
        try:
            self._group.take_in(hog.pid)
            psutil.wait_procs(workers, FULL_S, callback=lambda _: hog.kill())
        finally:
            hog.kill()
            hog.wait()

    def _kill_backend(self) -> None:
        run = self._clients.under_way(self._rng)
        self._backend.kill()
        run.faults["backend killed"] += 1
        if self._rng.random() < 0.3:
            worker = self._worker(run)
            if worker is not None:
                worker.kill()
        self._start_backend()

    def _start_backend(self) -> None:
        self._backend.launch()
        if self._group is not None:
            self._group.take_in(self._backend.process.pid)
        self._backend.await_ready()

    def _flip_byte(self) -> None:
        run = self._clients.under_way(self._rng, lambda run: run.step > SAVE_STEPS)
        worker = self._worker(run)
        if worker is not None:
            with contextlib.suppress(psutil.NoSuchProcess):
                worker.suspend()
        checkpoints = self._backend.data / "jobs" / run.job_id / "checkpoints"
        for file in checkpoints.glob("checkpoint-*/optimizer.pt"):
            content = bytearray(file.read_bytes())
            content[self._rng.randrange(len(content))] ^= 1 << self._rng.randrange(8)
            file.write_bytes(content)
        run.faults["byte flipped"] += 1
        if worker is not None:
            with contextlib.suppress(psutil.NoSuchProcess):
                worker.kill()

    def _fill_disk(self) -> None:
        """Leave no byte on the disk until a job is paused, or for some seconds: it may save nothing meanwhile."""
        run = self._clients.under_way(self._rng)
        filler = self._backend.data / "filler"
        with filler.open("wb", buffering=0) as file:
            for size in (2**20, 2**12):
                with _until_full():
                    while True:
                        file.write(bytes(size))
        for one in self._clients.runs:
            one.faults["full disk"] += one.result is None
        self._clients.await_change(lambda: run.result is not None or _is_paused(run), FULL_S)
        filler.unlink()


@attrs.frozen
class Group:
    """A control group with a limit of its memory.

    Attributes:
        folder: its folder.
    """

    folder: Path

    @classmethod
    @contextlib.contextmanager
    def made(cls, limit: int) -> Iterator[Group | None]:
        """Make one inside the block; yield None if that is not possible."""
        is_v2 = not Path("/sys/fs/cgroup/memory").is_dir()
        folder = Path("/sys/fs/cgroup") / ("" if is_v2 else "memory") / f"arkor-faults-{os.getpid()}"
        try:
            folder.mkdir()
            (folder / ("memory.max" if is_v2 else "memory.limit_in_bytes")).write_text(str(limit))
        except OSError:
            yield None
            return
        yield cls(folder)
        with contextlib.suppress(OSError):  # a process is about to leave
            folder.rmdir()

    def take_in(self, pid: int) -> None:
        """Have a process, and what it starts from now on, in the group."""
        (self.folder / "cgroup.procs").write_text(str(pid))


@contextlib.contextmanager
def _until_full() -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        if exc.errno != errno.ENOSPC:
            raise


def _is_paused(run: Run) -> bool:
    kinds = [event.type for event in run.events]
    return kinds.count("training.paused") > kinds.count("training.unpaused")


def wrong_with(run: Run, losses: dict[int, float]) -> Iterator[str]:
    """Yield what is off with a job.

    Args:
        run: the job.
        losses: those of an unbroken training, by their steps.
    """
    if run.result is None:
        yield f"it did not end: {run.error}"
        return
    job = run.result.job
    if [event.id for event in run.events] != [str(number) for number in range(1, len(run.events) + 1)]:
        yield f"the ids of its events are {[event.id for event in run.events]}"
    told = [(event.type, getattr(event, "step", None)) for event in run.events if event.type not in BACKEND_EVENT_TYPES]
    told = [event for event in told if event[0] != "training.preparing"]
    plan: list[tuple[str, int | None]] = [("training.started", None)]
    for step in range(1, STEPS + 1):
        plan += [("training.log", step), *([("checkpoint.saved", step)] if step % SAVE_STEPS == 0 else [])]
    if job.status == JobStatus.COMPLETED:
        if told != [*plan, ("training.completed", None)]:
            yield f"completed with {_difference(told, plan)}"
        seen = {event.step: event.loss for event in run.events if isinstance(event, TrainingLogEvent)}
        worst = max(abs((seen.get(step) or 0.0) - loss) for step, loss in losses.items())
        if worst > TOLERANCE:
            yield f"its losses differ by {worst:g} from those of an unbroken training"
        return
    if told[:-1] != plan[: len(told) - 1]:
        yield f"{job.status} after {_difference(told[:-1], plan)}"
    if not _is_explained(run, job.error or ""):
        yield f"{job.status} without a reason that fits {dict(run.faults)}: {job.error}"


def _is_explained(run: Run, error: str) -> bool:
    """Whether a job that failed had the faults for it."""
    if error.startswith("Gave up after"):
        return run.faults.total() >= LOST_ATTEMPTS
    # Batches of 4, 2 and 1 row: two kills at a step count as a lack of memory, too.
    return "emory" in error and run.faults["no memory"] >= 1 and run.faults.total() >= LOST_ATTEMPTS


def _difference(told: list[tuple[str, int | None]], plan: list[tuple[str, int | None]]) -> str:
    missing = collections.Counter(plan) - collections.Counter(told)
    further = collections.Counter(told) - collections.Counter(plan)
    return f"{dict(missing)} missing and {dict(further)} besides, or in another order"


@contextlib.contextmanager
def tmpfs(folder: Path) -> Iterator[bool]:
    """Mount a tmpfs at a folder inside the block; yield whether that was possible."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={TMPFS_MIB}m", "tmpfs", str(folder)]
    mounted = shutil.which("mount") is not None and not subprocess.run(command, check=False).returncode
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", "--lazy", str(folder)], check=False)


@click.command()
@click.option("--seed", type=int, help="What is drawn; a random one where it is not given.")
@click.option("--faults", "count", default=60, show_default=True, type=click.IntRange(min=1), help="How many faults.")
def main(seed: int | None, count: int) -> None:
    """Train while faults happen."""
    seed = random.randrange(1_000_000) if seed is None else seed
    folder = Path(tempfile.mkdtemp(prefix="arkor-faults-"))
    print(f"seed {seed}")
    for name in ("home", "project"):
        (folder / name).mkdir()
    os.environ["HOME"] = str(folder / "home")
    write_small_model(folder / "model")
    rows = write_rows(folder / "rows.jsonl")
    began, rng = time.monotonic(), random.Random(seed)
    made: collections.Counter[str] = collections.Counter()
    with tmpfs(folder / "data") as has_tmpfs, Group.made(LIMIT_BYTES) as group:
        try:
            backend = BackendProcess(folder, OPTIONS)
            backend.launch()
            if group is not None:
                group.take_in(backend.process.pid)
            backend.await_ready()
            clients = Clients(backend, rows)
            unbroken = clients.unbroken()
            clients.start()
            try:
                made.update(Faults(backend, clients, rng, group).make(count, has_tmpfs=has_tmpfs))
            finally:
                clients.finish(300.0)
            backend.stop()
        finally:
            for process in processes_of(folder):
                process.kill()
    losses = {event.step: event.loss or 0.0 for event in unbroken.events if isinstance(event, TrainingLogEvent)}
    wrong = [f"{run.job_id}: {fault}" for run in [unbroken, *clients.runs] for fault in wrong_with(run, losses)]
    if "Traceback" in backend.log.read_text():
        wrong.append("the backend's log has a traceback")
    _print(clients.runs, made, time.monotonic() - began)
    for fault in wrong:
        print(f"seed {seed}: {fault}")
    if wrong:
        print(f"seed {seed}: the log is {backend.log}")
        sys.exit(1)
    shutil.rmtree(folder)


def _print(runs: list[Run], made: collections.Counter[str], seconds: float) -> None:
    print(f"faults    {', '.join(f'{kind} {times}' for kind, times in sorted(made.items()))}")
    print(f"duration  {seconds:.0f} s")
    statuses = collections.Counter(run.result.status if run.result else "lost" for run in runs)
    print(f"jobs      {', '.join(f'{status} {times}' for status, times in statuses.items())}")
    errors = collections.Counter((run.result.job.error or "").split("\n")[0] for run in runs if run.result)
    for error, times in errors.items():
        if error:
            print(f"  {times:>3}     {error}")
    told = collections.Counter(event.type for run in runs for event in run.events)
    interruptions = ", ".join(f"{kind} {told[kind]}" for kind in sorted(BACKEND_EVENT_TYPES))
    print(f"events    {interruptions}, {told.total():,} in all")
    reasons = collections.Counter(
        (event.reason, event.batch_size)
        for run in runs
        for event in run.events
        if isinstance(event, TrainingInterruptedEvent)
    )
    for (reason, size), times in reasons.most_common():
        print(f"  {times:>3}     {reason}{'' if size is None else f', then batches of {size}'}")


if __name__ == "__main__":
    main()
