"""The connections of a download: to public hosts alone where that is asked for, and none after a time.

A host is looked up once. All its addresses are checked, and one of those that were checked is connected to, so that a
second answer of the name server changes nothing. The ``Host`` header, TLS's SNI and the check of the certificate go by
the name.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import socket
import threading
from typing import Any

import urllib3
from requests.adapters import HTTPAdapter
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError

from arkor.backend.addresses import WAYS_OUT, is_public, resolve

log = logging.getLogger("arkor.worker")


class NotPublic(Exception):
    """A URL leads to a host that is not, or may not be, on the public internet; the text says what to do."""


class Dialer:
    """Opens the connections of one download, and breaks them off when its time is up. Thread-safe.

    Args:
        public_only: refuse hosts with an address that is not public, and proxies.
        total_s: seconds from now on until the connections are broken off, above 0.
    """

    def __init__(self, *, public_only: bool, total_s: float) -> None:
        self.public_only = public_only
        self.is_late = False
        self._lock = threading.Lock()
        self._twins: list[socket.socket] = []
        self._timer = threading.Timer(total_s, self._break_off)
        self._timer.daemon = True
        self._timer.start()

    def check(self, host: str, port: int) -> list[str]:
        """Return the addresses to connect to, or the host itself where every host is allowed.

        Raises:
            NotPublic: one of the addresses is not public.
            socket.gaierror: there is no such host.
        """
        if not self.public_only:
            return [host]
        addresses = resolve(host.strip("[]"), port)
        private = [str(address) for address in addresses if not is_public(address)]
        if private:
            # The address is for the operator: a client could explore the network's names with it.
            log.warning("%s has an address that is not public: %s", host, private[0])
            raise NotPublic(f"is not fetched: the host {host} has an address that is not public; {WAYS_OUT}")
        return [str(address) for address in addresses]

    def watch(self, sock: socket.socket) -> None:
        """Break a connection off when the time is up.

        Raises:
            TimeoutError: it is up already.
        """
        with self._lock:
            if self.is_late:
                sock.close()
                raise TimeoutError
            # TLS takes the socket over and gives a new one: a second handle can be shut down at any moment.
            self._twins.append(sock.dup())

    def let_go(self) -> None:
        """Give up the second handles of connections that are closed."""
        with self._lock:
            while self._twins:
                self._twins.pop().close()

    def close(self) -> None:
        """End the clock."""
        self._timer.cancel()
        self._timer.join()
        self.let_go()

    def _break_off(self) -> None:
        with self._lock:
            self.is_late = True
            for twin in self._twins:
                with contextlib.suppress(OSError):  # closed by the other side already
                    twin.shutdown(socket.SHUT_RDWR)


class DialingAdapter(HTTPAdapter):
    """An adapter that opens its connections through a dialer.

    Args:
        dialer: opens them.
    """

    def __init__(self, dialer: Dialer) -> None:
        self._dialer = dialer
        self._pools: dict[str, Any] = {
            "http": functools.partial(_HTTPPool, dialer=dialer),
            "https": functools.partial(_HTTPSPool, dialer=dialer),
        }
        super().__init__()

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """Make the pools of direct connections."""
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = self._pools

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        """Return the pools of connections through a proxy.

        Raises:
            NotPublic: the proxy would look up the host, so that nobody checks its address.
        """
        if self._dialer.public_only:
            raise NotPublic(
                "is not fetched: this backend reaches the URL through a proxy, so it cannot check that the host is "
                f"public; {WAYS_OUT}"
            )
        manager = super().proxy_manager_for(proxy, **kwargs)
        if not proxy.lower().startswith("socks"):
            manager.pool_classes_by_scheme = self._pools
        return manager


class _HTTPConnection(urllib3.connection.HTTPConnection):
    def __init__(self, *args: Any, dialer: Dialer, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._dialer = dialer

    def _new_conn(self) -> socket.socket:
        host = self._dns_host
        try:
            addresses = self._dialer.check(host, self.port)
        except socket.gaierror as exc:
            raise NameResolutionError(self.host, self, exc) from exc
        try:
            sock = self._first_of(addresses)
        finally:
            self._dns_host = host
        self._dialer.watch(sock)
        return sock

    def _first_of(self, addresses: list[str]) -> socket.socket:
        *others, last = addresses
        for address in others:
            self._dns_host = address
            with contextlib.suppress(NewConnectionError, ConnectTimeoutError):
                return super()._new_conn()
        self._dns_host = last
        return super()._new_conn()


class _HTTPSConnection(_HTTPConnection, urllib3.connection.HTTPSConnection):
    pass


class _HTTPPool(urllib3.HTTPConnectionPool):
    ConnectionCls = _HTTPConnection


class _HTTPSPool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _HTTPSConnection
