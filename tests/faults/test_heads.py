"""Answers that go wrong before the body: cut heads, what is no HTTP, and a compression that nobody asked for."""

from __future__ import annotations

import gzip
from collections.abc import Iterator

import pytest

from arkor import ConnectionFailed, ReconnectExhausted, ReconnectPolicy
from tests.support.events import END, PLAN, frames
from tests.support.rawserver import FORMS, Connection, RawServer, event_stream
from tests.support.waiting import Told, make_trainer

FRAMES = [*frames(PLAN), END]
NAMES = [("started", None), ("log", 1), ("log", 2), ("checkpoint", 2), ("log", 3), ("completed", None)]


def told_names(server: RawServer) -> list[tuple[str, int | None]]:
    """Run a job of the server to its end; return which callbacks were called."""
    told = Told()
    assert make_trainer(server, told).wait().status == "completed"
    return told.names


@pytest.fixture
def server() -> Iterator[RawServer]:
    """A backend of raw bytes, whose jobs have a few events."""
    with RawServer(PLAN) as running:
        yield running


@pytest.mark.parametrize("reset", [False, True], ids=["FIN", "RST"])
@pytest.mark.parametrize("form", FORMS)
def test_a_head_that_is_cut_anywhere_is_a_failure_like_any_other(server: RawServer, form: str, reset: bool) -> None:
    """In the status line, in the name of a header or in its value: the stream is opened again."""
    whole = event_stream(*FRAMES, form=form)
    for cut in range(0, whole.index(b"\r\n\r\n") + 4, 11):
        server.script(Connection(sent=whole[:cut], reset=reset))
        assert told_names(server) == NAMES, cut


@pytest.mark.parametrize(
    "sent",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 many Scripted\r\n\r\n",
        b"HTTP/1.1 200" + b" x" * 40_000,
        b"\0" * 1000,
        FRAMES[0] + FRAMES[-2],
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: many\r\n\r\n",
    ],
    ids=["SSH", "status", "long line", "zeros", "no head", "size of a chunk", "negative size", "length"],
)
def test_what_is_no_http_is_a_failure_like_any_other(server: RawServer, sent: bytes) -> None:
    """Nothing of it is told, and the stream is opened again."""
    server.script(Connection(sent=sent))
    assert told_names(server) == NAMES
    assert len(server.streams) == 2


@pytest.mark.parametrize("form", FORMS)
def test_a_compressed_stream_is_a_failure_that_is_named(server: RawServer, form: str) -> None:
    """It was asked not to be compressed: what it holds is never taken for events, and the error says what is wrong."""
    packed = event_stream(gzip.compress(b"".join(FRAMES)), form=form, headers={"Content-Encoding": "gzip"})
    server.script(*[Connection(sent=packed)] * 2)
    told = Told()
    trainer = make_trainer(server, told, reconnect=ReconnectPolicy(base_delay=0.01, max_attempts=1))
    with pytest.raises(ReconnectExhausted) as raised:
        trainer.wait()
    assert isinstance(raised.value.__cause__, ConnectionFailed)
    assert "gzip" in str(raised.value.__cause__)
    assert told.names == []
    assert server.streams[0].headers["accept-encoding"] == "identity"
    assert trainer.wait().status == "completed"
    assert told.names == NAMES


def test_a_stream_that_says_that_it_is_not_compressed_is_read(server: RawServer) -> None:
    """``Content-Encoding: identity`` is odd, and harmless."""
    server.script(Connection(sent=event_stream(*FRAMES, headers={"Content-Encoding": "identity"})))
    assert told_names(server) == NAMES
    assert len(server.streams) == 1
