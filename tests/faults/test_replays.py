"""Servers that send again what was told already: each event reaches its callback once, and in order."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from typing import Any

import pytest

from arkor import Aborted, Trainer, WaitTimeout
from tests.support.contract import Recorded
from tests.support.events import frames, long_plan
from tests.support.rawserver import Connection, RawServer, event_stream
from tests.support.waiting import Told, make_trainer

PLAN = long_plan()
FRAMES = frames(PLAN)
TOLD = [("started", None), *(("log", step) for step in range(1, 39)), ("completed", None)]
AT_A_TIME = 7
RING = 10
SHORT_S = 1.0  # of a machine under load, too: what a wait does not take in time is not sent again
MOST_WAITS = 100

# From a stream's frames, how many of them there are by now, and how many the reader says that it has, to what is sent.
Memory = Callable[[Sequence[bytes], int, int], Sequence[bytes]]


def _from_the_start(stream: Sequence[bytes], happened: int, after: int) -> Sequence[bytes]:
    return stream[:happened]


def _the_last_ten(stream: Sequence[bytes], happened: int, after: int) -> Sequence[bytes]:
    return stream[max(0, happened - RING) : happened]


def _the_last_one_again(stream: Sequence[bytes], happened: int, after: int) -> Sequence[bytes]:
    return stream[max(0, after - 1) : happened]


def _what_is_new(stream: Sequence[bytes], happened: int, after: int) -> Sequence[bytes]:
    return stream[after:happened]


MEMORIES = [_from_the_start, _the_last_ten, _the_last_one_again, _what_is_new]
FORGETFUL = [_from_the_start, _the_last_ten, _the_last_one_again]


def _with_pings() -> list[bytes]:
    """Return the stream with a ping after every third event, each frame with an id of its own."""
    ping = b"id: ping-%d\nevent: ping\ndata: {}\n\n"
    return [part for number, item in enumerate(FRAMES) for part in ([item] if number % 3 else [item, ping % number])]


def _with_ids_missing() -> list[bytes]:
    """Return the stream with no id on every third event."""
    return [item.partition(b"\n")[2] if number % 3 == 1 else item for number, item in enumerate(FRAMES)]


def _without_ids() -> list[bytes]:
    return [item.partition(b"\n")[2] for item in FRAMES]


class Growing:
    """A server whose stream grows by some frames with each connection, which then ends within the next frame.

    Args:
        stream: all of its frames.
        memory: which of them it sends.
        at_a_time: by how many it grows.
        silent: the connections, from 1, that stay open in place of ending.
    """

    def __init__(
        self, stream: Sequence[bytes], memory: Memory, at_a_time: int = AT_A_TIME, silent: Collection[int] = ()
    ) -> None:
        self._stream = stream
        self._ids = [item.partition(b"\n")[0] for item in stream]
        self._memory = memory
        self._at_a_time = at_a_time
        self._silent = silent
        self.server = RawServer(PLAN, events=self._events)

    def _events(self, request: Recorded) -> Connection:
        number = len(self.server.streams)
        happened = min(len(self._stream), self._at_a_time * number)
        said = request.headers.get("last-event-id")
        after = self._ids.index(f"id: {said}".encode()) + 1 if said else 0
        whole = event_stream(*self._memory(self._stream, happened, after), b": the next one")
        hold = threading.Event() if number in self._silent else None
        return Connection(sent=whole[: -len(b"one\r\n0\r\n\r\n")], hold=hold)


def follow(growing: Growing, told: Told, abort_event: threading.Event, timeout: float | None = None) -> Trainer:
    """Run a job to its end, waiting again whenever the wait was interrupted."""
    with growing.server:
        trainer = make_trainer(growing.server, told, abort_event=abort_event)
        for _ in range(MOST_WAITS):
            abort_event.clear()
            with suppress(Aborted, WaitTimeout, ZeroDivisionError):
                assert trainer.wait(timeout).status == "completed"
                return trainer
    raise AssertionError(f"not at the end after {MOST_WAITS} waits; told: {told.names}")


@pytest.mark.parametrize("stream", [FRAMES, _with_pings()], ids=["events", "pings with ids"])
@pytest.mark.parametrize("memory", MEMORIES)
def test_each_event_is_told_once_whatever_the_server_remembers(memory: Memory, stream: list[bytes]) -> None:
    """One that goes on where it was asked to; ones that begin anew, some way back, or with the last event again."""
    told, growing = Told(), Growing(stream, memory)
    trainer = follow(growing, told, threading.Event())
    assert told.names == TOLD
    assert trainer.last_event_id == "40"
    assert len(growing.server.streams) == -(-len(stream) // AT_A_TIME)


@pytest.mark.parametrize("memory", MEMORIES)
def test_a_wait_after_an_abort_tells_nothing_twice(memory: Memory) -> None:
    """Also where the abort came in the middle of what was received."""
    abort_event = threading.Event()
    told = Told(lambda name, context: abort_event.set() if told.names[-1] in {("log", 5), ("log", 17)} else None)
    growing = Growing(FRAMES, memory)
    follow(growing, told, abort_event)
    assert told.names == TOLD
    assert len(growing.server.streams) >= 3


@pytest.mark.parametrize("memory", FORGETFUL)
def test_a_wait_after_an_exception_of_a_callback_tells_nothing_twice(memory: Memory) -> None:
    """Its event counts as delivered."""

    def fail(name: str, context: Any) -> None:
        if told.names[-1] in {("log", 5), ("log", 17)}:
            raise ZeroDivisionError

    told = Told(fail)
    follow(Growing(FRAMES, memory), told, threading.Event())
    assert told.names == TOLD


@pytest.mark.parametrize("memory", FORGETFUL)
def test_a_wait_after_a_timeout_tells_nothing_twice(memory: Memory) -> None:
    """The stream was silent, and the time was over."""
    told, growing = Told(), Growing(FRAMES, memory, silent={2, 4})
    follow(growing, told, threading.Event(), SHORT_S)
    assert told.names == TOLD


@pytest.mark.parametrize("memory", MEMORIES)
def test_events_with_an_id_are_told_once_also_amid_events_without(memory: Memory) -> None:
    """Of those without an id none is lost; after a lost connection one may be told again."""
    told, growing = Told(), Growing(_with_ids_missing(), memory)
    follow(growing, told, threading.Event())
    with_id = [name for number, name in enumerate(TOLD) if number % 3 != 1]
    assert [name for name in told.names if name in with_id] == with_id
    assert list(dict.fromkeys(told.names)) == TOLD


def test_without_any_id_nothing_is_lost() -> None:
    """A server without ids that begins anew is told again: nothing says which of its events are new."""
    told = Told()
    follow(Growing(_without_ids(), _from_the_start), told, threading.Event())
    assert list(dict.fromkeys(told.names)) == TOLD


def test_a_replay_of_thousands_of_events_is_known_as_one() -> None:
    """More of them than ids are remembered, as long as it begins with the first."""
    plan = long_plan(2500)
    told, growing = Told(), Growing(frames(plan), _from_the_start, at_a_time=1250)
    follow(growing, told, threading.Event())
    assert [step for name, step in told.names if name == "log"] == list(range(1, 2499))
    assert len(growing.server.streams) == 2
