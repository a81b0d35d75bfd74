"""One thread that writes many long answers: an open event stream costs a socket and a few objects, not a thread.

The thread waits with a selector until something is there to send, a slow client takes more, or a client leaves. What is
to be sent it asks of each stream. It never blocks on a client: one that takes nothing for a minute is cut off.
"""

from __future__ import annotations

import contextlib
import logging
import os
import selectors
import threading
import time
from collections import defaultdict, deque
from collections.abc import Hashable, Iterable
from typing import NamedTuple, Protocol

from arkor.serving.takeover import TakenConnection

log = logging.getLogger("arkor.serving")

STUCK_S = 60.0
_TURN_S = 0.01  # how long streams that are behind are served before the others are looked at again
_LAST_CHUNK = b"0\r\n\r\n"
_MOST_RECEIVED = 64 * 1024  # a client of a stream has nothing to say


class Piece(NamedTuple):
    """What a stream has to send.

    Attributes:
        data: bytes, empty for nothing at the moment.
        more: whether to ask again at once.
        over: whether the answer ends with these bytes.
    """

    data: bytes = b""
    more: bool = False
    over: bool = False


class Stream(Protocol):
    """The content of a long answer. All methods are called on the pump's thread."""

    @property
    def key(self) -> Hashable:
        """Names what the stream is about: ``Pump.wake`` wakes all streams of a key."""

    def next(self) -> Piece:
        """Return what is to be sent now."""

    def keep_alive(self) -> bytes:
        """Return what to send after a while without anything."""

    def closed(self) -> None:
        """Take note that the connection is gone."""


class _Outlet:
    """A connection and what has not been sent of it."""

    def __init__(self, taken: TakenConnection, stream: Stream) -> None:
        self.socket = taken.socket
        self.stream = stream
        self.is_chunked = taken.is_chunked
        self.pending: deque[memoryview] = deque([memoryview(taken.head)])
        self.over = False
        self.received = 0
        self.sent_at = time.monotonic()

    def add(self, data: bytes) -> None:
        if data:
            self.pending.append(memoryview(b"%x\r\n%b\r\n" % (len(data), data) if self.is_chunked else data))

    def end(self) -> None:
        self.over = True
        if self.is_chunked:
            self.pending.append(memoryview(_LAST_CHUNK))

    def flush(self) -> bool:
        """Send what the connection takes; return whether that is all. Raises OSError where it is gone."""
        while self.pending:
            try:
                sent = self.socket.send(self.pending[0])
            except BlockingIOError:
                return False
            self.sent_at = time.monotonic()
            if sent == len(self.pending[0]):
                self.pending.popleft()
            else:
                self.pending[0] = self.pending[0][sent:]
        return True


class Pump:
    """Writes streams to connections.

    Thread-safety: ``add``, ``wake`` and ``close`` may be called from any thread; the rest happens on the pump's own.

    Args:
        keep_alive_s: seconds without anything after which a stream's ``keep_alive`` is sent.
    """

    def __init__(self, keep_alive_s: float) -> None:
        self._keep_alive_s = keep_alive_s
        self._lock = threading.Lock()
        self._added: list[_Outlet] = []
        self._woken: set[Hashable] = set()
        self._closing = False
        self._selector = selectors.DefaultSelector()
        self._waker, self._wakes = os.pipe()
        os.set_blocking(self._waker, False)
        os.set_blocking(self._wakes, False)
        self._selector.register(self._waker, selectors.EVENT_READ)
        self._outlets: dict[Hashable, set[_Outlet]] = defaultdict(set)
        self._behind: deque[_Outlet] = deque()
        self._looked_at = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="streams", daemon=True)
        self._thread.start()

    def add(self, taken: TakenConnection, stream: Stream) -> None:
        """Begin to write a stream to a connection, which is the pump's from now on."""
        with self._lock:
            if not self._closing:
                self._added.append(_Outlet(taken, stream))
                self._notify()
                return
        taken.socket.close()
        stream.closed()

    def wake(self, key: Hashable) -> None:
        """Ask all streams of a key for what they have to send."""
        with self._lock:
            if key not in self._woken and not self._closing:
                self._woken.add(key)
                self._notify()

    def close(self) -> None:
        """End every stream without a word of its own, and return when that is done."""
        with self._lock:
            if not self._closing:
                self._closing = True
                self._notify()
        self._thread.join()

    def _notify(self) -> None:
        with contextlib.suppress(BlockingIOError):  # the pipe is full: it wakes all the same
            os.write(self._wakes, b"x")

    def _run(self) -> None:
        while not self._closing:
            ready = self._selector.select(0 if self._behind else self._keep_alive_s / 4)
            for key, events in ready:
                self._on_ready(key.data, events)
            self._serve(self._taken_in())
            self._catch_up()
            self._look_around()
        self._end_all()

    def _on_ready(self, outlet: _Outlet | None, events: int) -> None:
        if outlet is None:  # the pipe
            with contextlib.suppress(BlockingIOError):
                while os.read(self._waker, 4096):
                    pass
            return
        if events & selectors.EVENT_READ and not self._is_there(outlet):
            self._remove(outlet)
        elif events & selectors.EVENT_WRITE:
            self._send(outlet)

    def _is_there(self, outlet: _Outlet) -> bool:
        """Whether a client that sent something, or left, has not left."""
        try:
            received = outlet.socket.recv(4096)
        except BlockingIOError:
            return True
        except OSError:
            return False
        outlet.received += len(received)
        return bool(received) and outlet.received <= _MOST_RECEIVED

    def _taken_in(self) -> list[_Outlet]:
        """Take in new outlets, and return those that are to be asked: new ones and those of keys that were woken."""
        with self._lock:
            added, self._added = self._added, []
            woken, self._woken = self._woken, set()
        found = [outlet for key in woken for outlet in self._outlets.get(key, ())]
        for outlet in added:
            self._outlets[outlet.stream.key].add(outlet)
            self._selector.register(outlet.socket, selectors.EVENT_READ, outlet)
        return [*found, *added]

    def _serve(self, outlets: Iterable[_Outlet]) -> None:
        for outlet in outlets:
            self._send(outlet)

    def _catch_up(self) -> None:
        """Serve those that have more, in turns and not for long."""
        until = time.monotonic() + _TURN_S
        while self._behind and time.monotonic() < until:
            outlet = self._behind.popleft()
            if outlet.socket.fileno() != -1:
                self._send(outlet)

    def _send(self, outlet: _Outlet) -> None:
        try:
            if outlet.flush() and not outlet.over:
                piece = self._next(outlet)
                outlet.flush()
                if piece.more and not outlet.pending:
                    self._behind.append(outlet)
        except OSError:  # the client has left
            self._remove(outlet)
            return
        if outlet.over and not outlet.pending:
            self._remove(outlet)
            return
        wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if outlet.pending else 0)
        if self._selector.get_key(outlet.socket).events != wanted:
            self._selector.modify(outlet.socket, wanted, outlet)

    def _next(self, outlet: _Outlet) -> Piece:
        try:
            piece = outlet.stream.next()
        except Exception as exc:  # one stream's defect does not end the others
            log.exception("An event stream failed")
            raise ConnectionAbortedError from exc
        outlet.add(piece.data)
        if piece.over:
            outlet.end()
        return piece

    def _look_around(self) -> None:
        """Send signs of life on silent streams, and cut off clients that take nothing."""
        now = time.monotonic()
        if now - self._looked_at < self._keep_alive_s / 4:
            return
        self._looked_at = now
        for outlet in [outlet for group in self._outlets.values() for outlet in group]:
            silent_s = now - outlet.sent_at
            if outlet.pending and silent_s > STUCK_S:
                self._remove(outlet)
            elif not outlet.pending and silent_s >= self._keep_alive_s:
                outlet.add(outlet.stream.keep_alive())
                self._send(outlet)

    def _remove(self, outlet: _Outlet) -> None:
        group = self._outlets[outlet.stream.key]
        if outlet not in group:
            return
        group.discard(outlet)
        if not group:
            del self._outlets[outlet.stream.key]
        self._selector.unregister(outlet.socket)
        outlet.socket.close()
        outlet.stream.closed()

    def _end_all(self) -> None:
        self._taken_in()
        for outlet in [outlet for group in self._outlets.values() for outlet in group]:
            with contextlib.suppress(OSError):
                outlet.end()
                outlet.flush()
            self._remove(outlet)
        self._selector.close()
        os.close(self._waker)
        os.close(self._wakes)
