"""A job as Studio's server tells of it: for the stand-in of ``studio_script``."""

from __future__ import annotations

import functools
import json
import threading
from collections.abc import Generator, Mapping
from typing import Any
from urllib.parse import quote

from arkor.studio.samples import SampleLog

PING = b"event: ping\ndata: {}\n\n"
CREATED, STARTED, ENDED = (f"2026-01-31T09:3{minute}:00.000Z" for minute in (0, 1, 5))


class ScriptedJob:
    """A job and its events. A test lets them happen while the page looks.

    Args:
        job_id: its id.
        numbered: whether its events have ids.
        fields: what else the job has, such as ``status``.

    Attributes:
        wire: the job, as GET /api/jobs/<id> has it.
        artifacts: what it has left.
        evaluations: those that it has, the newest last.
        exports: the same.
        opened: after which id each stream was asked to go on.
        streams: how many are open.
        refuses: whether a new stream is a 503.
        silent: whether streams leave out the pings.
    """

    def __init__(self, job_id: str, *, numbered: bool = True, **fields: Any) -> None:
        self.id, self.numbered = job_id, numbered
        self.wire: dict[str, Any] = {
            "id": job_id,
            "name": job_id,
            "status": "running",
            "createdAt": CREATED,
            "startedAt": STARTED,
            "config": {
                "model": "smollm2-135m",
                "datasetSource": {"type": "dataset", "id": "9f2c" * 16},
                "maxSteps": 60,
            },
            **fields,
        }
        self.artifacts: list[dict[str, Any]] = []
        self.evaluations: list[dict[str, Any]] = []
        self.exports: list[dict[str, Any]] = []
        self.opened: list[str | None] = []
        self.streams = 0
        self.refuses = self.silent = False
        self._events: list[dict[str, Any]] = []
        self._cuts = 0
        self._is_ended = False
        self._changed = threading.Condition()

    @property
    def path(self) -> str:
        """Its address below Studio's."""
        return f"/api/jobs/{quote(self.id, safe='')}"

    def event(self, kind: str, **data: Any) -> None:
        """Let something happen."""
        with self._changed:
            self._events.append({"type": kind, "jobId": self.id, "timestamp": ENDED, **data})
            self._changed.notify_all()

    def log(self, step: int, **figures: Any) -> None:
        """Let a step be logged."""
        self.event("training.log", step=step, **figures)

    def logs(self, steps: range) -> None:
        """Let many steps be logged, each with a loss of one over it."""
        for step in steps:
            self.log(step, loss=1 / (step + 1))

    def sample(self, step: int, number: int, answer: str, **fields: Any) -> None:
        """Let a prompt be answered at a step."""
        prompt = [{"role": "user", "content": f"Question {number}?"}]
        self.event("sample.made", **{"step": step, "sample": number, "prompt": prompt, "answer": answer, **fields})

    def end(self, kind: str | None = None, **data: Any) -> None:
        """Let the job end: with an event where a kind is given, and ``end`` on every stream."""
        if kind is not None:
            self.wire.update(status=kind.removeprefix("training."), completedAt=ENDED)
            self.event(kind, **data)
        with self._changed:
            self._is_ended = True
            self._changed.notify_all()

    def cut(self) -> None:
        """Break off every stream that is open."""
        with self._changed:
            self._cuts += 1
            self._changed.notify_all()

    def metrics(self) -> dict[str, Any]:
        """Tell what has happened so far."""
        logs = [event for event in self._events if event["type"] == "training.log"]
        numbered = list(enumerate(self._events, 1))
        starts = [event for event in self._events if event["type"] == "training.started"]
        return {
            "points": logs,
            "total": len(logs),
            "started": starts[-1] if starts else None,
            "lines": [{**event, "id": str(number)} for number, event in numbered[-500:]],
            "lastEventId": str(len(self._events)) if self.numbered and self._events else None,
            "ended": self._is_ended,
        }

    def samples(self) -> Any:
        """Tell what was answered so far."""
        log = SampleLog()
        log.extend((None, event) for event in self._events)
        return json.loads(log.report())

    def table(self) -> str:
        """Tell the same as CSV, in short."""
        return "step,loss\r\n" + "".join(
            f"{point['step']},{point.get('loss')}\r\n" for point in self.metrics()["points"]
        )

    def stream(self, after: str | None) -> Generator[bytes, None, None]:
        """Give the events behind an id as they come, to the end or to a cut."""
        self.opened.append(after)
        sent, cuts = int(after or 0), self._cuts
        self.streams += 1
        try:
            yield PING
            while not self._is_over(cuts) or len(self._events) > sent:
                with self._changed:
                    self._changed.wait_for(functools.partial(self._has_news, sent, cuts), 0.05)
                    events = self._events[sent:]
                frames = [self._frame(sent + number, event) for number, event in enumerate(events, 1)]
                sent += len(events)
                if frames:
                    yield b"".join(frames)
                elif not self.silent:
                    yield PING  # it finds out that nobody listens any more
            if self._cuts == cuts:
                yield b"event: end\ndata: {}\n\n"
        finally:
            self.streams -= 1

    def _has_news(self, sent: int, cuts: int) -> bool:
        return len(self._events) > sent or self._is_over(cuts)

    def _is_over(self, cuts: int) -> bool:
        return self._is_ended or self._cuts > cuts

    def _frame(self, number: int, event: Mapping[str, Any]) -> bytes:
        name = f"id: {number}\n" if self.numbered else ""
        return f"{name}event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode()
