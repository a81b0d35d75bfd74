"""The file that says where this user's backend is.

Clients find or start a backend under the lock beside the file; a backend that ends for want of work takes the same
lock, so that no client is handed an address that is about to vanish.
"""

from __future__ import annotations

import json
import os
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil

from arkor.backend.store.database import now
from arkor.protocol.proof import new_secret
from arkor.system.files import file_lock, write_atomically
from arkor.version import __version__


class ServerFile:
    """``server.json``: ``{"url", "pid", "createTime", "version", "startedAt", "secret"}``.

    Args:
        path: the file.

    Attributes:
        secret: proves to clients that this process wrote the file; it is in the file and in no answer.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.secret = new_secret()

    def write(self, url: str) -> None:
        """Say that this process serves at an address.

        Raises:
            OSError: the folder cannot be written.
        """
        body = {
            "url": url,
            "pid": os.getpid(),
            "createTime": psutil.Process().create_time(),
            "version": __version__,
            "startedAt": now(),
            "secret": self.secret,
        }
        write_atomically(self._path, json.dumps(body).encode(), mode=0o600)

    def former_port(self) -> int | None:
        """Return the port that the file names, or None: workers of a backend that died still report there."""
        try:
            return urlsplit(str(self._read().get("url", ""))).port
        except ValueError:
            return None

    def remove_if_ours(self) -> None:
        """Remove the file unless another process has written it since."""
        if self._read().get("pid") == os.getpid():
            self._path.unlink(missing_ok=True)

    def lock(self) -> AbstractContextManager[None]:
        """Hold the lock under which clients find or start a backend."""
        return file_lock(self._path.parent / "lock")

    def _read(self) -> dict[str, Any]:
        try:
            body = json.loads(self._path.read_bytes())
        except (OSError, ValueError):  # none, or not one of ours: as good as none
            return {}
        return body if isinstance(body, dict) else {}
