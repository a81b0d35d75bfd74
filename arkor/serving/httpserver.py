"""Waitress, run so that it can be stopped from outside, and so that no client takes all of it.

Connections are bounded as a whole and shared out between addresses without a bound for each: while there is room, one
address may have all of it, as a reverse proxy needs it. When there is none, the address with the most connections loses
the idle one on which nothing has moved for the longest. Parts of requests do not count: else a client that sends some
on each connection would keep out those who have just come.
"""

from __future__ import annotations

import errno
import itertools
import logging
import sys
import threading
import time
from collections import Counter, defaultdict, deque
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from waitress import wasyncore
from waitress.adjustments import Adjustments
from waitress.server import TcpWSGIServer
from waitress.task import ThreadedTaskDispatcher

from arkor.serving.bodies import Gate
from arkor.serving.connections import Channel

if TYPE_CHECKING:
    import socket

    from _typeshed.wsgi import WSGIApplication

MAX_CONNECTIONS = 512
_LOOP_S = 1.0  # connections whose clients are overdue are looked for this often
_RECEIVED_BYTES = 128 * 1024  # of a connection in a turn, which looks at all of them
_SLOW_THREADS = 2
# Of each connection: as many of them as there may be keep 64 MiB in memory with each.
_MAX_HEAD_BYTES = 64 * 1024
_BODY_BYTES_IN_MEMORY = 64 * 1024


class HttpServer:
    """Serves an application on a bound socket, in threads of its own.

    ``waitress.serve`` ends by an exception in the main thread only; here the loop runs a turn at a time.

    Args:
        app: the application.
        bound: the socket; it listens as soon as this object exists.
        gate: decides whether a body is read.
        threads: how many answers may be under way at the same time; each open stream keeps one.
        shutdown_s: how long answers under way are waited for at the end, in seconds.
        channel: what waitress makes of a connection.
    """

    def __init__(
        self,
        app: WSGIApplication,
        bound: socket.socket,
        *,
        gate: Gate,
        threads: int,
        shutdown_s: float,
        channel: type[Channel] = Channel,
    ) -> None:
        logging.getLogger("waitress.queue").setLevel(logging.ERROR)  # that a request waits for a thread is no news
        self._shutdown_s = shutdown_s
        self._map: dict[int, Any] = {}
        self._server = _Server(app, bound, self._map, gate=gate, threads=threads, channel=channel)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="http", daemon=True)

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def stop(self) -> None:
        """Let the answers under way end, as long as that was given, then close every connection."""
        self._server.end_answers(self._shutdown_s)
        self._stopping.set()
        self._server.pull_trigger()
        self._thread.join()
        wasyncore.close_all(self._map)

    def _loop(self) -> None:
        while not self._stopping.is_set():
            wasyncore.loop(timeout=_LOOP_S, use_poll=True, map=self._map, count=1)  # select() knows 1024 files
            self._server.close_dismissed()


class _Server(TcpWSGIServer):  # type: ignore[misc]  # waitress is untyped
    """Waitress's server, with a gate, a few threads for slow answers, and connections that are shared out."""

    def __init__(
        self,
        app: WSGIApplication,
        bound: socket.socket,
        map_: dict[int, Any],
        *,
        gate: Gate,
        threads: int,
        channel: type[Channel],
    ) -> None:
        self.gate = gate
        self.channel_class = channel
        self._quick, self._slow = _dispatcher(threads), _dispatcher(_SLOW_THREADS)
        self._dismissed: set[Channel] = set()
        settings = Adjustments(
            sockets=[bound],
            channel_request_lookahead=1,  # notices a client that has left while its answer is under way
            connection_limit=sys.maxsize,  # this class has its own
            recv_bytes=_RECEIVED_BYTES,
            cleanup_interval=_LOOP_S,
            max_request_header_size=_MAX_HEAD_BYTES,
            max_request_body_size=sys.maxsize,  # the gate knows better
            inbuf_overflow=_BODY_BYTES_IN_MEMORY,
            log_socket_errors=False,
            ident=None,
        )
        where = (bound.family, bound.type, bound.proto, bound.getsockname())
        super().__init__(
            app, map_, True, bound, dispatcher=self._quick, adj=settings, sockinfo=where, bind_socket=False
        )

    def add_task(self, task: Channel) -> None:
        """Have the first request of a connection answered."""
        admission = task.requests[0].admission
        dispatcher = self._slow if admission is not None and admission.is_slow else self._quick
        dispatcher.add_task(task)

    def end_answers(self, timeout_s: float) -> None:
        """Wait until the answers under way have ended, and begin no other."""
        until = time.monotonic() + timeout_s
        for dispatcher in (self._quick, self._slow):
            dispatcher.shutdown(timeout=max(0.0, until - time.monotonic()))

    def readable(self) -> bool:
        """Whether to look for new connections."""
        return bool(super().readable()) and (self._has_room() or any(one.is_idle for one in self._channels()))

    def handle_accept(self) -> None:
        """Take in new connections, each in the place of an idle one if all are taken."""
        held: Counter[str] = Counter()
        losers = self._losers(held)
        for _ in range(MAX_CONNECTIONS // 8):  # those that are new in this turn do not give way
            has_room = self._has_room()
            loser = None if has_room else next(losers, None)
            if loser is None and not has_room:
                return
            try:
                connection, address = self.socket.accept()
                self.set_socket_options(connection)
            except OSError as exc:  # nobody waits, the client has left, or this process has no file left
                if exc.errno in {errno.EMFILE, errno.ENFILE}:
                    self._dismissed.update(itertools.islice(losers, 1))
                return
            if loser is not None:
                self._dismissed.add(loser)
            held[address[0]] += 1
            self.channel_class(self, connection, address, self.adj, map=self._map)

    def maintenance(self, now: float) -> None:
        """Dismiss the connections of clients that have had their time."""
        self._dismissed.update(channel for channel in self._channels() if channel.is_overdue())

    def close_dismissed(self) -> None:
        """Close connections, but for those that gave way and on which something has come meanwhile.

        That is done between two turns: within one, another connection could get the number of their file.
        """
        for channel in self._dismissed:
            if channel.is_overdue() or channel.is_silent():
                channel.drop()
        self._dismissed.clear()

    def _channels(self) -> list[Channel]:
        return [channel for channel in self.active_channels.values() if channel not in self._dismissed]

    def _has_room(self) -> bool:
        return len(self.active_channels) - len(self._dismissed) < MAX_CONNECTIONS

    def _losers(self, held: Counter[str]) -> Iterator[Channel]:
        """Yield the idle connections of now in the order in which they give way.

        Args:
            held: gets the number of connections of each address; the caller counts those that it adds.
        """
        channels = sorted(self._channels(), key=lambda channel: float(channel.last_activity))
        held.clear()
        held.update(channel.addr[0] for channel in channels)
        idle: defaultdict[str, deque[Channel]] = defaultdict(deque)
        for channel in channels:
            if channel.is_idle:
                idle[channel.addr[0]].append(channel)
        while idle:
            address = max(idle, key=held.__getitem__)
            yield idle[address].popleft()
            held[address] -= 1
            if not idle[address]:
                del idle[address]


def _dispatcher(threads: int) -> ThreadedTaskDispatcher:
    dispatcher = ThreadedTaskDispatcher()
    dispatcher.set_thread_count(threads)
    return dispatcher
