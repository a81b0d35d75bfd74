"""Which devices jobs get, and in which order."""

from __future__ import annotations

import json

import attrs
import pytest

from arkor.backend.jobs.devices import Devices
from arkor.backend.jobs.job_folder import spec_path, write_spec
from arkor.backend.store.queue import ClaimedJob
from tests.support.eventually import eventually
from tests.support.scripted_engine import Clock, House

FOUR = Devices(gpus=("a", "b", "c", "d"), cores=16)
ON_CLUSTER = Devices(cores=16, max_parallel=64, cores_of_device=3)


def with_devices(house: House, devices: Devices) -> House:
    return attrs.evolve(house, devices=devices)


@pytest.mark.parametrize(
    ("devices", "most_jobs", "places", "most"),
    [
        (Devices(cores=8), 1, 1, 8),
        (Devices(cores=8, max_parallel=3), 3, 3, 8),
        (FOUR, 4, 4, 4),
        (attrs.evolve(FOUR, max_parallel=2), 2, 2, 4),
        (attrs.evolve(FOUR, max_parallel=9), 9, 4, 4),
        (ON_CLUSTER, 64, 64, None),
    ],
)
def test_how_many_jobs_there_are_at_the_same_time(
    devices: Devices, most_jobs: int, places: int, most: int | None
) -> None:
    """One on each GPU, or one on the processor, unless the operator says another number."""
    assert (devices.most_jobs, devices.places, devices.most) == (most_jobs, places, most)


@pytest.mark.parametrize(
    ("devices", "count", "threads"),
    [
        (Devices(cores=8), 1, 8),
        (Devices(cores=8), 2, 4),
        (Devices(cores=8, max_parallel=2), 2, 2),
        (Devices(cores=2, max_parallel=4), 2, 1),
        (FOUR, 1, 4),
        (FOUR, 4, 4),
        (ON_CLUSTER, 1, 3),
        (ON_CLUSTER, 2, 3),
        (attrs.evolve(ON_CLUSTER, cores_of_device=0), 1, 1),
    ],
)
def test_the_cores_are_divided(devices: Devices, count: int, threads: int) -> None:
    """Among the GPUs, or among the jobs on the processor and their processes."""
    assert devices.threads(count) == threads


def test_two_jobs_have_two_gpus(house: House) -> None:
    """The first GPU is the last to be taken, because chats are answered there; a third job waits for one."""
    house = with_devices(house, Devices(gpus=("a", "b"), cores=4))
    scheduler = house.paused_at(Clock())
    first, second, third = (house.submit() for _ in range(3))
    scheduler.turn()
    assert [house.spec(job)["gpus"] for job in (first, second)] == [["b"], ["a"]]
    assert house.spec(first)["threads"] == 2
    assert house.status(third) == "queued"
    house.engine.exits[0](1)
    scheduler.turn()
    assert house.spec(third)["gpus"] == ["b"]


def test_a_worker_that_lingers_keeps_its_gpu(house: House) -> None:
    """Its job has ended, but its memory is in use until its process is gone."""
    house = with_devices(house, Devices(gpus=("a",)))
    scheduler = house.paused_at(Clock())
    ended, waiting = house.submit(), house.submit()
    scheduler.turn()
    house.report(ended, ("training.completed", 0))
    scheduler.ending(ended)
    scheduler.turn()
    assert (house.status(ended), house.status(waiting)) == ("completed", "queued")
    house.engine.exits[0](0)
    scheduler.turn()
    assert house.spec(waiting)["gpus"] == ["a"]


def test_the_operator_may_allow_fewer_jobs_than_there_are_gpus(house: House) -> None:
    """With ``--max-parallel``."""
    house = with_devices(house, attrs.evolve(FOUR, max_parallel=1))
    scheduler = house.paused_at(Clock())
    jobs = [house.submit(devices=3), house.submit()]
    scheduler.turn()
    assert [house.status(job) for job in jobs] == ["running", "queued"]
    assert house.spec(jobs[0])["gpus"] == ["d", "c", "b"]


def test_jobs_that_need_few_devices_do_not_starve_one_that_needs_more(house: House) -> None:
    """It waits until enough of them are free, and those that were submitted after it wait for it."""
    house = with_devices(house, FOUR)
    scheduler = house.paused_at(Clock())
    small = [house.submit() for _ in range(3)]
    scheduler.turn()
    large, later = house.submit(devices=3), [house.submit() for _ in range(5)]
    for ended, free in enumerate((2, 3), 1):
        scheduler.turn()
        assert {house.status(job) for job in (large, *later)} == {"queued"}
        house.engine.exits[ended - 1](1)
        assert len(FOUR.free([gpu for job in small[ended:] for gpu in house.spec(job)["gpus"]])) == free
    scheduler.turn()
    assert [house.status(job) for job in (small[2], large, *later)] == ["running"] * 2 + ["queued"] * 5
    assert sorted(house.spec(large)["gpus"] + house.spec(small[2])["gpus"]) == ["a", "b", "c", "d"]
    house.engine.exits[3](1)  # the large one
    scheduler.turn()
    assert [house.status(job) for job in later] == ["running"] * 3 + ["queued"] * 2


def test_a_backend_without_a_free_device_asks_nothing_of_the_queue(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One job has them all, though more jobs could be under way; the queue is asked when a device is free again."""
    house = with_devices(house, FOUR)
    scheduler = house.paused_at(Clock())
    house.submit(devices=4)
    scheduler.turn()
    waiting = house.submit()
    with monkeypatch.context() as patched:
        for name in ("claim", "waiting_for_room"):
            patched.delattr(house.store.queue.__class__, name)
        scheduler.turn()
    house.engine.exits[0](1)
    scheduler.turn()
    assert house.status(waiting) == "running"


def test_news_of_other_servers_wakes_a_scheduler_only_if_it_concerns_it(house: House) -> None:
    """Its own jobs, the one that it keeps devices free for, and new ones while it could begin them."""
    house = with_devices(house, Devices(gpus=("a", "b")))
    scheduler = house.paused_at(Clock())

    def begins_others() -> bool:
        scheduler.turn()
        assert not scheduler.others_stored(["job_other"], queued=False)
        return scheduler.others_stored(["job_other"], queued=True)

    assert begins_others()
    first, large = house.submit(), house.submit(devices=2)
    assert not begins_others()
    for own in (first, large):
        assert scheduler.others_stored(["job_other", own], queued=False)
    assert scheduler.others_stored(None, queued=True)
    house.store.jobs.cancel(large)
    assert begins_others()
    house.submit()
    assert not begins_others()
    house.engine.exits[0](1)
    assert begins_others()


def test_a_job_that_waits_for_another_start_holds_nobody_up(house: House) -> None:
    """Its worker could not be started; its turn has not come."""
    house, clock = with_devices(house, FOUR), Clock()
    scheduler = house.paused_at(clock)
    large = house.submit(devices=4)
    house.engine.error = OSError(11, "Resource temporarily unavailable")
    scheduler.turn()
    house.engine.error = None
    small = house.submit()
    scheduler.turn()
    assert (house.status(large), house.status(small)) == ("queued", "running")


def test_a_taken_over_worker_keeps_its_devices(house: House) -> None:
    """The next backend gives them to nobody else."""
    house = with_devices(house, Devices(gpus=("a", "b", "c")))
    before = house.paused_at(Clock())
    first = house.submit(devices=2)
    before.turn()
    assert house.spec(first)["gpus"] == ["c", "b"]
    second, third = house.submit(), house.submit()
    after = with_devices(house, Devices(gpus=("a", "b", "c"))).scheduler()
    eventually(lambda: len(house.engine.exits) == 2, "the second one has begun")
    assert (house.spec(second)["gpus"], house.status(third)) == (["a"], "queued")
    after.stop()


def test_a_worker_of_an_older_arkor_has_the_first_gpu(house: House) -> None:
    """Its spec does not say so."""
    house = with_devices(house, Devices(gpus=("a", "b")))
    old = house.submit()
    job = house.store.queue.claim()
    assert isinstance(job, ClaimedJob)
    spec = json.loads(write_spec(house.settings, job, "http://127.0.0.1:1", 1).read_bytes())
    del spec["gpus"]
    spec_path(house.settings, old).write_text(json.dumps(spec))
    house.store.queue.record_worker(old, 1, "77")
    new, waiting = house.submit(), house.submit()
    scheduler = house.scheduler()
    eventually(lambda: house.engine.exits, "the new one has begun")
    assert (house.spec(new)["gpus"], house.status(waiting)) == (["b"], "queued")
    scheduler.stop()


def test_a_job_that_needs_more_devices_than_there_are_by_now_is_passed_over(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    """A GPU is gone since it was submitted: it stays in the queue, the log says why, and others train."""
    house = with_devices(house, Devices(gpus=("a", "b")))
    large, small = house.submit(devices=4), house.submit()
    scheduler = house.scheduler()
    eventually(lambda: house.engine.exits, "the small one has begun")
    assert (house.status(large), house.status(small)) == ("queued", "running")
    assert f"Job {large} waits: it needs 4 devices, and this backend has 2 by now" in caplog.text
    scheduler.stop()


def test_on_a_cluster_every_job_is_started(house: House) -> None:
    """However many devices it needs: the engine is told, and waits for room."""
    house = with_devices(house, ON_CLUSTER)
    scheduler = house.paused_at(Clock())
    jobs = [house.submit(devices=1024), house.submit()]
    scheduler.turn()
    assert [house.status(job) for job in jobs] == ["running", "running"]
    assert [launch.devices for launch in house.engine.launches] == [1024, 1]


def test_on_the_processor_a_job_takes_one_place(house: House) -> None:
    """Its processes share the cores of that place."""
    house = with_devices(house, Devices(cores=8, max_parallel=2))
    scheduler = house.paused_at(Clock())
    jobs = [house.submit(devices=2), house.submit(), house.submit()]
    scheduler.turn()
    assert [house.status(job) for job in jobs] == ["running", "running", "queued"]
    assert [house.spec(job)["threads"] for job in jobs[:2]] == [2, 4]
    assert house.spec(jobs[0])["gpus"] == []
