"""Events that got lost on the way: the reader sees it by their numbers, and goes back for them once."""

from __future__ import annotations

from arkor import ReconnectPolicy
from tests.support.events import frames, long_plan
from tests.support.rawserver import Connection, RawServer, event_stream
from tests.support.waiting import Told, Waiting, make_trainer

FRAMES = frames(long_plan())
TOLD = [("started", None), *(("log", step) for step in range(1, 39)), ("completed", None)]


def _without(*numbers: int, after: int = 0) -> Connection:
    """Return a connection that brings the events after a number, but for some."""
    kept = [item for number, item in enumerate(FRAMES, start=1) if number > after and number not in numbers]
    return Connection(sent=event_stream(*kept))


def test_events_that_are_missing_are_asked_for_and_told_in_order(server: RawServer) -> None:
    """Though no failure in a row is allowed: it is none."""
    told = Told()
    server.script(_without(6, 7), _without(20, after=5))
    policy = ReconnectPolicy(base_delay=0.002, max_attempts=0)
    trainer = make_trainer(server, told, reconnect=policy)
    assert Waiting(trainer.wait).outcome().status == "completed"
    assert told.names == TOLD
    assert [stream.headers.get("last-event-id") for stream in server.streams] == [None, "5", "19"]


def test_a_gap_that_stays_is_accepted_and_so_are_those_after_it(server: RawServer) -> None:
    """The backend has not lost anything: it counts like that."""
    told = Told()
    server.script(_without(6, 7, 20, 30), _without(6, 7, 20, 30, after=5))
    trainer = make_trainer(server, told)
    assert Waiting(trainer.wait).outcome().status == "completed"
    assert told.names == [name for number, name in enumerate(TOLD, start=1) if number not in {6, 7, 20, 30}]
    assert [stream.headers.get("last-event-id") for stream in server.streams] == [None, "5"]
