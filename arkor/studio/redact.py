"""What the browser is shown of what a backend says: without secrets, and in a form that a browser can read."""

from __future__ import annotations

import json
from typing import Any

from arkor.protocol import wire
from arkor.protocol.secrets import without_tokens


def shown(value: Any) -> Any:
    """Return a JSON value without the tokens of data sets, wherever they are; NaN and infinities become null."""
    return wire.finite(without_tokens(value))


def json_text(value: Any) -> str:
    """Return a JSON value as it is shown, on one line."""
    return json.dumps(shown(value), ensure_ascii=False)
