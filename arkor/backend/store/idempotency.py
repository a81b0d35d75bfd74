"""Requests that may be repeated: a key names one, and a hash tells a repeat from another request under the key.

Protocol: docs/protocol.md: ``Idempotency-Key``.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any


class KeyReused(Exception):
    """An idempotency key came with another request than the first time."""


def request_hash(asked: Any) -> str:
    """Return the SHA-256 of what was asked for, a JSON value, as hexadecimal digits."""
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()
