"""What becomes of a job whose attempt was lost: it goes on, with smaller batches if memory ran out, or it fails."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Any

import attrs
import pytest

from arkor.backend.jobs import room, scheduler
from arkor.backend.jobs.job_folder import log_path
from arkor.backend.jobs.scheduler import Scheduler
from tests.support.scripted_engine import Clock, House

BEGUN = ("training.started", 0)
NO_STORAGE, NO_MEMORY, DISK_FULL, DIED = 69, 12, 28, -11


@attrs.frozen
class Run:
    """A job and the scheduler that works on it."""

    house: House
    scheduler: Scheduler
    clock: Clock
    job_id: str

    def end(self, code: int, *events: tuple[str, int]) -> None:
        """Have the attempt tell events and end, and the next one begin."""
        if events:
            self.house.report(self.job_id, *events)
        self.house.engine.exits[-1](code)
        self.scheduler.turn()

    @property
    def status(self) -> str:
        return self.house.status(self.job_id)

    @property
    def events(self) -> list[dict[str, Any]]:
        return self.house.events(self.job_id)

    @property
    def batches(self) -> tuple[int, int]:
        """Rows in a batch and batches in a step, as the worker was told."""
        config = self.house.spec(self.job_id)["config"]
        return config.get("batchSize", 4), config.get("gradientAccumulationSteps", 1)


@pytest.fixture
def run(house: House) -> Callable[..., Run]:
    """Begin a job."""

    def begin(**settings: Any) -> Run:
        clock = Clock()
        working = house.paused_at(clock)
        job_id = house.submit(**settings)
        working.turn()
        return Run(house, working, clock, job_id)

    return begin


def test_a_worker_that_dies_is_started_again(run: Callable[..., Run]) -> None:
    """The event says how it died; it goes on with the same batches."""
    job = run()
    job.end(DIED, BEGUN, ("training.log", 3))
    assert (job.status, job.batches) == ("running", (4, 1))
    assert [event["type"] for event in job.events] == ["training.started", "training.log", "training.interrupted"]
    last = job.events[-1]
    assert (last["reason"], last["step"]) == ("Its worker was killed by signal SIGSEGV", 3)
    assert "batchSize" not in last


def test_one_that_makes_progress_may_die_as_often_as_it_does(run: Callable[..., Run]) -> None:
    """Its batches stay as they are."""
    job = run()
    for step in range(1, 12):
        job.end(DIED, BEGUN, ("training.log", step))
        assert (job.status, job.batches) == ("running", (4, 1))


def test_a_second_death_at_a_step_is_taken_for_a_lack_of_memory(run: Callable[..., Run]) -> None:
    """Nobody may have been told of it: the next attempt has smaller batches, and the event says so."""
    job = run()
    job.end(DIED, BEGUN, ("training.log", 3))
    job.end(DIED, BEGUN, ("training.log", 3))
    last = job.events[-1]
    assert (last["type"], last["batchSize"], last["gradientAccumulationSteps"]) == ("training.interrupted", 2, 2)
    assert (job.status, job.batches) == ("running", (2, 2))
    job.end(DIED, BEGUN, ("training.log", 4))
    assert job.batches == (2, 2)


def test_it_fails_after_three_deaths_with_one_row(run: Callable[..., Run]) -> None:
    """There is nothing smaller to try; the failure has the reason, the end of the log and the step.

    The first attempt made progress, and so it does not count.
    """
    job = run(batchSize=1)
    for _ in range(4):
        assert job.status == "running"
        log = log_path(job.house.settings, job.job_id)
        log.write_text(log.read_text() + "the last words\n")
        job.end(DIED, BEGUN, ("training.log", 3))
    assert job.status == "failed"
    last = job.events[-1]
    assert last["error"] == (
        "Gave up after 3 lost attempts; in the last one its worker was killed by signal SIGSEGV."
        "\nThe end of its log:\nthe last words"
    )
    assert last["step"] == 3


def test_deaths_before_the_training_change_no_batches(run: Callable[..., Run]) -> None:
    """Loading the model takes as much memory with smaller ones."""
    job = run()
    for _ in range(3):
        assert (job.status, job.batches) == ("running", (4, 1))
        job.end(DIED)
    assert job.status == "failed"


def test_batches_are_halved_until_the_memory_suffices(run: Callable[..., Run]) -> None:
    """At once, and not counted as lost: 8 rows may become 4, 2 and 1. Then it fails, with advice."""
    job = run(batchSize=8, gradientAccumulationSteps=3, evalBatchSize=4)
    for batches in ((8, 3), (4, 6), (2, 12), (1, 24)):
        assert (job.status, job.batches) == ("running", batches)
        job.end(NO_MEMORY, BEGUN)
    assert job.status == "failed"
    told = [(event["batchSize"], event["reason"]) for event in job.events if event["type"] == "training.interrupted"]
    assert told == [(4, "Memory ran out"), (2, "Memory ran out"), (1, "Memory ran out")]
    error = job.events[-1]["error"]
    assert error.startswith("Memory ran out, with one row in a batch: lower max_length or lora_r, set gradient_")


def test_a_kill_by_the_kernel_is_a_lack_of_memory(run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch) -> None:
    """Only if the kernel counted one since the worker was started; the failure has the limit."""
    kills = 5
    monkeypatch.setattr(scheduler, "oom_kills", lambda: kills)
    monkeypatch.setattr(scheduler, "limit_bytes", lambda: 3 * 2**30)
    job = run(batchSize=2)
    job.end(-9, BEGUN)
    assert job.batches == (2, 1)
    kills = 6
    job.end(-9, BEGUN, ("training.log", 1))
    assert (job.batches, job.events[-1]["reason"]) == ((1, 2), "Memory ran out (the limit is 3.0 GiB)")
    kills = 7
    job.end(-15, BEGUN, ("training.log", 2))  # a stranger was killed
    assert (job.status, job.events[-1]["reason"]) == ("running", "Its worker was killed by signal SIGTERM")


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """How many bytes are free on the disk."""
    disk = {"free": 5 * 2**20}
    monkeypatch.setattr(room, "free_bytes", lambda _: disk["free"])
    return disk


def test_a_full_disk_pauses_a_job_until_there_is_room(run: Callable[..., Run], free: dict[str, int]) -> None:
    """The reason has the figure; the job goes on by itself, with another attempt."""
    job = run()
    job.end(DISK_FULL, BEGUN, ("training.log", 7))
    assert job.status == "paused"
    shown = job.house.store.jobs.get(job.house.project, job.job_id)
    assert shown is not None
    assert shown.pause_reason == f"the disk is full: 5 MiB are free for {job.house.settings.data}"
    assert (job.events[-1]["type"], job.events[-1]["step"]) == ("training.paused", 7)
    assert job.house.store.queue.has_work()
    free["free"] += job.house.settings.disk_room_bytes - 1
    assert job.scheduler.turn() == 2.0
    assert job.status == "paused"
    free["free"] += 1
    job.scheduler.turn()
    assert (job.status, job.events[-1]["type"]) == ("running", "training.unpaused")
    shown = job.house.store.jobs.get(job.house.project, job.job_id)
    assert shown is not None
    assert shown.pause_reason is None


def test_a_job_whose_disk_stays_full_is_tried_now_and_then(run: Callable[..., Run], free: dict[str, int]) -> None:
    """Another disk than that of the data may have been full, or there was room again when it was paused."""
    job = run()
    job.end(DISK_FULL)
    for delay in (15, 30, 60, 120):
        job.clock.now += delay - 1
        job.scheduler.turn()
        assert job.status == "paused"
        job.clock.now += 1
        job.scheduler.turn()
        assert job.status == "running"
        job.end(DISK_FULL)
    assert [event["type"] for event in job.events].count("training.paused") == 5
    job.clock.now += 240
    job.scheduler.turn()
    job.end(DISK_FULL, BEGUN, ("training.log", 1))  # progress: the next wait is a short one
    job.clock.now += 15
    job.scheduler.turn()
    assert job.status == "running"


def test_a_job_that_waited_too_long_for_room_fails(house: House, free: dict[str, int]) -> None:
    """With what is free, and how to go on."""
    house = attrs.evolve(house, settings=attrs.evolve(house.settings, disk_patience_s=1e-6))
    working, job_id = house.paused_at(Clock()), house.submit()
    working.turn()
    house.engine.exits[0](DISK_FULL)
    working.turn()
    assert house.status(job_id) == "failed"
    assert "5 MiB are free" in house.last_event(job_id)
    assert "resume the job" in house.last_event(job_id)
    assert not house.store.queue.has_work()


def test_another_backend_tries_at_once(run: Callable[..., Run], free: dict[str, int]) -> None:
    """It does not know what was free before."""
    job = run()
    job.end(DISK_FULL)
    again = job.house.paused_at(job.clock)
    again.turn()
    assert job.status == "running"


def test_no_room_for_the_worker_to_start_pauses_a_job_too(house: House, free: dict[str, int]) -> None:
    """Its folder could not be written."""
    working, job_id = house.paused_at(Clock()), house.submit()
    house.engine.error = OSError(errno.ENOSPC, "No space left on device")
    working.turn()
    assert house.status(job_id) == "paused"


def test_a_queued_job_is_paused_at_once(run: Callable[..., Run]) -> None:
    """A person does it, and a person ends it; the backend may leave meanwhile."""
    job = run()
    other = job.house.submit()
    assert job.house.store.jobs.pause(other)
    assert job.house.status(other) == "paused"
    job.end(1)
    assert len(job.house.engine.exits) == 1
    assert job.house.store.jobs.pause(other)
    assert [event["type"] for event in job.house.events(other)] == ["training.paused"]
    assert job.house.store.jobs.unpause(other)
    assert not job.house.store.jobs.unpause(other)
    job.scheduler.turn()
    assert job.house.status(other) == "running"


def test_a_running_job_is_asked_to_save_and_pauses(run: Callable[..., Run]) -> None:
    """That is no lost attempt."""
    job = run()
    for _ in range(4):
        assert job.house.store.jobs.pause(job.job_id)
        assert job.status == "running"
        job.scheduler.pausing(job.job_id)
        job.scheduler.turn()
        assert job.status == "paused"
        assert not job.house.store.queue.has_work()
        assert job.scheduler.turn() is None
        assert job.house.store.jobs.unpause(job.job_id)
        job.scheduler.turn()
        assert job.status == "running"
    assert "training.interrupted" not in [event["type"] for event in job.events]


def test_a_worker_that_does_not_heed_a_pause_is_killed(house: House) -> None:
    """After the same time as for a cancel."""
    clock = Clock()
    working, job_id = house.paused_at(clock), house.submit()
    working.turn()
    house.engine.is_deaf = True
    house.store.jobs.pause(job_id)
    working.pausing(job_id)
    working.turn()
    assert house.status(job_id) == "running"
    for _ in range(20):
        clock.now += house.settings.lease_s / 20
        working.turn()
    assert (house.status(job_id), len(house.engine.killed)) == ("paused", 1)


def test_a_job_that_is_paused_for_room_waits_for_its_owner_then(run: Callable[..., Run], free: dict[str, int]) -> None:
    """Once a person pauses it, too."""
    job = run()
    job.end(DISK_FULL)
    assert job.house.store.jobs.pause(job.job_id)
    free["free"] += 2**30
    job.scheduler.turn()
    assert job.status == "paused"
    assert not job.house.store.queue.has_work()


def test_a_paused_job_can_be_cancelled(run: Callable[..., Run], free: dict[str, int]) -> None:
    """At once; and one that is to be cancelled cannot be paused."""
    job = run()
    job.end(DISK_FULL)
    assert job.house.store.jobs.cancel(job.job_id)
    assert job.status == "cancelled"
    assert not job.house.store.jobs.pause(job.job_id)
    assert not job.house.store.jobs.unpause(job.job_id)
    free["free"] += 2**30
    assert job.scheduler.turn() is None


@pytest.mark.parametrize("code", [NO_MEMORY, DIED])
def test_with_full_determinism_batches_stay_as_they_are(run: Callable[..., Run], code: int) -> None:
    """It tries again, as the memory may be there by then, and then fails with the settings that would help."""
    job = run(fullDeterminism=True, batchSize=8)
    for _ in range(2):
        job.end(code, BEGUN, ("training.log", 3))
        assert (job.status, job.batches) == ("running", (8, 1))
        assert "batchSize" not in job.events[-1]
    while job.status == "running":
        job.end(code, BEGUN)
    assert job.status == "failed"
    assert job.events[-1]["error"].startswith(
        "The batches cannot become smaller than batch_size=8 with full_determinism: set a smaller one, and more "
        "gradient_accumulation_steps. Gave up after "
    )


def test_a_job_outlasts_a_storage_that_is_away(run: Callable[..., Run]) -> None:
    """For three attempts; then it fails with the reason, and can be resumed."""
    job = run()
    for _ in range(2):
        job.end(NO_STORAGE)
        assert job.status == "running"
    assert job.events[-1]["reason"] == "The storage could not be used"
    log_path(job.house.settings, job.job_id).write_text("--- attempt 3 ---\nno answer from S3\n")
    job.end(NO_STORAGE)
    assert job.status == "failed"
    error = job.events[-1]["error"]
    assert error.startswith("Gave up after 3 lost attempts; in the last one the storage could not be used.")
    assert error.endswith("no answer from S3")
