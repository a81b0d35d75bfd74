"""Which events are new, whatever a server sends again when a reader comes back."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from hypothesis import given, strategies as st

from arkor.client import position
from arkor.client.position import REMEMBERED_IDS, StreamPosition

Server = Callable[[Sequence[str], str | None], Sequence[str]]


def honours(sent: Sequence[str], last_id: str | None) -> Sequence[str]:
    """Go on after the last event."""
    return sent[sent.index(last_id) + 1 :] if last_id else sent


def begins_anew(sent: Sequence[str], _: str | None) -> Sequence[str]:
    """Send everything again."""
    return sent


def repeats_the_last(sent: Sequence[str], last_id: str | None) -> Sequence[str]:
    """Go on with the last event, not after it."""
    return sent[sent.index(last_id) :] if last_id else sent


def goes_back_three(sent: Sequence[str], last_id: str | None) -> Sequence[str]:
    """Go on some way back."""
    return sent[max(0, sent.index(last_id) - 3) :] if last_id else sent


SERVERS = [honours, begins_anew, repeats_the_last, goes_back_three]


def take(place: StreamPosition, event_id: str | None) -> bool:
    """Offer an event, deliver it where it is new, and say whether it was."""
    is_new = place.offer(event_id)
    if is_new:
        place.delivered = place.offered
    return is_new


def follow(server: Server, ids: Sequence[str], cuts: Sequence[int], place: StreamPosition | None = None) -> list[str]:
    """Return the ids of the events that are new, over connections of so many events each and then a whole one."""
    place = place or StreamPosition()
    new = []
    for cut in [*cuts, len(ids)]:
        place.connect()
        new += [event_id for event_id in server(ids, place.last_id)[:cut] if take(place, event_id)]
    return new


@given(st.sampled_from(SERVERS), st.lists(st.text(min_size=1), unique=True), st.lists(st.integers(0, 12)))
def test_each_event_is_new_once_and_in_order(server: Server, ids: list[str], cuts: list[int]) -> None:
    """Wherever the connections were cut, and whatever the server makes of the last id."""
    assert follow(server, ids, cuts) == ids


@pytest.mark.parametrize("server", SERVERS)
def test_a_stream_much_longer_than_what_is_remembered_is_told_once(server: Server) -> None:
    """The first id and the most recent ones are enough."""
    ids = [str(number) for number in range(REMEMBERED_IDS * 5)]
    assert follow(server, ids, [REMEMBERED_IDS * 4, 10, REMEMBERED_IDS * 3]) == ids


@given(st.integers(1, 30), st.integers(0, 30), st.lists(st.integers(0, 30), max_size=5))
def test_the_first_and_the_last_id_are_enough_to_go_on_in_another_process(
    count: int, done: int, cuts: list[int]
) -> None:
    """Of a server that honours the last id, or begins anew."""
    ids = [str(number) for number in range(count)]
    done = min(done, count)
    place = StreamPosition(ids[done - 1], ids[0]) if done else StreamPosition()
    assert follow(begins_anew, ids, cuts, place) == ids[done:]


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many events there are."""
    monkeypatch.setattr(position, "REMEMBERED_IDS", 4)
    place = StreamPosition()
    place.connect()
    assert all(take(place, str(number)) for number in range(100))
    assert len(place._recent) == 4


def test_an_event_that_was_only_offered_is_new_again() -> None:
    """Whatever kept it from being delivered; the position has not moved."""
    place = StreamPosition()
    place.connect()
    take(place, "1")
    assert place.offer("2")
    assert (place.first_id, place.last_id) == ("1", "1")
    place.connect()
    assert [take(place, event_id) for event_id in "123"] == [False, True, True]
    assert (place.first_id, place.last_id) == ("1", "3")


def test_events_without_an_id_are_new_but_amid_repeats() -> None:
    """Nothing tells them apart."""
    place = StreamPosition()
    place.connect()
    assert [take(place, event_id) for event_id in ["1", None, "2", "", "3"]] == [True] * 5
    place.connect()
    repeats = [(None, True), ("1", False), (None, False), ("2", False), ("3", False), (None, True), ("4", True)]
    assert [take(place, event_id) for event_id, _ in repeats] == [is_new for _, is_new in repeats]


def test_ids_of_keep_alives_move_the_position_and_hide_nothing() -> None:
    """They are never sent again, and are not looked for."""
    place = StreamPosition()
    place.connect()
    take(place, "1")
    place.pass_over("ping 1")
    assert place.last_id == "ping 1"
    place.connect()
    place.pass_over("ping 2")
    assert [take(place, event_id) for event_id in "123"] == [False, True, True]


def test_an_id_that_was_never_seen_ends_the_repeats() -> None:
    """A server that forgot the last event hides nothing that is new."""
    place = StreamPosition()
    place.connect()
    for event_id in "abc":
        take(place, event_id)
    place.connect()
    assert [take(place, event_id) for event_id in "abxyz"] == [False, False, True, True, True]


Losses = Sequence[tuple[set[str], int]]


def read_with_losses(server: Server, ids: Sequence[str], losses: Losses) -> tuple[list[str], int]:
    """Return the ids that were new, and the number of connections, of a reader that goes back for what is missing.

    Args:
        server: answers each connection.
        ids: of all events.
        losses: of every second connection, the first one included, the ids that get lost on it; and how many new events
            the connection after it brings, on which none gets lost, before it is cut.
    """
    place, new, connections = StreamPosition(), list[str](), 0
    while new[-1:] != ids[-1:]:
        lost, most = losses[connections // 2] if connections // 2 < len(losses) else (set(), len(ids))
        enough = len(new) + (most if connections % 2 else len(ids))
        lost = set() if connections % 2 else lost
        connections += 1
        place.connect()
        for event_id in server(ids, place.last_id):
            if len(new) == enough or (event_id not in lost and place.is_gap_before(event_id)):
                break
            new += [event_id] if event_id not in lost and take(place, event_id) else []
    return new, connections


@given(
    st.sampled_from(SERVERS),
    st.integers(3, 40),
    st.lists(st.tuples(st.sets(st.integers(3, 39).map(str)), st.integers(1, 9)), max_size=6),
)
def test_events_that_got_lost_on_the_way_are_had_from_the_next_connection(
    server: Server, count: int, losses: Losses
) -> None:
    """Of a backend that counts up, once it is known to; whichever are lost, and however often."""
    ids = [str(number) for number in range(1, count + 1)]
    losses = [(lost - {ids[-1]}, most) for lost, most in losses]
    assert read_with_losses(server, ids, losses)[0] == ids


@given(
    st.sampled_from(SERVERS),
    st.one_of(
        st.lists(st.text(), unique=True).filter(lambda ids: "" not in ids),
        st.lists(st.integers(0, 60).map(str), unique=True),
        st.sets(st.integers(0, 60)).map(lambda numbers: [str(number) for number in sorted(numbers)]),
    ),
)
def test_ids_that_do_not_count_up_cost_one_connection_at_most(server: Server, ids: list[str]) -> None:
    """A gap that is still there is accepted, and from then on ids are only compared."""
    new, connections = read_with_losses(server, ids, [])
    assert new == ids
    assert connections <= 2


@pytest.mark.parametrize(
    "ids",
    [
        ["1", "5"],
        ["1", "2", None, "5"],
        ["1", "3", "4", "6"],
        ["7", "8", "010"],
        ["7", "8", "9.5"],
        ["1-0", "2-0", "9-0"],
    ],
)
def test_ids_that_may_be_anything_show_no_gap(ids: list[str | None]) -> None:
    """Too few of them, one missing, a step above one before, or no whole numbers."""
    place = StreamPosition()
    place.connect()
    for event_id in ids:
        assert not place.is_gap_before(event_id)
        assert take(place, event_id)


def test_ids_of_keep_alives_count_too() -> None:
    """They are numbers of the same count, or repeat the last event's."""
    place = StreamPosition()
    place.connect()
    take(place, "1")
    for ping in ("1", "2", "2"):
        place.pass_over(ping)
    assert not place.is_gap_before("3")
    take(place, "3")
    assert place.is_gap_before("5")
