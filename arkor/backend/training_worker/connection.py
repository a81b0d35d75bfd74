"""A worker's connection to its backend. It sends the attempt's token only to a program that has proven to know it.

After a backend was killed, its port may belong to another program, on a shared machine to another user's.

Protocol: docs/protocol.md, "Worker reports".
"""

from __future__ import annotations

import http.client
import json
from collections.abc import Sequence
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from arkor.protocol.proof import attempt_secret, is_proven, port_of, secret_of
from arkor.version import __version__

_CONNECT_TIMEOUT_S = 5.0
_ANSWER_TIMEOUT_S = 10.0
_CLIENT = {"X-Arkor-Client": f"arkor/{__version__}"}


class AnotherProgram(OSError):
    """The program that listens at the backend's address is not the backend."""


class ReportConnection:
    """Sends an attempt's reports over one connection, and over another one if that is lost.

    Args:
        url: the attempt's report address.
        token: the attempt's token.
        attempt: its number.

    Thread-safety: one thread.
    """

    def __init__(self, url: str, token: str, attempt: int) -> None:
        self._address = _address(url)
        self._others: list[_Address] = []
        self._path = urlsplit(url).path
        self._token = token
        self._attempt = attempt
        self._open: http.client.HTTPConnection | None = None

    def know(self, others: Sequence[str]) -> None:
        """Remember the addresses of other servers, which take a report if this one is gone."""
        self._others = [address for address in map(_address, others) if address != self._address]

    def post(self, events: list[dict[str, Any]]) -> tuple[int, str]:
        """Send a report, once; return the status and the text of the answer.

        Raises:
            AnotherProgram: the backend is not there, but another program is.
            OSError, HTTPException: no answer.
        """
        body = json.dumps({"attempt": self._attempt, "events": events}, allow_nan=False)
        headers = {**_CLIENT, "Authorization": f"Bearer {self._token}", "Content-Type": "application/json"}
        try:
            connection = self._connected()
            connection.request("POST", self._path, body.encode(), headers)
            answer = connection.getresponse()
            return answer.status, answer.read().decode(errors="replace")
        except BaseException:
            self.close()
            if self._others:
                self._others.append(self._address)
                self._address = self._others.pop(0)
            raise

    def close(self) -> None:
        """Close the connection."""
        if self._open is not None:
            self._open.close()
            self._open = None

    def _connected(self) -> http.client.HTTPConnection:
        """Return a connection that leads to the backend."""
        if self._open is not None and self._open.sock is not None:  # none after an answer with "Connection: close"
            return self._open
        kind, host, port = self._address
        self._open = connection = kind(host, port, timeout=_CONNECT_TIMEOUT_S)
        connection.connect()
        connection.auto_open = 0  # another connection would have to be proven, too
        connection.sock.settimeout(_ANSWER_TIMEOUT_S)
        path = f"{self._path}?attempt={self._attempt}"
        if not is_proven(connection, path, _CLIENT, attempt_secret(secret_of(self._token), connection.port)):
            raise AnotherProgram("it did not prove that it is the backend")
        return connection


class _Address(NamedTuple):
    kind: type[http.client.HTTPConnection]
    host: str
    port: int


def _address(url: str) -> _Address:
    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    return _Address(kind, str(parts.hostname), port_of(url))
