"""The scheduler with a scripted engine and a real store."""

from __future__ import annotations

import threading
from collections.abc import Callable

import attrs
import pytest

from arkor.backend.jobs.job_folder import log_path, spec_path, write_spec
from arkor.backend.jobs.scheduler import Scheduler
from arkor.backend.processes.engine import EngineAway, Launch, WorkerHandle
from arkor.backend.processes.exit_reasons import NOT_STARTED_EXIT_CODE
from arkor.backend.store.queue import ClaimedJob, Loss
from arkor.backend.store.reports import WorkerEvent
from arkor.system.files import LONGEST_LOG_BYTES
from tests.support.eventually import eventually
from tests.support.scripted_engine import Clock, House


def test_a_worker_that_cannot_be_started_is_tried_again(house: House, caplog: pytest.LogCaptureFixture) -> None:
    """Later each time; the log has the reason, and other jobs get their turn meanwhile."""
    clock = Clock()
    scheduler, job_id = house.paused_at(clock), house.submit()
    house.engine.error = OSError(11, "Resource temporarily unavailable")
    assert scheduler.turn() == 1.0
    assert "Resource temporarily unavailable" in caplog.text
    assert (house.status(job_id), spec_path(house.settings, job_id).exists()) == ("queued", False)
    clock.now += 0.9
    assert scheduler.turn() == pytest.approx(0.1)
    clock.now += 0.2
    assert scheduler.turn() == 2.0
    house.engine.error = None
    other = house.submit()
    scheduler.turn()
    assert (house.status(job_id), house.status(other)) == ("queued", "running")
    clock.now += 2.1
    house.engine.exits[0](1)
    scheduler.turn()
    assert (house.status(job_id), house.status(other)) == ("running", "failed")


def test_a_worker_that_can_never_be_started_fails_the_job(house: House) -> None:
    """After so many tries; a minute at most between two, and the reason is in the last event."""
    clock, waits = Clock(), list[float | None]()
    settings = attrs.evolve(house.settings, max_starts=9)
    scheduler, job_id = attrs.evolve(house, settings=settings).paused_at(clock), house.submit()
    house.engine.error = OSError(11, "Resource temporarily unavailable")
    for _ in range(9):
        waits.append(scheduler.turn())
        clock.now += waits[-1] or 0.0
    assert waits == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0, None]
    assert house.status(job_id) == "failed"
    assert "could not be started, 9 times" in house.last_event(job_id)
    assert "Resource temporarily unavailable" in house.last_event(job_id)


def test_an_engine_that_does_not_answer_fails_no_job(house: House) -> None:
    """However long; the job starts when it answers."""
    clock = Clock()
    settings = attrs.evolve(house.settings, max_starts=2)
    scheduler, job_id = attrs.evolve(house, settings=settings).paused_at(clock), house.submit()
    house.engine.error = EngineAway("Ray does not answer")
    for _ in range(20):
        clock.now += scheduler.turn() or 0.0
        assert house.status(job_id) == "queued"
    house.engine.error = None
    scheduler.turn()
    assert house.status(job_id) == "running"


def test_a_worker_that_the_engine_has_no_room_for_may_be_silent(house: House) -> None:
    """However long; its patience begins when it runs. A cancel ends it all the same."""
    clock = Clock()
    scheduler, job_id, worker = house.paused_at(clock), house.submit(), WorkerHandle("1")
    house.engine.waiting.add(worker)
    assert scheduler.turn() == 5.0
    _pass(clock, scheduler, 12.0)
    assert house.engine.killed == []
    house.engine.waiting.clear()
    _pass(clock, scheduler, 4.9)
    assert house.engine.killed == []
    house.engine.waiting.add(WorkerHandle("2"))
    _pass(clock, scheduler, 0.2)
    assert house.engine.killed == [worker]
    _pass(clock, scheduler, 6.0)
    assert house.store.jobs.cancel(job_id)
    scheduler.ending(job_id)
    _pass(clock, scheduler, 0.2)
    assert (house.status(job_id), len(house.engine.killed)) == ("cancelled", 2)


def test_a_worker_that_found_no_room_costs_no_attempt(house: House) -> None:
    """The job is queued again, with nothing in its events."""
    scheduler, job_id = house.paused_at(Clock()), house.submit()
    for _ in range(5):
        scheduler.turn()
        house.engine.exits[-1](NOT_STARTED_EXIT_CODE)
    scheduler.turn()
    assert (house.status(job_id), house.events(job_id)) == ("running", [])


def _pass(clock: Clock, scheduler: Scheduler, seconds: float) -> None:
    """Let time pass in steps in which the scheduler is awake."""
    for _ in range(round(seconds / 0.02)):
        clock.now += 0.02
        scheduler.turn()


def test_a_job_that_waits_for_another_start_can_be_cancelled(house: House) -> None:
    """At once, and nothing is started for it."""
    clock = Clock()
    scheduler, job_id = house.paused_at(clock), house.submit()
    house.engine.error = OSError(11, "Resource temporarily unavailable")
    scheduler.turn()
    assert house.store.jobs.cancel(job_id)
    scheduler.ending(job_id)
    assert house.status(job_id) == "cancelled"
    house.engine.error = None
    assert scheduler.turn() is None
    assert house.engine.exits == []


def _power_cut(house: House, job_id: str, *steps: int) -> None:
    """Run an attempt that reports these steps, and is gone with its backend."""
    job = house.store.queue.claim()
    assert isinstance(job, ClaimedJob)
    assert job.id == job_id
    events = [WorkerEvent(seq, "training.log", {"step": step, "loss": 1.0}) for seq, step in enumerate(steps, 1)]
    house.store.reports.receive(job_id, job.attempt, job.token, events)
    loss = Loss(reason="its worker's process was gone")
    house.store.queue.lose(job_id, job.attempt, loss, house.settings.max_attempts)


def test_power_cuts_do_not_fail_a_job_that_makes_progress(house: House) -> None:
    """Each attempt comes further than the one before; the third without progress in a row is the last."""
    job_id = house.submit()
    for reached in range(1, 6):
        _power_cut(house, job_id, *range(1, reached + 1))
        assert house.status(job_id) == "queued"
    for _ in range(2):
        _power_cut(house, job_id, 1, 2, 3, 4, 5)
        assert house.status(job_id) == "queued"
    _power_cut(house, job_id, *range(1, 7))
    for _ in range(2):
        _power_cut(house, job_id, 1, 2)
        assert house.status(job_id) == "queued"
    _power_cut(house, job_id)
    assert "Gave up after 3 lost attempts" in house.last_event(job_id)


def test_a_worker_that_stays_after_its_last_event_is_ended_by_the_next_backend(house: House) -> None:
    """The former one was killed just after that event: its spec goes too, and nothing is deleted meanwhile."""
    job_id = house.submit()
    job = house.store.queue.claim()
    assert isinstance(job, ClaimedJob)
    spec = write_spec(house.settings, job, "http://127.0.0.1:1", 1)
    house.store.queue.record_worker(job_id, 1, "77")
    house.store.reports.receive(job_id, 1, job.token, [WorkerEvent(1, "training.completed", {"artifacts": []})])
    scheduler = house.scheduler()
    assert house.store.queue.is_under_way(job_id)
    eventually(lambda: not house.store.queue.is_under_way(job_id), "the worker is ended")
    assert house.engine.killed == [WorkerHandle("77")]
    assert not spec.exists()
    assert (house.status(job_id), house.store.queue.running()) == ("completed", [])
    scheduler.stop()


def test_specs_that_no_worker_needs_go_at_the_start(house: House) -> None:
    """The backend was killed before it removed them, or while it wrote one; they hold tokens."""
    ended, running = house.submit(), house.submit()
    jobs = [house.store.queue.claim(), house.store.queue.claim()]
    specs = [write_spec(house.settings, job, "http://127.0.0.1:1", 1) for job in jobs if isinstance(job, ClaimedJob)]
    half = specs[0].with_name(".spec.json.x7f3")
    half.write_text("half")
    house.store.queue.fail(ended, 1, "gone")
    house.store.queue.record_worker(running, 1, "78")
    scheduler = house.scheduler()
    assert [spec.exists() for spec in (*specs, half)] == [False, True, False]
    scheduler.stop()


def test_an_attempt_whose_process_was_never_recorded_is_given_up(house: House) -> None:
    """The backend died between the claim and the start: there is no worker, so another attempt begins at once."""
    job_id = house.submit()
    assert house.store.queue.claim() is not None
    scheduler = house.paused_at(Clock())  # no lease ends
    scheduler.start()
    eventually(lambda: house.engine.exits, "attempt 2 is started")
    assert [(run.job_id, run.attempt) for run in house.store.queue.running()] == [(job_id, 2)]
    scheduler.stop()
    assert house.status(job_id) == "queued"


def test_an_adopted_worker_that_reports_is_left_alone(house: House) -> None:
    """As long as it does; then it is killed and its job tried again."""
    job_id = house.submit()
    house.store.queue.claim()
    house.store.queue.record_worker(job_id, 1, "77")
    scheduler, pause = house.scheduler(), threading.Event()
    for _ in range(15):
        scheduler.heard_from(job_id, 1)
        pause.wait(0.05)
    assert house.engine.killed == []
    eventually(lambda: house.engine.exits, "attempt 2 is started")
    assert house.engine.killed == [WorkerHandle("77")]
    scheduler.stop()


def test_a_job_is_settled_later_when_it_cannot_be_now(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error of the database, such as a full disk, never leaves a job running for ever."""
    job_id, fail, refusals = house.submit(), house.store.queue.fail, [1]

    def fail_once(*arguments: str | int) -> None:
        if refusals:
            refusals.pop()
            raise OSError(28, "No space left on device")
        fail(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(house.store.queue, "fail", fail_once)
    scheduler = house.scheduler()
    eventually(lambda: house.engine.exits, "the worker is started")
    house.engine.exits[0](1)
    eventually(lambda: house.status(job_id) == "failed", "the job failed")
    assert refusals == []
    scheduler.stop()


def test_a_cancel_before_the_start_is_not_forgotten(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """It came between the claim and the worker's start, when nobody could be told."""
    job_id, start = house.submit(), house.engine.start

    def cancel_first(launch: Launch, on_exit: Callable[[int | None], None]) -> WorkerHandle:
        assert house.store.jobs.cancel(job_id)
        return start(launch, on_exit)

    monkeypatch.setattr(house.engine, "start", cancel_first)
    scheduler = house.scheduler()
    eventually(lambda: house.status(job_id) == "cancelled", "the job is cancelled")
    assert len(house.engine.killed) == 1
    scheduler.stop()


class Run:
    """A scheduler without a thread, and one job whose worker has reported once.

    Args:
        house: its lease is half a second.
    """

    def __init__(self, house: House) -> None:
        self.house, self.clock = house, Clock()
        self.scheduler = house.paused_at(self.clock)
        self.job_id = house.submit()
        self.scheduler.turn()
        self.report()

    def report(self) -> None:
        self.scheduler.heard_from(self.job_id, 1)

    def awake(self, seconds: float) -> None:
        """Let time pass in which the scheduler gets its turns."""
        for _ in range(round(seconds / TICK_S)):
            self.clock.now += TICK_S
            self.scheduler.turn()

    def hold_up(self, seconds: float) -> None:
        """Let time pass in which this process gets no turn; then one."""
        self.clock.now += seconds
        self.scheduler.turn()

    @property
    def is_blamed(self) -> bool:
        return bool(self.house.engine.killed)


LEASE_S = 0.5
TICK_S = 0.02  # a scheduler's own is a twentieth of the lease: 0.025


def test_a_silent_worker_is_given_up_when_its_lease_is_over(house: House) -> None:
    """Not sooner, and its job is tried again."""
    run = Run(house)
    run.awake(LEASE_S - TICK_S)
    assert not run.is_blamed
    run.awake(2 * TICK_S)
    assert run.is_blamed
    assert [attempt.attempt for attempt in house.store.queue.running()] == [2]


@pytest.mark.parametrize("silent_s", [0.0, 0.2, 0.48])
@pytest.mark.parametrize("overtime_s", [-0.1, -0.001, 0.0, 0.001, 0.1, 0.9, 1.1, 1000.0])
def test_a_pause_of_the_backend_gives_a_worker_a_whole_lease(house: House, silent_s: float, overtime_s: float) -> None:
    """Wherever it ends: before the end of the lease, with it, or after it."""
    run = Run(house)
    run.awake(silent_s)
    run.hold_up(max(LEASE_S - silent_s + overtime_s, 0.06))
    run.awake(LEASE_S - TICK_S)
    assert not run.is_blamed
    run.awake(2 * TICK_S)
    assert run.is_blamed


@pytest.mark.parametrize("pause_s", [0.06, 0.3, 0.6])
def test_several_short_pauses_do_not_blame_a_worker(house: House, pause_s: float) -> None:
    """Together they are longer than the lease, and it can report after each of them only."""
    run = Run(house)
    for _ in range(20):
        run.hold_up(pause_s)
        run.awake(0.4)
        run.report()
        assert not run.is_blamed
    run.awake(LEASE_S + TICK_S)
    assert run.is_blamed


def test_pauses_that_are_too_short_to_notice_cost_a_tick_each(house: House) -> None:
    """A worker that could be heard half of the time has more than half of its lease."""
    run = Run(house)
    for _ in range(10):  # 0.45 s, of which 0.25 s count
        run.clock.now += 0.045
        run.scheduler.turn()
    run.awake(0.24)
    assert not run.is_blamed
    run.awake(0.04)
    assert run.is_blamed


def test_a_report_after_a_pause_may_come_before_the_schedulers_turn(house: House) -> None:
    """Reports are taken in by other threads."""
    run = Run(house)
    run.awake(0.4)
    run.clock.now += 5.0
    run.report()
    run.awake(LEASE_S - TICK_S)
    assert not run.is_blamed


def test_a_pause_gives_a_new_worker_its_first_lease_again(house: House) -> None:
    """It takes its time to load its libraries."""
    clock = Clock()
    scheduler = house.paused_at(clock)
    house.submit()
    scheduler.turn()
    clock.now += 60.0
    for _ in range(200):  # 4 s of 5 s
        clock.now += TICK_S
        scheduler.turn()
    assert not house.engine.killed
    for _ in range(60):
        clock.now += TICK_S
        scheduler.turn()
    assert house.engine.killed


def test_a_pause_does_not_use_up_the_grace_of_a_cancel(house: House) -> None:
    """The worker hears of the cancel with its next report, and then needs its time to save."""
    run = Run(house)
    run.scheduler.ending(run.job_id)
    run.awake(0.04)
    run.hold_up(60.0)
    run.awake(0.04)
    assert not run.is_blamed
    run.awake(0.04)
    assert run.is_blamed


@pytest.mark.parametrize(("pause_s", "status"), [(60.0, "running"), (0.4, "failed")])
def test_a_worker_that_left_a_paused_backend_is_not_a_lost_attempt(house: House, pause_s: float, status: str) -> None:
    """Exit code 3 means that it got no answer; a pause that is shorter than the lease is not the reason."""
    run = Run(attrs.evolve(house, settings=attrs.evolve(house.settings, max_attempts=1)))
    run.hold_up(pause_s)
    house.engine.exits[0](3)
    run.scheduler.turn()
    assert house.status(run.job_id) == status


def test_a_scheduler_gives_signs_of_life_unless_it_is_stuck(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also one that has nothing to do; one whose engine does not return gives none."""
    monkeypatch.setattr("arkor.backend.jobs.scheduler._BEAT_S", 0.02)
    stuck, silence_s = threading.Event(), 0.5

    def start(*_: object) -> WorkerHandle:
        stuck.wait()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(house.engine, "start", start)
    scheduler = house.scheduler()

    def silent_s() -> float:
        silent = scheduler.silent_s()
        assert silent is not None
        return silent

    eventually(lambda: silent_s() < silence_s, "it has nothing to do")
    house.submit()
    scheduler.submitted()
    eventually(lambda: silent_s() > silence_s, "it is stuck")
    stuck.set()
    eventually(lambda: silent_s() < silence_s, "it goes on")
    scheduler.stop()
    assert scheduler.silent_s() is None


def test_a_worker_whose_process_was_not_stored_is_found_and_watched(house: House) -> None:
    """Its backend was killed just after it had started it; the newest process with the job's spec is the worker."""
    job_id = house.submit()
    assert house.store.queue.claim() is not None
    old, worker = WorkerHandle("71"), WorkerHandle("72")
    house.engine.found = [(spec_path(house.settings, job_id), handle) for handle in (old, worker)]
    scheduler = house.scheduler()
    assert house.engine.killed == [old]
    assert house.store.queue.is_under_way(job_id)
    house.store.jobs.cancel(job_id)
    scheduler.ending(job_id)
    eventually(lambda: house.status(job_id) == "cancelled", "its grace is over")
    assert house.engine.killed == [old, worker]
    scheduler.stop()


def test_a_workers_log_is_kept_within_bounds(house: House) -> None:
    """At each of its reports; the error of a failed job still has the last lines."""
    clock = Clock()
    scheduler, job_id = house.paused_at(clock), house.submit()
    scheduler.turn()
    log = log_path(house.settings, job_id)
    with log.open("ab") as file:
        file.write(b"a line\n" * (LONGEST_LOG_BYTES // 7) + b"the last line\n")
    scheduler.heard_from(job_id, 1)
    assert log.stat().st_size == 0
    assert log.with_name("worker.log.1").stat().st_size == LONGEST_LOG_BYTES
    house.engine.exits[0](7)
    scheduler.turn()
    assert "a line\\nthe last line" in house.last_event(job_id)


def test_what_an_attempt_left_unfinished_goes_with_it(house: House) -> None:
    """Files that the worker was writing when it was killed; its log and what it has finished stay."""
    clock = Clock()
    scheduler, job_id = house.paused_at(clock), house.submit()
    scheduler.turn()
    folder = house.settings.job_folder(job_id)
    (folder / ".adapter.x").mkdir()
    (folder / ".examples.x" / "examples").mkdir(parents=True)
    for name in (".dataset.x", ".adapter.x/adapter_config.json", "artifacts/.adapter.x.part", "artifacts/adapter.tar"):
        (folder / name).write_text("")
    house.engine.exits[0](1)
    scheduler.turn()
    left = sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))
    assert left == ["artifacts", "artifacts/adapter.tar", "checkpoints", "worker.log"]


def test_a_job_with_full_determinism_keeps_its_threads(house: House) -> None:
    """In each attempt, also at a backend that has other jobs at the same time by now, and whoever took it over."""
    before, clock = house.paused_at(Clock()), Clock()
    job_id = house.submit(fullDeterminism=True)
    before.turn()
    threads = house.spec(job_id)["threads"]
    assert before.kept_threads() == threads
    house.engine.exits[-1](4)
    before.turn()
    (house.settings.job_folder(job_id) / "threads.json").write_text(str(threads + 1))
    house.engine.exits[-1](4)
    before.turn()
    assert house.spec(job_id)["threads"] == threads + 1
    assert before.kept_threads() == threads + 1
    after = house.scheduler()  # another process of the backend
    assert after.kept_threads() == threads + 1
    after.stop()
    assert house.paused_at(clock).kept_threads() == 0


def test_another_job_keeps_no_threads(house: House) -> None:
    """It gives cores away while a chat is answered."""
    working = house.paused_at(Clock())
    job_id = house.submit()
    working.turn()
    assert working.kept_threads() == 0
    assert not (house.settings.job_folder(job_id) / "threads.json").exists()
