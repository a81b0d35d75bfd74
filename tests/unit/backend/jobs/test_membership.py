"""Two servers that share a database: who looks after a job, and what one hears of the other."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import attrs
import pytest

from arkor.backend.jobs.devices import Devices
from arkor.backend.jobs.membership import Membership, this_server
from arkor.backend.settings import Settings
from arkor.backend.store import Store
from arkor.backend.store.feed import Feed
from arkor.backend.store.queue import ClaimedJob
from arkor.backend.store.servers import Server
from arkor.backend.store.tenants import Project
from tests.support.databases import open_for, shared_only
from tests.support.eventually import eventually
from tests.support.scripted_engine import Clock, House, ScriptedEngine

pytestmark = shared_only
LEASE_S = 2.0


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[tuple[House, House]]:
    """Two, each with an engine of its own."""
    houses: list[House] = []
    project: Project | None = None
    for name in ("first", "second"):
        folder = tmp_path / name
        folder.mkdir()
        feed = Feed()
        server = this_server(folder, f"http://{name}:1")
        store = Store(open_for(tmp_path, feed), tmp_path, server.id)
        project = project or store.tenants.create_project(store.tenants.create_anonymous("cli")[1].org, "p", "P")
        assert project is not None
        settings = Settings(data=folder, lease_s=LEASE_S, first_lease_s=LEASE_S, max_parallel=100, cancel_grace_s=0.1)
        houses.append(House(store, project, ScriptedEngine(), settings, server, feed))
    yield houses[0], houses[1]
    for house in houses:
        house.store.close()


def on_another_machine(server: Server | None) -> Server:
    assert server is not None
    return attrs.evolve(server, machine="another one")


def end_of(house: House) -> None:
    """As if a server had said nothing for longer than its lease."""
    assert house.server is not None
    house.store.servers.renew(house.server, -1.0)


def attempts_of(house: House) -> list[str]:
    membership = Membership(house.store, house.server, LEASE_S)
    return [attempt.job_id for attempt in membership.look()]


def test_each_job_is_claimed_once(servers: tuple[House, House]) -> None:
    submitted = [servers[0].submit() for _ in range(40)]
    claimed: list[str] = []

    def claim(house: House) -> None:
        while (job := house.store.queue.claim()) is not None:
            claimed.append(job.id)

    threads = [threading.Thread(target=claim, args=(house,)) for house in servers * 3]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(claimed) == sorted(submitted)


def test_a_server_keeps_its_id_and_its_attempts_over_a_restart(servers: tuple[House, House], tmp_path: Path) -> None:
    first = servers[0]
    job_id = first.submit()
    first.paused_at(Clock()).turn()
    assert this_server(tmp_path / "first", "http://first:2").id == (first.server and first.server.id)
    assert attempts_of(first) == [job_id]


def test_attempts_of_a_server_that_is_alive_stay_its_own(servers: tuple[House, House]) -> None:
    first, second = servers
    first.submit()
    first.paused_at(Clock()).turn()
    assert attempts_of(second) == []


def test_attempts_of_a_server_that_is_gone_are_taken_over(servers: tuple[House, House]) -> None:
    """Its worker, on the same machine and alive, goes on; the first server lets go of it and leaves it alone."""
    first, second = servers
    job_id = first.submit()
    clock = Clock()
    scheduler = first.paused_at(clock)
    scheduler.turn()
    end_of(first)
    taking = second.paused_at(Clock())
    taking.turn()
    assert taking.is_training()
    clock.now += LEASE_S
    scheduler.turn()
    assert not scheduler.is_training()
    assert first.engine.killed == []
    first.engine.exits[0](0)  # which it does not see any more
    scheduler.turn()
    assert first.status(job_id) == "running"


def test_a_worker_on_another_machine_is_given_up_only_when_it_does_not_report(servers: tuple[House, House]) -> None:
    first, second = attrs.evolve(servers[0], server=on_another_machine(servers[0].server)), servers[1]
    job_id = first.submit()
    first.paused_at(Clock()).turn()
    end_of(first)
    clock = Clock()
    taking = second.paused_at(clock)
    second.engine.forgets = True  # as an engine does that has never seen the worker
    taking.turn()
    assert second.status(job_id) == "running"
    pass_time(clock, LEASE_S * 0.6, taking.turn)
    taking.heard_from(job_id, 1)
    pass_time(clock, LEASE_S * 0.6, taking.turn)
    assert second.status(job_id) == "running"
    pass_time(clock, LEASE_S * 0.6, taking.turn)
    assert [event["type"] for event in second.events(job_id)] == ["training.interrupted"]


def pass_time(clock: Clock, seconds: float, turn: Callable[[], object]) -> None:
    for _ in range(50):  # longer ones would count as a pause of the process
        clock.now += seconds / 50
        turn()


def test_a_worker_that_reports_to_another_server_is_not_silent(servers: tuple[House, House]) -> None:
    first, second = servers
    job_id = first.submit()
    clock = Clock()
    scheduler = first.paused_at(clock)
    scheduler.turn()
    second.paused_at(Clock()).heard_from(job_id, 1)
    pass_time(clock, LEASE_S * 1.2, scheduler.turn)
    assert first.status(job_id) == "running"
    eventually(lambda: (first.store.queue.silent_s(job_id, 1) or 0) > LEASE_S, "the report is old", 10.0)
    pass_time(clock, LEASE_S * 1.2, scheduler.turn)
    assert [event["type"] for event in first.events(job_id)] == ["training.interrupted"]


@pytest.mark.parametrize("ask", ["cancel", "pause"])
def test_a_request_to_another_server_reaches_the_worker(servers: tuple[House, House], ask: str) -> None:
    """The database tells of it at once."""
    first, second = servers
    job_id = first.submit()
    scheduler = first.paused_at(time.monotonic)
    scheduler.turn()
    first.feed.listen(lambda _: None, scheduler.others_stored)
    getattr(second.store.jobs, ask)(job_id)

    def is_obeyed() -> bool:
        scheduler.turn()
        return first.engine.terminated != [] if ask == "pause" else first.engine.killed != []

    eventually(is_obeyed, "the first server has heard of it", 10.0)


def test_what_another_server_stored_is_heard(servers: tuple[House, House]) -> None:
    first, second = servers
    heard: list[str] = []
    queued: list[str] = []

    def note(job_ids: Sequence[str] | None, any_queued: bool) -> None:
        heard.extend(job_ids or ())
        queued.extend(job_ids or () if any_queued else ())

    first.feed.listen(lambda _: None, note)
    job_ids = {second.submit() for _ in range(5)}
    eventually(lambda: job_ids <= set(heard), "the news have come", 10.0)
    assert job_ids <= set(queued)
    own = first.submit()
    more = second.submit()
    eventually(lambda: more in heard, "the news have come", 10.0)
    assert own not in heard
    heard.clear()
    queued.clear()
    second.store.jobs.cancel(more)
    eventually(lambda: more in heard, "the news have come", 10.0)
    assert queued == []


def test_other_servers_are_known_by_their_addresses(servers: tuple[House, House]) -> None:
    memberships = [Membership(house.store, house.server, LEASE_S) for house in servers]
    for membership in (*memberships, memberships[0]):
        membership.look()
    assert [membership.others for membership in memberships] == [("http://second:1",), ("http://first:1",)]
    memberships[1].leave()
    memberships[0].look()
    assert memberships[0].others == ()


def test_a_job_that_needs_many_devices_holds_up_one_server(servers: tuple[House, House]) -> None:
    """It keeps its devices free for the job, and the other one passes the job over; once it is gone, the other does."""
    first, second = servers
    for house in servers:
        attempts_of(house)  # both are alive
    large, *small = [first.submit(devices=devices) for devices in (4, 1, 1)]

    def claimed(house: House, free: int) -> str | None:
        job = house.store.queue.claim(free=free, most=4)
        return job.id if isinstance(job, ClaimedJob) else None

    assert claimed(first, 3) is None
    assert claimed(second, 3) == small[0]
    assert claimed(first, 3) is None
    end_of(first)
    assert claimed(second, 3) is None
    assert claimed(second, 4) == large
    assert claimed(second, 1) == small[1]


def test_a_server_that_waits_with_a_job_hears_that_another_one_began_it(servers: tuple[House, House]) -> None:
    """Its free devices are for the next jobs then."""
    four = Devices(gpus=("a", "b", "c", "d"))
    first, second = (attrs.evolve(house, devices=four) for house in servers)
    waiting, beginning = first.paused_at(Clock()), second.paused_at(Clock())
    first.submit()
    waiting.turn()
    large, small = first.submit(devices=4), first.submit()
    waiting.turn()
    concerns = threading.Event()

    def note(job_ids: Sequence[str] | None, queued: bool) -> None:
        if waiting.others_stored(job_ids, queued) and job_ids == [large]:
            concerns.set()

    first.feed.listen(lambda _: None, note)
    beginning.turn()
    assert concerns.wait(10.0)
    waiting.turn()
    assert (second.store.queue.running()[1].job_id, first.status(small)) == (large, "running")
