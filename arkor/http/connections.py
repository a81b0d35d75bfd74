"""Connections that another thread can break off: each hands its socket to the abort scope of whoever uses it."""

from __future__ import annotations

import contextlib
import socket
from typing import Any

import urllib3
from requests.adapters import HTTPAdapter

from arkor.http.abort import current_scope

CONNECT_TIMEOUT_S = 10.0


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

    def connect(self) -> None:
        super().connect()
        self._hand_in()

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


class AbortableAdapter(HTTPAdapter):
    """An adapter whose connections can be aborted, also through an HTTP proxy."""

    _pools = {"http": _HTTPPool, "https": _HTTPSPool}  # noqa: RUF012

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
