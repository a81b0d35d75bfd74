"""What ``kills.py`` asks for, and what its run must have left: the part of it that starts no process."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import attrs

from arkor import BlobDataset, HuggingFaceDataset, LocalDataset
from arkor.protocol.events import BACKEND_EVENT_TYPES
from arkor.protocol.jobs import JobStatus, TrainingJob

LOST_ATTEMPTS = 3  # in a row, after which a job fails
SECRET_FILES = ("home/.arkor/hosts/*.json",)  # the credentials' own
TEMPORARY = (".upload.*", ".dataset.*", ".adapter.*", ".part-*", "*.part", "*.tmp", "spec.json", ".spec.json.*")
ROW = '{{"messages": [{{"role": "user", "content": "{0}"}}, {{"role": "assistant", "content": "{0}"}}]}}\n'
CALLBACKS = {
    "training.started": "started",
    "training.log": "log",
    "checkpoint.saved": "checkpoint",
    "training.completed": "completed",
    "training.failed": "failed",
}

Told = tuple["str | None", dict[str, Any]]  # an event: its id, and its JSON object


@attrs.frozen(kw_only=True)
class Order:
    """A job that is to be submitted.

    Attributes:
        name: what the scripted worker does.
        steps: how many steps that has.
        save_steps, eval_steps: as ``Trainer`` takes them.
        cancel_at: the step at whose log the job is cancelled, or None.
        source: which kind of data set it has.
        secret: the token of its blob.
    """

    name: str
    steps: int
    save_steps: int
    eval_steps: int
    cancel_at: int | None
    source: str
    secret: str = attrs.field(repr=False)

    @classmethod
    def drawn(cls, rng: random.Random) -> Order:
        """Draw a job: one in ten is to be cancelled."""
        pace, steps = rng.choice([("slow", rng.randint(3, 12)), ("complete", rng.randint(1, 40))])
        return cls(
            name=f"{pace}:{steps}",
            steps=steps,
            save_steps=rng.randint(1, 6),
            eval_steps=rng.randint(1, 6),
            cancel_at=rng.randint(1, steps) if rng.random() < 0.1 else None,
            source=rng.choice(["huggingface", "blob", "upload"]),
            secret=f"blob-{rng.randbytes(16).hex()}",
        )

    def dataset(self, folder: Path) -> HuggingFaceDataset | BlobDataset | LocalDataset:
        """Return its data set; rows that are uploaded are written to a file in a folder first."""
        if self.source == "huggingface":
            return HuggingFaceDataset("owner/rows")
        if self.source == "blob":
            return BlobDataset("https://rows.example/rows.jsonl", token=self.secret)
        rows = folder / f"{self.secret[-8:]}.jsonl"
        rows.write_text("".join(ROW.format(f"{rows.stem} {number}") for number in range(50)))
        return LocalDataset(rows)

    def plan(self) -> list[tuple[str, int | None]]:
        """Return type and step of each event that the job has if it completes."""
        events: list[tuple[str, int | None]] = [("training.started", None)]
        for step in range(1, self.steps + 1):
            events += [("training.log", step)] * (1 + (step % self.eval_steps == 0))
            events += [("checkpoint.saved", step)] * (step % self.save_steps == 0)
        return [*events, ("training.completed", None)]


@attrs.define
class Record:
    """A job, as the trainer that waits for it sees it.

    Attributes:
        order: what was asked for.
        job_id: empty until the backend has it.
        told: the events that its trainer handed out.
        called: the callbacks that it called, each with its step.
        is_cancelled: whether the backend was told to cancel it.
        error: what ended the wait, if anything did.
    """

    order: Order
    job_id: str = ""
    told: list[Told] = attrs.field(factory=list)
    called: list[tuple[str, int | None]] = attrs.field(factory=list)
    is_cancelled: bool = False
    error: str = ""


@attrs.frozen
class Ending:
    """A job after all kills, as the backend sees it.

    Attributes:
        job: the job.
        stored: its events, as the backend hands out what is stored.
        streamed: its events, as who attaches to it now has them.
        kills: how often anything was killed or stopped while it was under way.
    """

    job: TrainingJob
    stored: list[Told]
    streamed: list[Told]
    kills: int


def faults_of(record: Record, ending: Ending) -> Iterator[str]:
    """Yield what is off with a job."""
    if record.error:
        yield f"its wait ended with {record.error}"
    if record.told != ending.stored:
        yield f"told {_short(record.told)}, but stored {_short(ending.stored)}"
    if ending.streamed != ending.stored:
        yield f"streamed {_short(ending.streamed)}, but stored {_short(ending.stored)}"
    if [event_id for event_id, _ in ending.stored] != [str(number) for number in range(1, len(ending.stored) + 1)]:
        yield f"the ids are {[event_id for event_id, _ in ending.stored]}"
    # How its attempts were lost is told beside them.
    events = [(body["type"], body.get("step")) for _, body in record.told if body["type"] not in BACKEND_EVENT_TYPES]
    if record.called != [(CALLBACKS[kind], step) for kind, step in events if kind in CALLBACKS]:
        yield f"called {record.called} for {events}"
    plan = record.order.plan()
    if ending.job.status == JobStatus.COMPLETED:
        if events != plan:
            yield f"completed with {events}, not {plan}"
        return
    last = events[-1][0] if events else ""
    if events[:-1] != plan[: len(events) - 1] or last != f"training.{ending.job.status}":
        yield f"{ending.job.status} after {events}, which does not begin {plan}"
    if not _is_explained(record, ending):
        yield f"{ending.job.status} without a reason that fits: {ending.job.error}"


def _is_explained(record: Record, ending: Ending) -> bool:
    """Whether a job that did not complete has a reason, and what happened to it bears that out."""
    error = ending.job.error or ""
    if ending.job.status == JobStatus.CANCELLED:
        return record.order.cancel_at is not None
    if ending.job.status != JobStatus.FAILED:
        return False
    return error.startswith(f"Gave up after {LOST_ATTEMPTS} lost attempts") and ending.kills >= LOST_ATTEMPTS


def _short(events: Sequence[Told]) -> str:
    return " ".join(f"{event_id}:{body['type'].partition('.')[2]}:{body.get('step', '')}" for event_id, body in events)


def files_left(folder: Path, secrets: Mapping[str, str]) -> Iterator[str]:
    """Yield what is off with the files of a run that is over.

    Args:
        folder: where they are.
        secrets: what no file may hold but the credentials' own, and what each is.
    """
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if any(fnmatch(path.name, pattern) for pattern in TEMPORARY):
            yield f"{name} is left"
        if path.is_file() and not any(fnmatch(name, pattern) for pattern in SECRET_FILES):
            content = path.read_bytes()
            yield from (f"{name} has {what}" for secret, what in secrets.items() if secret.encode() in content)
