"""Where a reader is in a stream of events, so that each is handed out once, whatever a server sends again.

A reader that connects again names the last event it got, and a server goes on after it. Some servers do not: they begin
anew, or some way back. What they send again is known by its id. Ids are opaque: they are compared, never ordered. One
exception: while every id is the number after the last one, a number that is left out says that events are missing.

Protocol: docs/protocol.md, "Reader rules" 1 and 10.
"""

from __future__ import annotations

import re
from collections import deque

REMEMBERED_IDS = 256
EVENT_ID = re.compile(r"[^\0\r\n\ud800-\udfff]*")  # what the event stream's specification allows, as text
_NUMBER = re.compile(r"0|[1-9][0-9]{0,17}")

Offer = tuple[str | None]


class StreamPosition:
    """The ids of the events that were delivered: the first, the last, and those just before it.

    An event is offered first, and counts once ``delivered`` is set to it: a plain assignment, which Ctrl-C cannot cut
    in two. One that was offered only is new again with the next connection.

    Args:
        last_id: go on after this event; None from the first one.
        first_id: the first event that was ever delivered, where that is known.

    Attributes:
        offered: the event that was handed out last, with its id.
        delivered: the event that was delivered last: what was ``offered`` before, set by whoever is done with it.

    Thread-safety: moved by one thread; ``last_id`` and ``first_id`` may be read from any.
    """

    def __init__(self, last_id: str | None = None, first_id: str | None = None) -> None:
        self.offered: Offer = (last_id,)
        self.delivered = self._counted = self.offered
        self._last_id = last_id
        self._first_id = first_id
        self._recent: deque[str] = deque([last_id] if last_id else [], REMEMBERED_IDS)
        self._recent_are_all = not last_id
        self._repeats: frozenset[str] | None = None  # ids that may come again; None when what comes is new
        self._in_replay = False
        self._is_near = False
        self._counts_up: bool | None = None  # whether each id is the number after the last one; None before the second
        self._gap_after: str | None = None  # the id after which events were missing; they are looked for once

    @property
    def last_id(self) -> str | None:
        """The id that the next connection goes on after."""
        delivered, (event_id,) = self.delivered, self.delivered
        return self._last_id if delivered is self._counted or event_id is None else event_id

    @property
    def first_id(self) -> str | None:
        """The id of the first event."""
        return self._first_id or self.delivered[0] or None

    def connect(self) -> None:
        """Begin a connection, which may repeat what was delivered."""
        self._count()
        self._repeats = frozenset(self._recent) or None
        self._in_replay = False
        self._is_near = self._recent_are_all

    def pass_over(self, frame_id: str | None) -> None:
        """Take in a frame that is no event, as a keep-alive: its id counts too."""
        self._count()
        if frame_id is not None and not self._in_replay:
            self._move(frame_id)

    def is_gap_before(self, event_id: str | None) -> bool:
        """Say whether events are missing before one that comes next, so that the reader goes back for them.

        Only ids that counted up by one until now say so, and after each id only once: a gap that is still there on the
        next connection is the backend's way to count.

        Args:
            event_id: its id; None or empty where it has none.
        """
        self._count()
        if not self._counts_up or self._gap_after == self._last_id or _step(self._last_id, event_id) <= 1:
            return False
        self._gap_after = self._last_id
        return True

    def offer(self, event_id: str | None) -> bool:
        """Take in an event that comes next, and say whether it is new.

        Args:
            event_id: its id; None or empty where it has none, which is a repeat only amid others.
        """
        self._count()
        if self._repeats is not None and self._is_repeat(event_id, self._repeats):
            return False
        if event_id:
            self._in_replay, self._repeats = False, None
        self.offered = (event_id,)
        return True

    def _count(self) -> None:
        """Count what was delivered since; doing half of it twice does no harm."""
        if self.delivered is self._counted:
            return
        delivered, (event_id,) = self.delivered, self.delivered
        if event_id is None:
            self._counts_up = False
        else:
            self._move(event_id)
        if event_id:
            self._first_id = self._first_id or event_id
            self._recent_are_all = self._recent_are_all and len(self._recent) < REMEMBERED_IDS
            self._recent.append(event_id)
        self._counted = delivered

    def _move(self, new_id: str) -> None:
        if self._last_id is not None and new_id != self._last_id:
            self._counts_up = self._counts_up is not False and _step(self._last_id, new_id) == 1
        self._last_id = new_id

    def _is_repeat(self, event_id: str | None, repeats: frozenset[str]) -> bool:
        if not event_id:
            return self._in_replay
        if event_id in repeats:
            self._in_replay = self._is_near = True
            if event_id == self._recent[-1]:  # the last one: what follows is new
                self._in_replay, self._repeats = False, None
            return True
        # Between the first event and those just before the last one there are events whose ids were forgotten.
        self._in_replay = not self._is_near and (self._in_replay or event_id == self.first_id)
        return self._in_replay


def _step(last_id: str | None, event_id: str | None) -> int:
    """Return how far an id lies above the last one; 0 if one of them is no whole number."""
    if not (_NUMBER.fullmatch(last_id or "") and _NUMBER.fullmatch(event_id or "")):
        return 0
    return int(event_id or "") - int(last_id or "")
