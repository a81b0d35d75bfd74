"""What ``server.json`` says of this user's own backend, and whether a connection leads to that backend.

On a machine that several people share, the port of a backend that was killed may belong to another user's program by
now. So no token is sent to anything that has not proven, on the same connection, that it knows the file's secret.

Protocol: docs/protocol.md, "The home folder".
"""

from __future__ import annotations

import http.client
import json
import socket
from pathlib import Path
from urllib.parse import urlsplit

import attrs

from arkor.http.connections import StrangeServer
from arkor.http.transport import client_headers, split_base_url
from arkor.protocol import wire
from arkor.protocol.proof import is_proven
from arkor.system.processes import is_alive


@attrs.frozen
class ServerNote:
    """The address of a backend, as it noted it at its start.

    Attributes:
        url: its base URL.
        pid: its process id; 0 if the file has none.
        created_at: when its process was created, in seconds since the epoch.
        secret: what it can prove to know; None if an arkor without proofs wrote the file.
    """

    url: str
    pid: int = 0
    created_at: float = 0.0
    secret: str | None = attrs.field(default=None, repr=False)

    @classmethod
    def read(cls, path: Path) -> ServerNote | None:
        """Return the content of a file; None if there is no file, or it names no address."""
        try:
            body = wire.mapping(json.loads(path.read_bytes()))
        except (FileNotFoundError, ValueError, RecursionError):
            return None
        url, pid, secret = body.get("url"), body.get("pid"), body.get("secret")
        if not isinstance(url, str) or not _is_address(url):
            return None
        return cls(
            url=url,
            pid=pid if type(pid) is int and pid > 0 else 0,
            created_at=wire.number(body.get("createTime")) or 0.0,
            secret=secret if isinstance(secret, str) and secret else None,
        )

    def is_alive(self) -> bool:
        """Say whether the process that wrote the file still runs, as far as the platform says."""
        return self.pid > 0 and is_alive(self.pid, self.created_at)

    def check(self, sock: socket.socket) -> None:
        """Let the other end of a connection prove that it is the backend that wrote the file.

        A backend of an arkor without proofs is trusted as long as its process runs: a port is its process's.

        Args:
            sock: the connection; it is as good as new afterwards.

        Raises:
            StrangeServer: it is another program.
            OSError: it does not answer.
        """
        if self.secret is None:
            if not self.is_alive():
                raise StrangeServer("the process that wrote the address is gone")
            return
        host, port = sock.getpeername()[:2]
        connection = http.client.HTTPConnection(host, port)
        connection.sock = sock
        if not is_proven(connection, "/healthz", client_headers(), self.secret):
            raise StrangeServer("it did not prove that it is this user's backend")


def _is_address(url: str) -> bool:
    try:
        return split_base_url(url).scheme == "http" and bool(urlsplit(url).port)
    except ValueError:  # ConfigError is one
        return False
