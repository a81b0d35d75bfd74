"""Ids of every kind, resumed after: what travels in ``Last-Event-ID``, and that nothing is lost or told twice."""

from __future__ import annotations

import pytest

from tests.support.contract import Recorded
from tests.support.events import frame, long_plan
from tests.support.rawserver import Connection, RawServer, event_stream
from tests.support.waiting import Told, Waiting, make_trainer

PLAN = long_plan(4)
TOLD = [("started", None), *(("log", step) for step in range(1, 3)), ("completed", None)]


def follow_by(ids: list[str]) -> tuple[Told, list[bytes | None]]:
    """Run a job whose events have these ids, one more with each connection; the server begins anew after an unknown id.

    Returns:
        What was told, and the ``Last-Event-ID`` of each connection, as bytes.
    """
    frames = [frame(name, event) for name, event in zip(ids, PLAN, strict=True)]

    def rest(request: Recorded) -> Connection:
        after = header_of(request)
        known = [name.encode().strip(b" \t") for name in ids]
        start = known.index(after) + 1 if after in known else 0
        return Connection(sent=event_stream(*frames[start : len(server.streams)]))

    with RawServer(PLAN, events=rest) as server:
        told = Told()
        assert Waiting(make_trainer(server, told).wait).outcome().status == "completed"
        return told, [header_of(request) for request in server.streams]


def header_of(request: Recorded) -> bytes | None:
    """Return the bytes of a request's ``Last-Event-ID``."""
    value = request.headers.get("last-event-id")
    return None if value is None else value.encode("latin-1")


@pytest.mark.parametrize(
    "text", ["é", "à", "日本", "😀", "\u00a0", "\u0085", "\u2028", "\ufeff", "ÿ", "a b", "%20", '"', "a,b"]
)
def test_an_id_of_any_characters_travels_in_utf_8(text: str) -> None:
    """As the event stream's specification has it, though HTTP libraries send Latin-1."""
    ids = [f"{text}{number}" if number % 2 else f"{number}{text}" for number in range(len(PLAN))]
    told, sent = follow_by(ids)
    assert told.names == TOLD
    assert sent == [None, *(name.encode() for name in ids[:-1])]


@pytest.mark.parametrize("blank", [" ", "\t", "  \t "], ids=["space", "tab", "several"])
def test_blanks_around_an_id_are_lost_on_the_way(blank: str) -> None:
    """A header's value has none around it; the wait goes on."""
    ids = [f"{blank}{number}{blank}" for number in range(len(PLAN))]
    told, sent = follow_by(ids)
    assert told.names == TOLD
    assert sent == [None, *(name.strip().encode() for name in ids[:-1])]


@pytest.mark.parametrize("control", ["\x01", "\x0b", "\x1c", "\x7f"], ids=ascii)
@pytest.mark.parametrize("place", ["{0}{1}", "{1}{0}", "a{0}{1}"], ids=["before", "after", "within"])
def test_a_control_character_in_an_id_does_not_keep_the_stream_from_being_resumed(control: str, place: str) -> None:
    """HTTP libraries refuse some of them: that must not be taken for a failure that may pass."""
    told, sent = follow_by([place.format(control, number) for number in range(len(PLAN))])
    assert told.names == TOLD
    assert len(sent) == len(PLAN)


def test_an_id_of_blanks_alone_is_not_sent() -> None:
    """The header is never empty: such a stream begins anew, and what was told is known by its id."""
    told, sent = follow_by(["1", "2", "   ", "4"])
    assert told.names == TOLD
    assert sent[3] in {None, b"2"}
    assert b"" not in sent
