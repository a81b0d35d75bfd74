"""Breaking off a blocked call: deadlines, scopes, and the watcher behind an event."""

from __future__ import annotations

import io
import socket
import threading
from collections.abc import Iterator

import pytest
import requests

from arkor.errors import Aborted, ConnectionFailed, WaitTimeout
from arkor.http import abort
from arkor.http.abort import AbortScope, Deadline, current_scope, pause, run_unbroken
from tests.support.eventually import eventually

AT_ONCE_S = 5.0


@pytest.fixture(autouse=True)
def _watchers_leave_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a watcher without work leave after a tenth of a second."""
    monkeypatch.setattr(abort, "WATCH_PERIOD_S", 0.1)


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two connected sockets."""
    one, two = socket.socketpair()
    with one, two:
        yield one, two


def watchers() -> int:
    """How many watcher threads there are."""
    return sum(thread.name == "arkor-abort" for thread in threading.enumerate())


def test_an_answer_that_comes_together_with_the_end_is_closed() -> None:
    """Nobody else would: whoever asked gets an error in its place."""
    event, answer = threading.Event(), requests.Response()
    answer.raw = io.BytesIO()

    def ask() -> requests.Response:
        event.set()
        return answer

    with AbortScope(event) as scope, pytest.raises(Aborted):
        scope.opened(ask)
    assert answer.raw.closed
    answer.raw = io.BytesIO()
    assert AbortScope(None).opened(lambda: answer) is answer
    assert not answer.raw.closed


def test_no_deadline_never_passes() -> None:
    """And leaves every time as it is."""
    deadline = Deadline()
    deadline.check()
    assert deadline.clip(7) == 7
    assert deadline.remaining() is None


def test_a_deadline_in_the_future_shortens_what_is_longer() -> None:
    """And nothing else."""
    deadline = Deadline(1000)
    deadline.check()
    assert deadline.clip(7) == 7
    assert 990 < deadline.clip(5000) <= 1000
    assert 990 < (deadline.remaining() or 0) <= 1000


def test_a_deadline_that_passed_is_a_timeout() -> None:
    """It says for how long it was waited."""
    deadline = Deadline(0)
    assert deadline.clip(7) == 0
    assert deadline.remaining() == 0
    with pytest.raises(WaitTimeout, match=r"Not finished after 0 s\.$"):
        deadline.check()


def test_a_scope_is_active_on_its_own_thread_and_nests() -> None:
    """Afterwards the one before is active again, also after an error."""
    outer, inner, seen = AbortScope(None), AbortScope(None), []

    def fail_inside() -> None:
        with inner.active():
            thread = threading.Thread(target=lambda: seen.append(current_scope()))
            thread.start()
            thread.join()
            seen.append(current_scope())
            raise ZeroDivisionError

    with outer.active():
        with pytest.raises(ZeroDivisionError):
            fail_inside()
        seen.append(current_scope())
    assert [*seen, current_scope()] == [None, inner, outer, None]


def test_a_blocked_read_ends_at_once(pair: tuple[socket.socket, socket.socket]) -> None:
    """Setting the event is enough: the watcher shuts the socket down."""
    event, ended = threading.Event(), threading.Event()

    def read() -> None:
        with AbortScope(event) as scope:
            scope.adopt(pair[0])
            reading.set()
            assert pair[0].recv(1) == b""
            with pytest.raises(Aborted):
                scope.check()
        ended.set()

    reading = threading.Event()
    thread = threading.Thread(target=read)
    thread.start()
    assert reading.wait(AT_ONCE_S)
    event.set()
    assert ended.wait(AT_ONCE_S)
    thread.join()


def test_a_socket_that_comes_late_is_shut_down_too(pair: tuple[socket.socket, socket.socket]) -> None:
    """A connection that was being made when the event was set."""
    scope = AbortScope(None)
    scope.shut_down()
    scope.adopt(pair[0])
    assert pair[0].recv(1) == b""
    with pytest.raises(Aborted):
        scope.check()


def test_a_scope_cannot_be_entered_once_the_event_is_set() -> None:
    """And no thread is made for it."""
    event = threading.Event()
    event.set()
    with pytest.raises(Aborted), AbortScope(event):
        pytest.fail("entered")
    assert watchers() == 0


def test_many_scopes_of_one_event_share_one_watcher() -> None:
    """It leaves when there is nothing to watch, and a new one comes when there is."""
    event = threading.Event()
    for _ in range(2):
        with AbortScope(event), AbortScope(event), AbortScope(event):
            assert watchers() == 1
        eventually(lambda: watchers() == 0, "the watcher has left")


def test_no_event_costs_no_thread() -> None:
    """A deadline alone needs none."""
    with AbortScope(None, Deadline(10)):
        assert watchers() == 0


class LateEvent(threading.Event):
    """An event that lets its waiters go on only when the test says so, as a busy machine may."""

    def __init__(self) -> None:
        super().__init__()
        self.let_go = threading.Event()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for the event, and then for the test."""
        fired = super().wait(timeout)
        return fired and self.let_go.wait(AT_ONCE_S)


def test_an_abort_does_not_end_what_began_after_it_was_taken_back(pair: tuple[socket.socket, socket.socket]) -> None:
    """Set, noticed, cleared, waited again: the watcher of the first wait is late, and must not reach the second one."""
    event = LateEvent()
    with AbortScope(event) as first:
        (late,) = [thread for thread in threading.enumerate() if thread.name == "arkor-abort"]
        event.set()
        with pytest.raises(Aborted):
            first.check()
    event.clear()
    with AbortScope(event) as second:
        second.adopt(pair[0])
        event.let_go.set()
        late.join(AT_ONCE_S)
        assert not late.is_alive()
        second.check()
        pair[1].send(b"x")
        assert pair[0].recv(1) == b"x"


def test_what_a_call_ended_with_is_explained_by_the_abort() -> None:
    """A cut connection is the abort's doing; without one it is what it is."""
    event = threading.Event()
    scope = AbortScope(event)
    with pytest.raises(ConnectionFailed), scope.noticing_the_end():
        raise ConnectionFailed("cut")
    with scope.noticing_the_end():
        pass
    event.set()
    with pytest.raises(Aborted), scope.noticing_the_end():
        raise ConnectionFailed("cut")
    with pytest.raises(Aborted), scope.noticing_the_end():
        pass  # a shut down TLS stream may hand out anything as data


def test_a_pause_ends_with_the_event_or_the_deadline() -> None:
    """Both at once, far before its own time."""
    event = threading.Event()
    AbortScope(event).pause(0)
    with pytest.raises(WaitTimeout):
        AbortScope(event, Deadline(0.01)).pause(60)
    event.set()
    with pytest.raises(Aborted):
        AbortScope(event).pause(60)


def test_timeouts_do_not_outlast_the_deadline() -> None:
    """And are never 0, which would mean not to block."""
    assert AbortScope(None).clip((10, 60)) == (10, 60)
    assert AbortScope(None, Deadline(0)).clip((10, 60)) == (abort.SHORTEST_TIMEOUT_S, abort.SHORTEST_TIMEOUT_S)


def test_reads_are_limited_by_silence_and_deadline(pair: tuple[socket.socket, socket.socket]) -> None:
    """Whichever comes first; a socket that its owner closed is passed over."""
    one, two = pair
    scope = AbortScope(None, Deadline(100))
    scope.adopt(one)
    scope.adopt(two)
    two.close()
    scope.limit_reads(7)
    assert one.gettimeout() == 7
    scope.limit_reads(700)
    assert 90 < (one.gettimeout() or 0) <= 100


# What is not broken off


def test_a_patient_scope_takes_no_socket_and_shortens_no_timeout(pair: tuple[socket.socket, socket.socket]) -> None:
    """What is under way comes to its end; what ends the call is felt before the next request."""
    event = threading.Event()
    with AbortScope(event, Deadline(5), patient=True) as scope:
        assert scope.clip((10, 60)) == (10, 60)
        scope.adopt(pair[0])
        scope.shut_down()
        pair[1].sendall(b"still there")
        assert pair[0].recv(100) == b"still there"
        with pytest.raises(Aborted):
            scope.check()


def test_what_must_not_be_broken_off_runs_under_its_scope_and_raises_what_it_raises() -> None:
    """On a thread of its own."""
    scope = AbortScope(None, patient=True)
    seen: list[object] = []
    run_unbroken(lambda: seen.append((current_scope(), threading.current_thread().name)), scope)
    assert seen == [(scope, "arkor-unbroken")]
    assert current_scope() is None
    with pytest.raises(ZeroDivisionError):
        run_unbroken(lambda: 1 // 0, scope)


def test_the_sockets_of_the_scope_around_it_are_let_go(pair: tuple[socket.socket, socket.socket]) -> None:
    """A pooled connection is used again on the new thread: breaking the outer call off must not reach it."""
    event = threading.Event()
    with AbortScope(event) as outer, outer.active():
        outer.adopt(pair[0])

        def talk() -> None:
            event.set()
            pair[1].sendall(b"still there")
            seen.append(pair[0].recv(100))

        seen: list[bytes] = []
        run_unbroken(talk, AbortScope(event, patient=True))
        assert seen == [b"still there"]


def test_nothing_begins_once_the_scope_is_shut_down() -> None:
    """As after Ctrl-C, while the thread was only coming up."""
    scope = AbortScope(None, patient=True)
    scope.shut_down()
    with pytest.raises(Aborted):
        run_unbroken(lambda: pytest.fail("it ran"), scope)


def test_a_pause_ends_with_the_scope_of_its_thread() -> None:
    """Or with its time, where there is none."""
    pause(0.001)
    with AbortScope(None, Deadline(0.01)) as scope, scope.active(), pytest.raises(WaitTimeout):
        pause(60)
