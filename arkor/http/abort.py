"""Break off a blocked network call from another thread, at once.

A call that must end when a ``threading.Event`` is set runs inside an ``AbortScope``. While the scope is ``active()``,
every connection that its thread makes or takes from the pool (see ``arkor.http.transport``) hands its socket in here.
One watcher thread per event waits for it, and shuts the sockets of all its scopes down: the blocked read then ends,
and ``check()`` says why. No event, no thread; a watcher leaves when it has had no scope for one period. A forked
process has none of its parent's watchers, and starts its own.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from types import TracebackType
from typing import TYPE_CHECKING

from arkor.errors import Aborted, ConnectionFailed, WaitTimeout
from arkor.system.forks import OwnToEachProcess, after_fork_in_child

if TYPE_CHECKING:
    from requests import Response

WATCH_PERIOD_S = 5.0
LONGEST_WAIT_S = 0.1
SHORTEST_TIMEOUT_S = 0.001  # 0 would mean not to block at all

_watchers: dict[int, _Watcher] = {}
_watchers_locks = OwnToEachProcess(threading.Lock)
_thread = threading.local()


class Deadline:
    """A moment on the monotonic clock, or never.

    Args:
        timeout_s: seconds from now; None for never.
    """

    def __init__(self, timeout_s: float | None = None) -> None:
        self.timeout_s = timeout_s
        self._at = None if timeout_s is None else time.monotonic() + timeout_s

    def clip(self, seconds: float) -> float:
        """Return ``seconds``, or what is left until the deadline where that is less; never below 0."""
        return seconds if self._at is None else max(0.0, min(seconds, self._at - time.monotonic()))

    def remaining(self) -> float | None:
        """Return the seconds left, at least 0 and at most what a lock can wait; None for never."""
        return None if self._at is None else min(max(0.0, self._at - time.monotonic()), threading.TIMEOUT_MAX)

    def check(self) -> None:
        """Raise WaitTimeout once the deadline has passed."""
        if self._at is not None and time.monotonic() >= self._at:
            raise WaitTimeout(f"Not finished after {self.timeout_s:g} s.")


class AbortScope:
    """The sockets of one blocking call, under one abort event and one deadline.

    Args:
        event: ends the call when set; None for a call that only its deadline ends.
        deadline: when the call must be over.
        patient: let a request that is under way come to its end; what ends the call is felt between requests.

    Thread-safety: used by the thread that made it; only the watcher calls ``shut_down``.
    """

    def __init__(
        self, event: threading.Event | None, deadline: Deadline | None = None, *, patient: bool = False
    ) -> None:
        self.event = event
        self.deadline = deadline or Deadline()
        self.patient = patient
        self._sockets: list[socket.socket] = []
        self._watcher: _Watcher | None = None
        self._locks = OwnToEachProcess(threading.Lock)
        self._shut_down = False

    def __enter__(self) -> AbortScope:
        self.check()
        if self.event is not None:
            self._watcher = _watch(self, self.event)
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._watcher is not None:
            _unwatch(self, self._watcher)
        self.release()

    @contextlib.contextmanager
    def active(self) -> Iterator[None]:
        """Take in the sockets this thread uses inside the block."""
        previous = current_scope()
        _thread.scope = self
        try:
            yield
        finally:
            _thread.scope = previous

    @contextlib.contextmanager
    def noticing_the_end(self) -> Iterator[None]:
        """Let an abort or the deadline explain what a blocking call ended with, data included."""
        try:
            yield
        except ConnectionFailed:
            self.check()
            raise
        self.check()

    def opened(self, ask: Callable[[], Response]) -> Response:
        """Return the open answer to a request; where the end of the call comes together with it, it is closed.

        Args:
            ask: makes the request, under this scope.

        Raises:
            Aborted, WaitTimeout: as ``check`` does.
            Whatever ``ask`` raises.
        """
        with contextlib.ExitStack() as closing:
            with self.noticing_the_end(), self.active():
                answer = closing.enter_context(contextlib.closing(ask()))
            closing.pop_all()
        return answer

    def check(self) -> None:
        """Raise what ends the call.

        Raises:
            Aborted: the event is set, or was while the scope was open.
            WaitTimeout: the deadline passed.
        """
        is_set = self.event is not None and self.event.is_set()
        if is_set:
            _retire(self.event)
        if is_set or self._shut_down:
            raise Aborted("Stopped waiting: the abort event is set.")
        self.deadline.check()

    def pause(self, seconds: float) -> None:
        """Wait, but no longer than until the event is set or the deadline passes; both then raise as ``check`` does."""
        until, event = Deadline(seconds), self.event or threading.Event()
        while (left := until.clip(LONGEST_WAIT_S)) > 0:  # in slices: Ctrl-C on another thread sets no event
            event.wait(self.deadline.clip(left))
            self.check()

    def adopt(self, sock: socket.socket) -> None:
        """Take a socket in; it is shut down right away when the event was set meanwhile."""
        if self.patient:
            return
        with self._locks.get():
            if sock not in self._sockets:
                self._sockets.append(sock)
            late = self._shut_down
        if late:
            _shut_down(sock)

    def let_go(self, sock: socket.socket) -> None:
        """Forget a socket that was taken in."""
        with self._locks.get(), contextlib.suppress(ValueError):  # a patient scope took none
            self._sockets.remove(sock)

    def release(self) -> None:
        """Let go of the sockets taken in so far: somebody else may use them next."""
        with self._locks.get():
            self._sockets.clear()

    def clip(self, timeout_s: tuple[float, float]) -> tuple[float, float]:
        """Return (connect, read) timeouts in seconds that do not outlast the deadline, unless the scope is patient."""
        if self.patient:
            return timeout_s
        connect_s, read_s = (max(SHORTEST_TIMEOUT_S, self.deadline.clip(seconds)) for seconds in timeout_s)
        return connect_s, read_s

    def limit_reads(self, idle_timeout_s: float) -> None:
        """Let the next read block until the deadline, where that comes before the idle timeout that it has already."""
        if self.deadline.timeout_s is None:
            return
        for sock in self._sockets:
            with contextlib.suppress(OSError):  # closed by its owner: the read will say so
                sock.settimeout(max(SHORTEST_TIMEOUT_S, self.deadline.clip(idle_timeout_s)))

    def shut_down(self) -> None:
        """Shut every socket down, so that whoever is blocked on one wakes."""
        with self._locks.get():
            self._shut_down = True
            sockets = list(self._sockets)
        for sock in sockets:
            _shut_down(sock)


def current_scope() -> AbortScope | None:
    """Return the scope that is active on this thread, if any."""
    return getattr(_thread, "scope", None)


def check_scope() -> None:
    """Raise what ends this thread's active scope, as its ``check`` does; do nothing if there is none."""
    scope = current_scope()
    if scope is not None:
        scope.check()


def pause(seconds: float) -> None:
    """Wait on this thread; an abort or the deadline of its active scope ends that, and raises as ``check`` does."""
    (current_scope() or AbortScope(None)).pause(seconds)


def run_unbroken(call: Callable[[], object], scope: AbortScope) -> None:
    """Run a call to its end even if Ctrl-C comes meanwhile, which is then raised after it; a second one is at once.

    It runs on a thread of its own, under the scope.

    Args:
        call: keeps what it finds out by itself.
        scope: a patient one; no request begins after Ctrl-C.

    Raises:
        Whatever the call raises.
    """
    outer = current_scope()
    if outer is not None:  # its pooled connections are used again on the new thread
        outer.release()
    done: Future[object] = Future()

    def run() -> None:
        try:
            with scope.active():
                scope.check()
                done.set_result(call())
        except BaseException as exc:  # handed to whoever waits
            done.set_exception(exc)

    thread = threading.Thread(target=run, name="arkor-unbroken", daemon=True)
    try:
        thread.start()
        done.result()
    except KeyboardInterrupt:
        scope.shut_down()
        if thread.is_alive():  # one that is only coming up finds the scope shut down
            done.exception()
        raise


def _shut_down(sock: socket.socket) -> None:
    # Not sock.shutdown(): on a TLS socket that drops the TLS layer, and a read in another thread gets ciphertext.
    with contextlib.suppress(OSError):  # not connected yet, or closed already
        socket.socket.shutdown(sock, socket.SHUT_RDWR)


class _Watcher(threading.Thread):
    def __init__(self, event: threading.Event) -> None:
        super().__init__(name="arkor-abort", daemon=True)
        self.event = event
        self.scopes: set[AbortScope] = set()

    def run(self) -> None:
        while True:
            fired = self.event.wait(WATCH_PERIOD_S)
            with _watchers_locks.get():
                if fired or not self.scopes:
                    scopes = list(self.scopes)
                    if _watchers.get(id(self.event)) is self:
                        del _watchers[id(self.event)]
                    break
        for scope in scopes:
            scope.shut_down()


def _watch(scope: AbortScope, event: threading.Event) -> _Watcher:
    with _watchers_locks.get():
        watcher = _watchers.get(id(event))
        if watcher is not None:
            watcher.scopes.add(scope)
            return watcher
        watcher = _watchers[id(event)] = _Watcher(event)
        watcher.scopes.add(scope)
        watcher.start()
        return watcher


def _unwatch(scope: AbortScope, watcher: _Watcher) -> None:
    with _watchers_locks.get():
        watcher.scopes.discard(scope)


def _retire(event: threading.Event | None) -> None:
    """Give the event's watcher no more scopes: firing late, it must not end one that began after a ``clear()``."""
    with _watchers_locks.get():
        _watchers.pop(id(event), None)


def _forget_the_parents_watchers() -> None:
    for watcher in _watchers.values():
        # Its thread, which is not here, may have held the lock inside the event: set() would wait for it for ever.
        watcher.event._at_fork_reinit()  # type: ignore[attr-defined]
    _watchers.clear()


after_fork_in_child(_forget_the_parents_watchers)
