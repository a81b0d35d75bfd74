"""What ``bench/kills.py`` takes for a fault."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import attrs
import pytest

from arkor.protocol.jobs import TrainingJob

BENCH = Path(__file__).parents[2] / "bench"
LOST = "Gave up after 3 lost attempts; in the last one its worker's process was gone"


@pytest.fixture
def verdicts(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module, which lies beside its command."""
    monkeypatch.syspath_prepend(str(BENCH))
    import verdicts

    return verdicts


Case = tuple[Any, Any]


@pytest.fixture
def case(verdicts: ModuleType) -> Callable[..., Case]:
    """Make a job of two steps that has so many events of its plan, and then one that ends it."""
    order = verdicts.Order(
        name="slow:2", steps=2, save_steps=2, eval_steps=2, cancel_at=None, source="blob", secret="hidden"
    )

    def make(count: int, status: str, error: str | None = None, **fields: int) -> Case:
        events = [*order.plan()[:count], (f"training.{status}", None)]
        told = [
            (str(number), {"type": kind, **({} if step is None else {"step": step})})
            for number, (kind, step) in enumerate(events, 1)
        ]
        called = [(verdicts.CALLBACKS[kind], step) for kind, step in events if kind in verdicts.CALLBACKS]
        job = TrainingJob(
            id="job_1", org_id="o", project_id="p", name="slow:2", status=status, config={}, created_at="", error=error
        )
        ending = verdicts.Ending(job=job, stored=list(told), streamed=list(told), **{"kills": 0, **fields})
        return verdicts.Record(order, "job_1", told, called), ending

    return make


def test_a_plan_has_each_event(case: Callable[..., Case]) -> None:
    """The evaluation is a log of its own, and the checkpoint comes last in its step."""
    assert case(0, "failed")[0].order.plan() == [
        ("training.started", None),
        ("training.log", 1),
        ("training.log", 2),
        ("training.log", 2),
        ("checkpoint.saved", 2),
        ("training.completed", None),
    ]


@pytest.mark.parametrize(
    ("arguments", "kills"),
    [
        ((5, "completed"), {}),
        ((0, "failed", LOST), {"kills": 3}),
    ],
)
def test_what_a_kill_explains_is_no_fault(
    verdicts: ModuleType, case: Callable[..., Case], arguments: tuple[Any, ...], kills: dict[str, int]
) -> None:
    """A whole job, and one that was lost too often."""
    assert list(verdicts.faults_of(*case(*arguments, **kills))) == []


@pytest.mark.parametrize("arguments", [(3, "completed"), (0, "failed", LOST), (3, "failed"), (3, "running")])
def test_an_end_that_nothing_explains_is_a_fault(
    verdicts: ModuleType, case: Callable[..., Case], arguments: tuple[Any, ...]
) -> None:
    """Events that are missing, a worker that nobody killed, a job without a verdict."""
    assert list(verdicts.faults_of(*case(*arguments)))


def test_a_lost_attempt_is_told_beside_the_events(verdicts: ModuleType, case: Callable[..., Case]) -> None:
    """Between any two of them."""
    record, ending = case(5, "completed")
    for events in (record.told, ending.stored, ending.streamed):
        events.insert(2, ("", {"type": "training.interrupted", "reason": "It was killed", "step": 1}))
        events[:] = [(str(number), body) for number, (_, body) in enumerate(events, 1)]
    assert list(verdicts.faults_of(record, ending)) == []


@pytest.mark.parametrize("place", ["told", "stored", "streamed", "called"])
@pytest.mark.parametrize("change", ["missing", "doubled", "moved"])
def test_an_event_that_is_not_there_once_is_a_fault(
    verdicts: ModuleType, case: Callable[..., Case], place: str, change: str
) -> None:
    """Wherever it is missing, doubled, or out of its order."""
    record, ending = case(5, "completed")
    events = getattr(record if place in {"told", "called"} else ending, place)
    event = events.pop(2)
    if change != "missing":
        events[1:1] = [event] * (2 if change == "doubled" else 1)
    assert list(verdicts.faults_of(record, ending))


def test_a_wait_that_raised_is_a_fault(verdicts: ModuleType, case: Callable[..., Case]) -> None:
    """Though the job went well."""
    record, ending = case(5, "completed")
    (fault,) = verdicts.faults_of(attrs.evolve(record, error="Aborted()"), ending)
    assert "Aborted()" in fault


def test_files_with_secrets_and_temporary_files_are_faults(verdicts: ModuleType, tmp_path: Path) -> None:
    """But for the credentials, which hold a secret by right."""
    for name, content in (
        ("home/.arkor/hosts/a.json", "token"),
        ("data/backend.sqlite3", "a token among others"),
        ("data/jobs/job_1/spec.json", ""),
        ("data/jobs/job_1/worker.log", "fine"),
        ("data/datasets/.upload.x7f3", ""),
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    assert list(verdicts.files_left(tmp_path, {"token": "a secret"})) == [
        "data/backend.sqlite3 has a secret",
        "data/datasets/.upload.x7f3 is left",
        "data/jobs/job_1/spec.json is left",
    ]
