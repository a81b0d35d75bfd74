"""Aborts wherever a wait can be blocked: felt at once, without a word to the backend, and it can be gone on with."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import psutil
import pytest

from arkor import Aborted, ReconnectPolicy, Trainer, WaitTimeout
from tests.support.contract import CHAT
from tests.support.events import checkpoint, chunk, completed, frames, log, long_plan, started
from tests.support.eventually import eventually
from tests.support.rawserver import CHUNKED, CLOSE, LENGTH, Connection, RawServer, event_stream
from tests.support.waiting import Told, Waiting, make_trainer

PLAN = long_plan()
FRAMES = frames(PLAN)
TOLD = [("started", None), *(("log", step) for step in range(1, 39)), ("completed", None)]
WITH_CHECKPOINT = [started(), checkpoint(2), log(3), completed()]
TOLD_WITH_CHECKPOINT = [("started", None), ("checkpoint", 2), ("log", 3), ("completed", None)]
MESSAGES = [{"role": "user", "content": "hi"}]


class Stopping:
    """A trainer with an abort event, and a wait of it that is blocked."""

    def __init__(self, server: RawServer, then: Callable[[str, Any], object] = lambda name, context: None) -> None:
        self.told = Told(then)
        self._server = server
        self._abort_event = threading.Event()
        patient = ReconnectPolicy(base_delay=60)
        self.trainer = make_trainer(server, self.told, abort_event=self._abort_event, reconnect=patient)
        self._waiting: Waiting | None = None

    def wait_until(self, blocked: Callable[[], object]) -> None:
        """Begin to wait, and go on when that is blocked."""
        self._waiting = Waiting(self.trainer.wait)
        eventually(blocked, "the wait is blocked")

    def abort(self) -> None:
        """Set the event."""
        self._abort_event.set()

    def see_it_end(self) -> None:
        """See the wait end at once, and the backend hear nothing of it."""
        before = len(self._server.requests)
        assert self._waiting is not None
        assert isinstance(self._waiting.outcome(), Aborted)
        assert len(self._server.requests) == before

    def go_on(self, told: list[tuple[str, int | None]]) -> None:
        """Wait again, and see the end: each event is told once."""
        self._abort_event.clear()
        assert Waiting(self.trainer.wait).outcome().status == "completed"
        assert self.told.names == told


def _until_half_an_event(form: str, size: int = 40) -> bytes:
    whole = event_stream(*FRAMES, form=form)
    return whole[: whole.index(FRAMES[5]) + size]


SILENT_AFTER = {
    "nothing": (b"", 0),
    "half a status line": (b"HTTP/1.", 0),
    "half a header": (b"HTTP/1.1 200 OK\r\nContent-Type: text/event-str", 0),
    "the head": (event_stream(form=CLOSE), 0),
    "half a chunk's size": (_until_half_an_event(CHUNKED, -3), 5),
    "half a chunk": (_until_half_an_event(CHUNKED), 5),
    "half a body with its length": (_until_half_an_event(LENGTH), 5),
    "half a body without its length": (_until_half_an_event(CLOSE), 5),
}


@pytest.mark.parametrize(("sent", "told"), SILENT_AFTER.values(), ids=SILENT_AFTER)
def test_an_abort_is_felt_wherever_the_backend_fell_silent(server: RawServer, sent: bytes, told: int) -> None:
    """In the head of the answer and in a body of any form; half an event is not told, and comes whole later."""
    stopping = Stopping(server)
    server.script(Connection(sent=sent, hold=threading.Event()))
    stopping.wait_until(lambda: server.streams and len(stopping.told.names) == told)
    stopping.abort()
    stopping.see_it_end()
    stopping.go_on(TOLD)
    assert server.streams[1].headers.get("last-event-id", "0") == str(told)


def connecting_to(server: RawServer) -> list[Any]:
    """Return the attempts to connect to a server that were not answered yet."""
    connections = psutil.Process().net_connections("tcp")
    return [item for item in connections if item.status == psutil.CONN_SYN_SENT and item.raddr.port == server.port]


@pytest.mark.parametrize("is_started", [False, True], ids=["the first request", "the stream"])
def test_an_abort_is_felt_while_connecting(server: RawServer, is_started: bool) -> None:
    """The address does not answer: neither yes nor no."""
    stopping = Stopping(server)
    if is_started:
        stopping.trainer.start()
    with server.full():
        stopping.wait_until(lambda: connecting_to(server))
        stopping.abort()
        stopping.see_it_end()
    stopping.go_on(TOLD)


def test_a_timeout_ends_connecting(server: RawServer) -> None:
    """The deadline of the whole wait, though an address may be silent for longer."""
    told = Told()
    trainer = make_trainer(server, told)
    trainer.start()
    with server.full():
        assert isinstance(Waiting(lambda: trainer.wait(timeout=0.2)).outcome(), WaitTimeout)
    assert Waiting(trainer.wait).outcome().status == "completed"
    assert told.names == TOLD


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/v1/auth/anonymous"), ("POST", "/v1/projects"), ("GET", "/v1/capabilities")],
)
def test_an_abort_is_felt_before_the_job_is_submitted(server: RawServer, method: str, path: str) -> None:
    """While the backend says nothing: no job is made, and a later wait makes it."""
    stopping = Stopping(server)
    server.script(Connection(hold=threading.Event()), method=method, path=path)
    stopping.wait_until(lambda: server.calls(method, path))
    stopping.abort()
    stopping.see_it_end()
    assert stopping.trainer.job is None
    stopping.go_on(TOLD)
    assert len(server.jobs) == 1


@pytest.mark.parametrize("reset", [False, True], ids=["FIN", "RST"])
def test_an_abort_is_felt_in_the_delay_after_a_lost_connection(server: RawServer, reset: bool) -> None:
    """The policy would wait for a minute."""
    stopping = Stopping(server)
    server.script(Connection(sent=_until_half_an_event(CHUNKED), reset=reset))
    stopping.wait_until(lambda: len(stopping.told.names) == 5 and not server.open_connections)
    stopping.abort()
    stopping.see_it_end()
    stopping.go_on(TOLD)


def test_an_abort_inside_a_callback_is_felt_when_it_returns(server: RawServer) -> None:
    """Set by another thread: the callback is not disturbed, its event counts as delivered, and the next is not told."""
    inside, leave = threading.Event(), threading.Event()

    def take_long(name: str, context: Any) -> None:
        if stopping.told.names[-1] == ("log", 4) and not leave.is_set():
            inside.set()
            assert leave.wait(15)

    stopping = Stopping(server, take_long)
    stopping.wait_until(inside.is_set)
    stopping.abort()
    eventually(lambda: not server.open_connections, "the connection is let go, though the callback goes on")
    leave.set()
    stopping.see_it_end()
    assert stopping.told.names == TOLD[:5]
    assert stopping.trainer.last_event_id == "5"
    stopping.go_on(TOLD)


@pytest.mark.parametrize("sent", [b"", event_stream(chunk("Hel"))[:-5]], ids=["before the head", "amid the answer"])
def test_an_abort_is_felt_while_a_checkpoint_is_asked(sent: bytes) -> None:
    """The trainer's abort event ends the answer, and with it the callback and the wait."""

    def ask(name: str, context: Any) -> None:
        if name == "checkpoint":
            assert context.infer(messages=MESSAGES).text

    with RawServer(WITH_CHECKPOINT) as server:
        stopping = Stopping(server, ask)
        server.script(Connection(sent=sent, hold=threading.Event()), method="POST", path=CHAT)
        stopping.wait_until(lambda: server.calls("POST", CHAT))
        stopping.abort()
        stopping.see_it_end()
        assert stopping.trainer.last_event_id == "2"
        stopping.go_on(TOLD_WITH_CHECKPOINT)
        assert len(server.calls("POST", CHAT)) == 1


def test_a_job_can_be_cancelled_after_an_abort_while_the_event_is_set(server: RawServer) -> None:
    """The abort event is about waiting, not about the job."""
    stopping = Stopping(server)
    server.script(Connection(sent=_until_half_an_event(CHUNKED), hold=threading.Event()))
    stopping.wait_until(lambda: len(stopping.told.names) == 5)
    stopping.abort()
    stopping.see_it_end()
    stopping.trainer.cancel()
    assert len(server.calls("POST", "/v1/jobs/*/cancel")) == 1
    with pytest.raises(Aborted):
        stopping.trainer.wait()
    follower = Trainer.attach("job_1", backend=server.url)
    assert Waiting(follower.wait).outcome().status == "cancelled"
