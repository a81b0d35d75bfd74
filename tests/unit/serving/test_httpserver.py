"""The server before an application: bodies that are not read, slow answers, connections that are shared out."""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import attrs
import pytest
from flask import Blueprint, Flask, request

from arkor.serving import connections, httpserver
from arkor.serving.application import Unexpected, create_json_app, gate_of
from arkor.serving.bodies import Admission
from arkor.serving.httpserver import HttpServer
from arkor.serving.refusal import Refusal
from tests.support.eventually import eventually

TIMEOUT_S = 15.0
LIMIT = 1000
HEAD = b"POST /%b HTTP/1.1\r\nHost: x\r\n"
GET = b"GET /fine HTTP/1.1\r\nHost: x\r\n\r\n"


@attrs.frozen
class Served:
    """An application and the port that it answers on.

    Attributes:
        port: on every address of the loopback.
        asked: the paths of the requests that reached a route.
        hold: answers to ``/slow`` wait for it.
        server: what answers.
    """

    port: int
    asked: list[str]
    hold: threading.Event
    server: HttpServer

    def settle(self) -> None:
        """Wait until no thread is at work: waitress notes the end of an answer a moment after the client has it."""
        eventually(lambda: self.server._server._quick.active_count == 0, "no thread is at work")

    def connect(self, source: str = "127.0.0.1") -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), TIMEOUT_S, source_address=(source, 0))

    def ask(self, sent: bytes) -> tuple[int, Any]:
        """Send bytes and nothing more, and return the answer."""
        with self.connect() as client:
            client.sendall(sent)
            return answer_of(client)


def answer_of(client: socket.socket) -> tuple[int, Any]:
    """Read an answer; return its status and what its JSON says."""
    with client.makefile("rb") as file:
        status = int(file.readline().split()[1])
        headers = dict(line.strip().lower().split(b": ", 1) for line in iter(file.readline, b"\r\n"))
        body = file.read(int(headers.get(b"content-length", 0)))
    return status, json.loads(body) if headers.get(b"content-type") == b"application/json" else body


def is_closed(client: socket.socket) -> bool:
    """Whether the server has closed a connection on which nothing else was sent."""
    client.setblocking(False)
    try:
        return client.recv(1) == b""
    except BlockingIOError:
        return False
    except ConnectionError:
        return True


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    """Serve an application whose gate refuses without a token."""
    monkeypatch.setattr(httpserver, "_LOOP_S", 0.05)
    routes, asked, hold = Blueprint("routes", __name__), list[str](), threading.Event()

    @routes.route("/fine", methods=["GET", "POST"])
    def fine() -> dict[str, int]:
        asked.append("fine")
        return {"bytes": len(request.get_data())}

    @routes.post("/slow")
    def slow() -> dict[str, int]:
        asked.append("slow")
        assert hold.wait(TIMEOUT_S)
        return {}

    def admit() -> Admission:
        if request.headers.get("Authorization") == "defect":
            raise RuntimeError("the details")
        if "Authorization" not in request.headers:
            raise Refusal(401, "A token is needed.")
        return Admission(LIMIT, is_slow=request.path == "/slow")

    app = create_json_app(
        "arkor.test",
        [routes],
        check=lambda: None,
        unexpected=Unexpected("The program", "its log", logging.getLogger("arkor.test")),
    )
    with contextlib.ExitStack() as opened:
        yield opened.enter_context(_serving(app, admit, asked, hold))


@contextlib.contextmanager
def _serving(app: Flask, admit: Callable[[], Admission], asked: list[str], hold: threading.Event) -> Iterator[Served]:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        server = HttpServer(app.wsgi_app, bound, gate=gate_of(app, admit), threads=4, shutdown_s=5.0)
        server.start()
        try:
            yield Served(bound.getsockname()[1], asked, hold, server)
        finally:
            hold.set()
            server.stop()


# Bodies


@pytest.mark.parametrize("announced", [b"Content-Length: 60000000000", b"Transfer-Encoding: chunked"])
def test_a_body_of_a_stranger_is_not_read(served: Served, announced: bytes) -> None:
    """The answer comes although no byte of the body was sent, and the connection ends with it."""
    with served.connect() as client:
        client.sendall(HEAD % b"fine" + announced + b"\r\n\r\n")
        assert answer_of(client) == (401, {"error": "A token is needed."})
        eventually(lambda: is_closed(client), "the connection is closed")
    assert served.asked == []


def test_a_client_that_goes_on_sending_still_gets_its_answer(served: Served) -> None:
    """What it sends is thrown away for a moment: else the connection would be reset, and the answer lost."""
    with served.connect() as client:
        client.sendall(HEAD % b"fine" + b"Content-Length: 60000000000\r\n\r\n")
        for _ in range(20):
            client.sendall(bytes(100_000))
        assert answer_of(client)[0] == 401


def test_a_client_that_ends_as_it_is_refused_is_no_error(served: Served, caplog: pytest.LogCaptureFixture) -> None:
    """Its end and the answer may come in one turn of the server."""
    for _ in range(50):
        with served.connect() as client:
            client.sendall(HEAD % b"fine" + b"Content-Length: 60000000\r\n\r\n")
            client.shutdown(socket.SHUT_WR)
            assert answer_of(client)[0] == 401
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


def test_what_follows_a_refused_head_is_no_request(served: Served) -> None:
    """Its body may look like one; it is thrown away."""
    with served.connect() as client:
        client.sendall(HEAD % b"fine" + b"Content-Length: 100\r\n\r\n" + GET)
        assert answer_of(client)[0] == 401
        client.sendall(GET)
        eventually(lambda: is_closed(client), "the connection is closed")
    assert served.asked == []


@pytest.mark.parametrize(
    ("head", "status"),
    [(HEAD % b"nowhere", 404), (b"PUT /fine HTTP/1.1\r\n", 405), (HEAD % b"fine" + b"Authorization: defect\r\n", 500)],
)
def test_a_head_without_a_route_is_refused_as_ever(served: Served, head: bytes, status: int) -> None:
    """And so is one at which the gate fails; the answers are those of the application."""
    found, body = served.ask(head + b"Content-Length: 100\r\n\r\n")
    assert (found, list(body)) == (status, ["error"])


def test_a_body_has_a_largest_size(served: Served) -> None:
    """The announced length is enough to refuse it; without one it is read up to the limit. A body that fits is read."""
    head = HEAD % b"fine" + b"Authorization: t\r\n"
    assert served.ask(head + b"Content-Length: 1000\r\n\r\n" + bytes(LIMIT)) == (200, {"bytes": LIMIT})
    refused = (413, {"error": "The body is larger than this call takes: at most 1000 bytes."})
    assert served.ask(head + b"Content-Length: 1001\r\n\r\n") == refused
    chunked = head + b"Transfer-Encoding: chunked\r\n\r\n" + b"1f4\r\n%b\r\n" % bytes(500) * 2
    assert served.ask(chunked + b"0\r\n\r\n") == (200, {"bytes": LIMIT})
    assert served.ask(chunked + b"1\r\nx\r\n") == refused


@pytest.mark.parametrize("sent", [b"1;" + b"x" * 10_000, b"0\r\n" + b"x: y\r\n" * 20_000])
def test_chunks_have_a_longest_head_and_trailer(served: Served, sent: bytes) -> None:
    """Waitress would keep all of them."""
    head = HEAD % b"fine" + b"Authorization: t\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert served.ask(head + sent)[0] == 400


def test_a_client_that_asks_first_is_told_without_sending(served: Served) -> None:
    """``Expect: 100-continue``: only a body that is read is asked for."""
    expect = b"Content-Length: 3\r\nExpect: 100-continue\r\n\r\n"
    assert served.ask(HEAD % b"fine" + expect)[0] == 401
    with served.connect() as client:
        client.sendall(HEAD % b"fine" + b"Authorization: t\r\n" + expect)
        assert client.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.sendall(b"abc")
        assert answer_of(client) == (200, {"bytes": 3})


# Threads


def test_slow_answers_leave_threads_for_others(served: Served) -> None:
    """There are more of them under way than threads; they wait for each other alone."""
    with contextlib.ExitStack() as opened:
        waiting = [opened.enter_context(served.connect()) for _ in range(8)]
        for client in waiting:
            client.sendall(HEAD % b"slow" + b"Authorization: t\r\nContent-Length: 1\r\n\r\nx")
        eventually(lambda: len(served.asked) == 2, "two are answered at a time")
        assert served.ask(GET) == (200, {"bytes": 0})
        served.hold.set()
        assert [answer_of(client)[0] for client in waiting] == [200] * 8


# Connections


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> int:
    """Let there be few connections; return how many."""
    monkeypatch.setattr(httpserver, "MAX_CONNECTIONS", 8)
    return 8


def test_idle_connections_give_way_the_oldest_first(served: Served, few: int) -> None:
    """Also to a client of the same address: all clients of a reverse proxy have one."""
    with contextlib.ExitStack() as opened:
        idle = []
        for _ in range(few):
            idle.append(opened.enter_context(served.connect()))
            idle[-1].sendall(GET)
            assert answer_of(idle[-1])[0] == 200
            served.settle()
        assert served.ask(GET)[0] == 200
        eventually(lambda: is_closed(idle[0]), "the oldest is closed")
        assert not any(map(is_closed, idle[1:]))


@pytest.mark.skipif(sys.platform != "linux", reason="the loopback has one address")
def test_the_address_with_the_most_connections_gives_way(served: Served, few: int) -> None:
    """Not the client that was there before."""
    with contextlib.ExitStack() as opened:
        first = opened.enter_context(served.connect("127.0.0.2"))
        first.sendall(GET)
        assert answer_of(first)[0] == 200
        for _ in range(3 * few):
            opened.enter_context(served.connect("127.0.0.3"))
        assert served.ask(GET)[0] == 200
        first.setblocking(True)
        first.sendall(GET)
        assert answer_of(first)[0] == 200


@pytest.mark.parametrize("part", [GET[:20], HEAD % b"fine" + b"Authorization: t\r\nContent-Length: 2\r\n\r\nx"])
def test_a_part_of_a_request_does_not_keep_a_connection(served: Served, few: int, part: bytes) -> None:
    """Whoever has just come has sent nothing yet; it stays, and one of those that came before gives way."""
    with contextlib.ExitStack() as opened:
        partial = [opened.enter_context(served.connect()) for _ in range(few)]
        for client in partial:
            client.sendall(part)
        assert served.ask(GET)[0] == 200  # by then, the parts were read
        new = opened.enter_context(served.connect())
        for _ in range(few // 2):
            opened.enter_context(served.connect()).sendall(part)
        assert served.ask(GET)[0] == 200  # by then, all of them were taken in
        new.sendall(GET)
        assert answer_of(new)[0] == 200


def test_without_an_idle_connection_a_client_waits(served: Served, few: int) -> None:
    """An answer under way is never broken off for a new client."""
    with contextlib.ExitStack() as opened:
        busy = [opened.enter_context(served.connect()) for _ in range(few)]
        for client in busy:
            client.sendall(HEAD % b"slow" + b"Authorization: t\r\nContent-Length: 1\r\n\r\nx")
        eventually(lambda: len(served.asked) == 2, "they are being answered")
        late = opened.enter_context(served.connect())
        late.sendall(GET)
        served.hold.set()
        assert [answer_of(client)[0] for client in [*busy, late]] == [200] * (few + 1)


def test_a_process_without_files_left_closes_an_idle_connection(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that it has one for the client that waits."""
    accept, is_full = socket.socket.accept, [True]

    def accept_once_full(listening: socket.socket) -> Any:
        if is_full and is_full.pop():
            raise OSError(errno.EMFILE, "Too many open files")
        return accept(listening)

    with served.connect() as idle:
        assert served.ask(GET)[0] == 200
        monkeypatch.setattr(socket.socket, "accept", accept_once_full)
        assert served.ask(GET)[0] == 200
        eventually(lambda: is_closed(idle), "the idle connection is closed")


@pytest.mark.parametrize("start", [b"", GET[:20], GET + GET[:20]])
def test_a_head_has_to_come_in_time(served: Served, monkeypatch: pytest.MonkeyPatch, start: bytes) -> None:
    """A client that has sent nothing, or a part, is let go; one whose answer takes longer is not."""
    monkeypatch.setattr(connections, "HEAD_S", 0.1)
    with served.connect() as busy, served.connect() as idle:
        busy.sendall(HEAD % b"slow" + b"Authorization: t\r\nContent-Length: 1\r\n\r\nx")
        idle.sendall(start)
        if start.startswith(GET):
            assert answer_of(idle)[0] == 200
        eventually(lambda: is_closed(idle), "the connection is closed")
        served.hold.set()
        assert answer_of(busy)[0] == 200


def test_a_connection_is_kept_for_a_while(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between two requests there is more time than within a head; then it is closed, and so is a body that stops."""
    monkeypatch.setattr(connections, "QUIET_S", 0.1)
    with served.connect() as kept, served.connect() as sending:
        kept.sendall(GET)
        assert answer_of(kept)[0] == 200
        sending.sendall(HEAD % b"fine" + b"Authorization: t\r\nContent-Length: 2\r\n\r\nx")
        eventually(lambda: is_closed(kept) and is_closed(sending), "both connections are closed")


def test_a_request_that_waits_for_a_thread_is_no_news(served: Served, caplog: pytest.LogCaptureFixture) -> None:
    """It gets its answer, and the terminal stays quiet."""
    with contextlib.ExitStack() as opened:
        clients = [opened.enter_context(served.connect()) for _ in range(6)]
        for client in clients:
            client.sendall(HEAD % b"slow" + b"Authorization: x\r\nContent-Length: 0\r\n\r\n")
        eventually(lambda: len(served.server._server._quick.queue) == 2, "two wait for a thread")
        served.hold.set()
        assert [answer_of(client)[0] for client in clients] == [200] * 6
    assert caplog.records == []
