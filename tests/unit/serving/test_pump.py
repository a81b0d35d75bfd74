"""One thread that writes many answers: slow clients, clients that leave, streams that fail."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Hashable, Iterator

import attrs
import pytest

from arkor.serving import pump as module
from arkor.serving.pump import Piece, Pump
from arkor.serving.takeover import TakenConnection
from tests.support.eventually import eventually

TIMEOUT_S = 10.0


@attrs.define(eq=False)
class Scripted:
    """A stream that sends what a test puts into it."""

    key: Hashable = "job"
    pieces: list[Piece] = attrs.field(factory=list)
    asked: int = 0
    gone: threading.Event = attrs.field(factory=threading.Event)
    fails: bool = False

    def next(self) -> Piece:
        self.asked += 1
        if self.fails:
            raise RuntimeError("a defect")
        return self.pieces.pop(0) if self.pieces else Piece()

    def keep_alive(self) -> bytes:
        return b"ping;"

    def closed(self) -> None:
        self.gone.set()


@pytest.fixture
def pump() -> Iterator[Pump]:
    """A pump that keeps quiet streams alive only after very long."""
    one = Pump(60.0)
    yield one
    one.close()


Open = Callable[..., socket.socket]


@pytest.fixture
def connect(pump: Pump) -> Iterator[Open]:
    """Have a stream written to a new connection; its other end is returned."""
    ends: list[socket.socket] = []

    def open_(stream: Scripted, to: Pump = pump, *, is_chunked: bool = False) -> socket.socket:
        ours, theirs = socket.socketpair()
        ours.settimeout(TIMEOUT_S)
        ends.append(ours)
        to.add(TakenConnection(theirs, b"head;", is_chunked=is_chunked), stream)
        return ours

    yield open_
    for end in ends:
        end.close()


def read(connection: socket.socket, count: int) -> bytes:
    """Read so many bytes."""
    found = b""
    while len(found) < count and (data := connection.recv(count - len(found))):
        found += data
    return found


def test_a_stream_is_written_behind_its_head(connect: Open) -> None:
    """What it has at once, then its end."""
    stream = Scripted(pieces=[Piece(b"one;", more=True), Piece(b"two;", over=True)])
    connection = connect(stream)
    assert read(connection, 100) == b"head;one;two;"
    assert stream.gone.wait(TIMEOUT_S)


def test_chunks_tell_a_clean_end(connect: Open) -> None:
    """RFC 9112: each piece has its length before it, and the last is empty."""
    connection = connect(Scripted(pieces=[Piece(b"0123456789ab", over=True)]), is_chunked=True)
    assert read(connection, 100) == b"head;c\r\n0123456789ab\r\n0\r\n\r\n"


def test_a_woken_key_asks_its_streams_alone(pump: Pump, connect: Open) -> None:
    """Each of them."""
    streams = [Scripted(), Scripted(), Scripted(key="other")]
    connections = [connect(stream) for stream in streams]
    assert [read(connection, 5) for connection in connections] == [b"head;"] * 3
    eventually(lambda: [stream.asked for stream in streams] == [1, 1, 1], "each was asked at its start")
    for stream in streams[:2]:
        stream.pieces.append(Piece(b"news;"))
    pump.wake("job")
    assert [read(connection, 5) for connection in connections[:2]] == [b"news;"] * 2
    assert streams[2].asked == 1


def test_a_client_that_takes_nothing_holds_nobody_up(pump: Pump, connect: Open) -> None:
    """It gets the rest when it reads again; nothing more is asked of its stream meanwhile."""
    size = 8 * 1024 * 1024
    slow, quick = Scripted(pieces=[Piece(b"x" * size), Piece(b"rest;")]), Scripted(key="quick", pieces=[Piece(b"now;")])
    late = connect(slow)
    assert read(connect(quick), 9) == b"head;now;"
    pump.wake("job")
    assert slow.asked == 1
    assert read(late, 5 + size + 5)[-5:] == b"rest;"


def test_a_client_that_leaves_is_noticed_at_once(connect: Open) -> None:
    """Without anything to send."""
    stream = Scripted()
    connection = connect(stream)
    read(connection, 5)
    connection.close()
    assert stream.gone.wait(TIMEOUT_S)


def test_a_stream_that_fails_ends_alone(pump: Pump, connect: Open, caplog: pytest.LogCaptureFixture) -> None:
    """Its client is cut off, the log says why, the others go on."""
    other = Scripted(key="other")
    healthy = connect(other)
    assert read(connect(Scripted(fails=True)), 100) == b"head;"
    assert "a defect" in caplog.text
    other.pieces.append(Piece(b"news;"))
    pump.wake("other")
    assert read(healthy, 10) == b"head;news;"


def test_a_silent_stream_is_kept_alive(connect: Open) -> None:
    """As often as was asked for."""
    quick = Pump(0.02)
    assert read(connect(Scripted(), quick), 15) == b"head;ping;ping;"
    quick.close()


def test_a_client_that_takes_nothing_for_long_is_cut_off(connect: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its slot is somebody else's then."""
    monkeypatch.setattr(module, "STUCK_S", 0.05)
    quick = Pump(0.02)
    stream = Scripted(pieces=[Piece(b"x" * 8 * 1024 * 1024)])
    connect(stream, quick)
    assert stream.gone.wait(TIMEOUT_S)
    quick.close()


def test_a_closed_pump_ends_every_stream(connect: Open) -> None:
    """Those that it has, and those that come too late."""
    one = Pump(60.0)
    first = Scripted()
    connection = connect(first, one, is_chunked=True)
    read(connection, 5)
    one.close()
    one.close()
    one.wake("job")
    assert read(connection, 100) == b"0\r\n\r\n"
    assert first.gone.is_set()
    late = Scripted()
    assert read(connect(late, one), 100) == b""
    assert late.gone.is_set()


def test_a_client_that_says_too_much_is_cut_off(connect: Open) -> None:
    """A stream's client has nothing to say."""
    stream = Scripted()
    connection = connect(stream)
    read(connection, 5)
    with contextlib.suppress(OSError):  # a broken pipe, or a reset
        connection.sendall(b"x" * 1024 * 1024)
    assert stream.gone.wait(TIMEOUT_S)
