"""Silence: a connection that says nothing for too long is dead, one that says anything is not."""

from __future__ import annotations

import threading

import pytest

from arkor import ReconnectExhausted, ReconnectPolicy, WaitTimeout
from tests.support.events import PING, frames, long_plan
from tests.support.rawserver import CHUNKED, CLOSE, LENGTH, Connection, RawServer, event_stream
from tests.support.waiting import Told, Waiting, make_trainer

FRAMES = frames(long_plan())
TOLD = [("started", None), *(("log", step) for step in range(1, 39)), ("completed", None)]
IDLE_S = 0.2
IMPATIENT = ReconnectPolicy(base_delay=0.01, idle_timeout=IDLE_S)


def _until_half_an_event(form: str, size: int) -> bytes:
    whole = event_stream(*FRAMES, form=form)
    return whole[: whole.index(FRAMES[5]) + size]


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-",
        event_stream(form=CLOSE),
        _until_half_an_event(CHUNKED, -3),
        _until_half_an_event(CHUNKED, 40),
        _until_half_an_event(CLOSE, 40),
        _until_half_an_event(LENGTH, 40),
    ],
    ids=["nothing", "a head", "no body", "chunk's size", "chunk", "close", "length"],
)
def test_silence_anywhere_is_a_failure_that_is_mended(server: RawServer, sent: bytes) -> None:
    """The stream is opened again after the last whole event."""
    told = Told()
    server.script(Connection(sent=sent, hold=threading.Event()))
    assert Waiting(make_trainer(server, told, reconnect=IMPATIENT).wait).outcome().status == "completed"
    assert told.names == TOLD
    assert len(server.streams) == 2


def test_silence_counts_as_a_failure(server: RawServer) -> None:
    """It uses up the attempts of the policy, and the error says that nothing came."""
    server.script(*[Connection(sent=event_stream(PING, form=CLOSE), hold=threading.Event())] * 2)
    policy = ReconnectPolicy(base_delay=0.01, idle_timeout=IDLE_S, max_attempts=1)
    outcome = Waiting(make_trainer(server, reconnect=policy).wait).outcome()
    assert isinstance(outcome, ReconnectExhausted)
    assert "it sent nothing in time" in str(outcome.__cause__)


@pytest.mark.parametrize("sign", [PING, b":"], ids=["pings", "single bytes"])
def test_any_sign_of_life_keeps_a_connection(server: RawServer, sign: bytes) -> None:
    """For longer than the idle timeout, though no event comes and not even a line ends."""
    start = event_stream(*FRAMES[:2], form=CLOSE)
    signs = (sign * 15 * len(start))[: 15 * len(start)]
    sent = start + signs + b"\n\n" + frames(long_plan(3))[-1]  # the next id: a gap would be gone back for
    server.script(Connection(sent=sent, piece=len(start), pace_s=0.05))
    told = Told()
    trainer = make_trainer(server, told, reconnect=ReconnectPolicy(idle_timeout=0.5))
    assert Waiting(trainer.wait).outcome(15).status == "completed"
    assert told.names == [*TOLD[:2], TOLD[-1]]
    assert len(server.streams) == 1


def test_the_time_of_a_callback_is_not_silence_also_amid_a_chunk(server: RawServer) -> None:
    """What waits to be read meanwhile is read afterwards."""
    told = Told(lambda name, context: threading.Event().wait(2 * IDLE_S) if name == "started" else None)
    server.script(Connection(sent=event_stream(*FRAMES), piece=1000, pace_s=IDLE_S / 4))
    assert Waiting(make_trainer(server, told, reconnect=IMPATIENT).wait).outcome(15).status == "completed"
    assert told.names == TOLD
    assert len(server.streams) == 1


def test_signs_of_life_do_not_put_off_the_deadline(server: RawServer) -> None:
    """It is one for the whole wait, however much comes in the meantime."""
    start = event_stream(*FRAMES[:2], form=CLOSE)
    server.script(Connection(sent=start + PING * 10_000, piece=len(start), pace_s=0.02))
    trainer = make_trainer(server, reconnect=ReconnectPolicy(idle_timeout=0.5))
    trainer.start()
    assert isinstance(Waiting(lambda: trainer.wait(timeout=0.3)).outcome(), WaitTimeout)
    assert len(server.streams) == 1
