"""Connections that another thread can break off: each hands its socket to the abort scope of whoever uses it.

A forked process gives up its copies of the parent's connections: two readers of one would each get a part, and the
backend would see the parent leave only when the child has left too.
"""

from __future__ import annotations

import contextlib
import functools
import os
import socket
import weakref
from collections.abc import Callable
from typing import Any

import urllib3
from requests.adapters import HTTPAdapter

from arkor.http.abort import current_scope
from arkor.system.forks import after_fork_in_child

CONNECT_TIMEOUT_S = 10.0

# Looks at a connection before its first request, and raises OSError to refuse it.
PeerCheck = Callable[[socket.socket], None]

_sockets: weakref.WeakSet[socket.socket] = weakref.WeakSet()


class StrangeServer(OSError):
    """A connection leads to another program than the one that is looked for."""


class _AbortableMixin(urllib3.connection.HTTPConnection):
    """A connection that hands its socket to the abort scope of the thread that uses it."""

    def _new_conn(self) -> socket.socket:
        if current_scope() is None:
            return super()._new_conn()  # type: ignore[no-any-return, misc, unused-ignore]
        try:
            return _connect(self._dns_host, self.port, self.timeout, self.socket_options)
        except socket.gaierror as exc:
            raise urllib3.exceptions.NameResolutionError(self.host, self, exc) from exc
        except TimeoutError as exc:
            raise urllib3.exceptions.ConnectTimeoutError(self, f"timed out after {self.timeout} s") from exc
        except OSError as exc:
            raise urllib3.exceptions.NewConnectionError(self, f"failed to connect: {exc}") from exc

    check_peer: PeerCheck | None = None

    def connect(self) -> None:
        super().connect()
        if isinstance(self.sock, socket.socket):  # not in TLS through a proxy that speaks TLS itself
            _sockets.add(self.sock)
        self._hand_in()
        if self.check_peer is not None:
            self._check(self.check_peer)

    def _check(self, check_peer: PeerCheck) -> None:
        try:
            check_peer(self.sock)
        except OSError as exc:
            self.close()
            raise urllib3.exceptions.NewConnectionError(self, f"was not accepted: {exc}") from exc

    def request(self, *args: Any, **kwargs: Any) -> None:
        self._hand_in()
        super().request(*args, **kwargs)

    def _hand_in(self) -> None:
        scope = current_scope()
        if scope is not None and self.sock is not None:
            scope.adopt(self.sock)


def _connect(host: str, port: int, timeout_s: Any, options: Any) -> socket.socket:
    """Connect as urllib3 does, but register each socket before it blocks in connect()."""
    scope = current_scope()
    assert scope is not None
    last: OSError | None = None
    for family, kind, protocol, _, address in socket.getaddrinfo(host.strip("[]"), port, 0, socket.SOCK_STREAM):
        scope.check()
        sock = socket.socket(family, kind, protocol)
        try:
            for option in options or ():
                sock.setsockopt(*option)
            sock.settimeout(timeout_s if isinstance(timeout_s, (int, float)) else CONNECT_TIMEOUT_S)
            scope.adopt(sock)
            sock.connect(address)
        except BaseException as exc:  # Ctrl-C, too, leaves no socket behind
            sock.close()
            if not isinstance(exc, OSError):
                raise
            last = exc
        else:
            return sock
    raise last or OSError("no address to connect to")


def _give_up_the_parents_sockets() -> None:
    """Put the null device in place of the connections that this process was born with.

    To close them could send TLS's goodbye, or free a number that OpenSSL would go on reading from.
    """
    with contextlib.suppress(OSError):  # no descriptor is free: they stay, and no new request uses them
        null = os.open(os.devnull, os.O_RDWR)
        for sock in list(_sockets):
            if sock.fileno() >= 0:
                os.dup2(null, sock.fileno(), inheritable=False)
        os.close(null)
    _sockets.clear()


after_fork_in_child(_give_up_the_parents_sockets)


class _AbortableHTTPConnection(_AbortableMixin):
    pass


class _AbortableHTTPSConnection(_AbortableMixin, urllib3.connection.HTTPSConnection):
    _handshake = contextlib.ExitStack()

    def connect(self) -> None:
        with contextlib.ExitStack() as self._handshake:
            super().connect()

    def _new_conn(self) -> socket.socket:
        sock, scope = super()._new_conn(), current_scope()
        if scope is not None:
            # The TLS layer takes the socket over and blocks in its handshake before it gives a new one: until then a
            # second handle is what can be shut down.
            twin = sock.dup()
            self._handshake.callback(twin.close)
            self._handshake.callback(scope.let_go, twin)
            scope.adopt(twin)
        return sock


class _HTTPPool(urllib3.HTTPConnectionPool):
    ConnectionCls = _AbortableHTTPConnection


class _HTTPSPool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _AbortableHTTPSConnection


class _CheckedHTTPPool(_HTTPPool):
    """A pool that lets a check look at each new connection."""

    def __init__(self, *args: Any, check_peer: PeerCheck, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._check_peer = check_peer

    def _new_conn(self) -> Any:
        connection: Any = super()._new_conn()
        connection.check_peer = self._check_peer
        return connection


class AbortableAdapter(HTTPAdapter):
    """An adapter whose connections can be aborted, also through an HTTP proxy."""

    _pools: dict[str, Any] = {"http": _HTTPPool, "https": _HTTPSPool}  # noqa: RUF012

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """Make the pools of direct connections."""
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = self._pools

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        """Return the pools of connections through a proxy."""
        manager = super().proxy_manager_for(proxy, **kwargs)
        if not proxy.lower().startswith("socks"):
            manager.pool_classes_by_scheme = self._pools
        return manager


class CheckedAdapter(AbortableAdapter):
    """An adapter for ``http://`` that lets a check look at each new connection before anything else is sent on it.

    Args:
        check_peer: looks at the connection, and refuses it with an OSError.
        kwargs: as ``HTTPAdapter`` takes them.
    """

    def __init__(self, check_peer: PeerCheck, **kwargs: Any) -> None:
        self._pools = {**self._pools, "http": functools.partial(_CheckedHTTPPool, check_peer=check_peer)}
        super().__init__(**kwargs)
