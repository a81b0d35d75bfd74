"""Addresses from which a browser downloads an artifact: each for one use, within a minute."""

from __future__ import annotations

import secrets
import threading
import time
from collections import OrderedDict

LIFE_S = 60.0
MOST_LINKS = 256
_SECRET_BYTES = 32


class Links:
    """The addresses that were given out and not used yet.

    A browser's own download has no header for the token, so the address is the secret.

    Thread-safety: safe.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: OrderedDict[str, tuple[float, str, str]] = OrderedDict()

    def make(self, job_id: str, name: str) -> str:
        """Return the secret part of a new address for a job's artifact."""
        secret = secrets.token_urlsafe(_SECRET_BYTES)
        with self._lock:
            self._open[secret] = (time.monotonic() + LIFE_S, job_id, name)
            while len(self._open) > MOST_LINKS:
                self._open.popitem(last=False)
        return secret

    def use(self, secret: str) -> tuple[str, str] | None:
        """Return which job's which artifact an address is for; None where it was used, is too old, or never was."""
        with self._lock:
            expires_at, job_id, name = self._open.pop(secret, (0.0, "", ""))
        return (job_id, name) if expires_at > time.monotonic() else None
