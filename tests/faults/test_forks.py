"""A client that was used before a fork: parent and children have connections, watchers and locks of their own."""

from __future__ import annotations

import os
import ssl
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import trustme

from arkor import Aborted, Trainer
from arkor.http import abort
from arkor.http.abort import AbortScope
from arkor.http.transport import Transport
from tests.support.cloud import Cloud
from tests.support.contract import Stream
from tests.support.events import frames, long_plan
from tests.support.eventually import eventually
from tests.support.forks import Child
from tests.support.rawserver import CLOSE, Connection, RawServer, event_stream
from tests.support.waiting import AT_ONCE_S, Told, Waiting, make_trainer

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="no forks"),
    pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning"),
]
EVENTS = 2000  # more than fits into the buffers on the way
PLAN = long_plan(EVENTS)
FRAMES = frames(PLAN)
TOLD = [["started", None], *(["log", step] for step in range(1, EVENTS - 1)), ["completed", None]]


def _wait(trainer: Trainer, told: Told) -> list[list[object]]:
    """Wait for the job, and return what the callbacks were told."""
    assert trainer.wait().status == "completed"
    return [list(item) for item in told.names]


def test_parent_and_children_hear_every_event_once() -> None:
    """The trainer was started before the forks, so its client has a connection in the pool."""
    told = Told()
    with Cloud(PLAN) as cloud, ExitStack() as children:
        trainer = make_trainer(cloud, told)
        trainer.start()
        cloud.stream(*(Stream(piece=512) for _ in range(3)))
        both = [children.enter_context(Child(lambda: _wait(trainer, told))) for _ in range(2)]
        assert _wait(trainer, told) == TOLD
        assert [child.outcome() for child in both] == [TOLD, TOLD]
        assert len(cloud.streams) == 3


def test_an_abort_is_felt_as_quickly_in_a_child_as_in_the_parent(server: RawServer) -> None:
    """The parent is in a wait, on a thread of its own, when the child is forked; the backend says nothing."""
    abort_event, told = threading.Event(), Told()
    trainer = make_trainer(server, told, abort_event=abort_event)
    silent = Connection(sent=event_stream(*FRAMES[:3], form=CLOSE), hold=threading.Event())
    server.script(silent, silent)
    waiting = Waiting(trainer.wait)
    eventually(lambda: len(told.names) == 3, "the parent's wait is blocked")

    def abort_in_child() -> float:
        in_child = Waiting(trainer.wait)
        eventually(lambda: any(thread.name == "arkor-abort" for thread in threading.enumerate()), "a watcher is there")
        before = time.monotonic()
        abort_event.set()
        assert isinstance(in_child.outcome(), Aborted)
        return time.monotonic() - before

    with Child(abort_in_child) as child:
        assert child.outcome() < AT_ONCE_S
        assert not abort_event.is_set()
        eventually(lambda: server.open_connections == 1, "the parent's connection alone is open")
        abort_event.set()
        assert isinstance(waiting.outcome(), Aborted)


def test_locks_that_a_thread_of_the_parent_held_do_not_stop_the_child(server: RawServer) -> None:
    """The trainer's, a scope's, and the one inside the event, which a watcher holds for moments."""
    abort_event = threading.Event()
    trainer = make_trainer(server, abort_event=abort_event)
    scope = AbortScope(abort_event)
    with ExitStack() as held:
        locks = (trainer._start_locks, trainer._turns, scope._locks, abort._watchers_locks)
        for lock in (scope, abort_event._cond, *(lock.get() for lock in locks)):  # type: ignore[attr-defined]
            held.enter_context(lock)
        with Child(lambda: _use(trainer, abort_event, scope)) as child:
            assert child.outcome() == "Aborted"


def _use(trainer: Trainer, abort_event: threading.Event, scope: AbortScope) -> str:
    scope.release()
    trainer.cancel()
    abort_event.set()
    try:
        trainer.wait()
    except Aborted:
        return "Aborted"
    return "not aborted"


def test_the_backend_sees_the_parent_leave_although_a_child_lives_on(server: RawServer) -> None:
    """The child was forked in a callback that then raises, and has no copy of the parent's connection."""
    server.script(Connection(sent=event_stream(*FRAMES[:3], form=CLOSE), hold=threading.Event()))
    with ExitStack() as children:

        def fork_and_fail(name: str, context: object) -> None:
            children.enter_context(Child(threading.Event().wait))
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            make_trainer(server, Told(fork_and_fail)).wait()
        eventually(lambda: server.open_connections == 0, "the connection is closed")


def test_a_child_that_comes_back_from_a_callback_goes_on_with_a_stream_of_its_own() -> None:
    """It takes no byte from its parent's."""
    forked: list[tuple[int, int]] = []

    def fork(name: str, context: object) -> None:
        if told.names[-1] == ("log", 5):
            reader, writer = os.pipe()
            pid = os.fork()
            os.close(writer if pid else reader)
            forked.append((pid, reader if pid else writer))

    told = Told(fork)
    with Cloud(PLAN) as cloud:
        trainer = make_trainer(cloud, told)
        cloud.stream(Stream(piece=512))
        outcome = b"?"
        try:
            outcome = repr(_wait(trainer, told) == TOLD).encode()
        finally:
            pid, end = forked[0]
            if not pid:
                os.write(end, outcome)
                os._exit(0)
        assert outcome == b"True"
        assert os.read(end, 16) == b"True"
        os.waitpid(pid, 0)
        os.close(end)


class _KeepAlive(BaseHTTPRequestHandler):
    """Answers every request on a connection that stays open, and notes which connection asked."""

    protocol_version = "HTTP/1.1"
    asked: list[tuple[str, int]]

    def do_GET(self) -> None:
        self.asked.append((self.path, self.client_address[1]))
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, format: str, *args: object) -> None:
        """Keep quiet."""


Serve = Callable[[], tuple[str, list[tuple[str, int]]]]


@pytest.fixture(params=["http", "https"])
def serve(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Serve]:
    """Begin to serve: the address, and the requests with the port of each one's connection."""
    with ExitStack() as stopping:

        def begin() -> tuple[str, list[tuple[str, int]]]:
            asked: list[tuple[str, int]] = []
            server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_KeepAlive,), {"asked": asked}))
            server.daemon_threads = True
            if request.param == "https":
                server.socket = _tls(tmp_path, monkeypatch).wrap_socket(server.socket, server_side=True)
            thread = threading.Thread(target=server.serve_forever, args=(0.01,))
            thread.start()
            for stop in (server.server_close, thread.join, server.shutdown):
                stopping.callback(stop)
            return f"{request.param}://127.0.0.1:{server.server_address[1]}", asked

        yield begin


def _tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    authority, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.cert_pem.write_to_path(tmp_path / "authority.pem")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "authority.pem"))
    return context


def test_a_connection_of_before_the_fork_is_the_parents_alone(serve: Serve) -> None:
    """The child uses another one and closes its client, and the parent's connection is as it was."""
    url, asked = serve()
    transport = Transport(url)
    transport.call("GET", "/before")

    def in_child() -> int:
        transport.call("GET", "/child").close()
        transport.close()
        return 0

    with Child(in_child) as child:
        assert child.outcome() == 0
    transport.call("GET", "/after")
    transport.close()
    (_, first), (_, childs), (_, last) = asked
    assert [path for path, _ in asked] == ["/before", "/child", "/after"]
    assert first == last != childs
