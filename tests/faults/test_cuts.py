"""Connections that are cut, at any byte and in any way: the callbacks are told what they are told without a cut."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import pytest

from tests.support.contract import Recorded
from tests.support.events import frames, long_plan
from tests.support.eventually import eventually
from tests.support.rawserver import CHUNKED, FORMS, Connection, RawServer, event_stream
from tests.support.waiting import Told, Waiting, make_trainer

PLAN = long_plan()
FRAMES = [item.replace(b"\n", b"\r\n") if number % 2 else item for number, item in enumerate(frames(PLAN))]
CRLF = FRAMES[21]
LF = FRAMES[22]


def told_by(server: RawServer) -> Sequence[tuple[str, dict[str, Any]]]:
    """Run a job of the server to its end; return what the callbacks were told."""
    told = Told()
    trainer = make_trainer(server, told)
    assert trainer.wait().status == "completed"
    assert trainer.last_event_id == str(len(PLAN))
    return told.news


def places(form: str) -> dict[str, int]:
    """Return where an answer is cut: the place's name, and how many bytes of the answer are sent before it."""
    whole = event_stream(*FRAMES, form=form)
    body = whole.index(b"\r\n\r\n") + 4
    crlf, lf = whole.index(CRLF), whole.index(LF)
    found = {
        "before the body": body,
        "after its first byte": body + 1,
        "in the first character of four bytes": whole.index("😀".encode()) + 2,
        "in the name of a field": lf + 2,
        "in a character of three bytes": whole.index("€".encode(), lf) + 1,
        "between CR and LF of a field": whole.index(b"\r\n", crlf) + 1,
        "before a blank line": lf + len(LF) - 1,
        "between CR and LF of a blank line": crlf + len(CRLF) - 1,
        "after a blank line": lf + len(LF),
        "after the last event": whole.index(FRAMES[-1]) + len(FRAMES[-1]),
        "before the last byte": len(whole) - 1,
        "nowhere": len(whole),
    }
    if form == CHUNKED:
        start = lf - len(b"%x\r\n" % len(LF))
        found |= {"in the size of a chunk": start + 1, "between CR and LF of a chunk's size": lf - 1}
    return found


@pytest.mark.parametrize("reset", [False, True], ids=["FIN", "RST"])
@pytest.mark.parametrize("form", FORMS)
def test_a_cut_anywhere_changes_nothing(server: RawServer, form: str, reset: bool) -> None:
    """In a chunk's size, a line end, a character or at a blank line: each event is told once, in order, unharmed."""
    uncut = told_by(server)
    assert len(uncut) == len(PLAN)
    whole = event_stream(*FRAMES, form=form)
    for place, cut in places(form).items():
        server.script(Connection(sent=whole[:cut], reset=reset))
        assert told_by(server) == uncut, place


@pytest.mark.parametrize("form", FORMS)
def test_writes_of_one_byte_change_nothing(server: RawServer, form: str) -> None:
    """However small the pieces are in which a stream arrives."""
    uncut = told_by(server)
    server.script(Connection(sent=event_stream(*FRAMES, form=form), piece=1))
    assert told_by(server) == uncut


@pytest.mark.parametrize("reset", [False, True], ids=["FIN", "RST"])
@pytest.mark.parametrize("form", FORMS)
def test_a_server_that_cuts_every_connection_is_followed_to_the_end(form: str, reset: bool) -> None:
    """Each connection gets some events further, and none is told twice."""

    def some(request: Recorded) -> Connection:
        rest = FRAMES[int(request.headers.get("last-event-id", 0)) :]
        whole = event_stream(*rest, form=form)
        return Connection(sent=whole[: whole.index(b"\r\n\r\n") + 700], reset=reset)

    with RawServer(PLAN, events=some) as server:
        told = Told()
        make_trainer(server, told).wait()
        assert [step for name, step in told.names if name == "log"] == list(range(1, 39))
        assert len(told.names) == len(PLAN)
        after = [int(item.headers.get("last-event-id", 0)) for item in server.streams]
        assert after == sorted(set(after))


@pytest.mark.parametrize("form", FORMS)
def test_events_are_told_as_they_come(server: RawServer, form: str) -> None:
    """They are not held back until a buffer is full or the body ends."""
    whole, gate, told = event_stream(*FRAMES, form=form), threading.Event(), Told()
    server.script(Connection(sent=whole[: whole.index(FRAMES[2])], hold=gate))
    waiting = Waiting(make_trainer(server, told).wait)
    eventually(lambda: len(told.names) == 2, "two events are told while the stream is open")
    gate.set()
    assert waiting.outcome(15).status == "completed"
    assert len(told.names) == len(PLAN)
