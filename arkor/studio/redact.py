"""What the browser is shown of what a backend says: without secrets, and such as a browser can read."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any


def shown(value: Any) -> Any:
    """Return a JSON value without the tokens of data sets, wherever they are; NaN and infinities become null."""
    if isinstance(value, Mapping):
        return {key: shown(_without_token(item) if key == "datasetSource" else item) for key, item in value.items()}
    if isinstance(value, list):
        return [shown(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def json_text(value: Any) -> str:
    """Return a JSON value as it is shown, on one line."""
    return json.dumps(shown(value), ensure_ascii=False)


def _without_token(source: Any) -> Any:
    return {key: item for key, item in source.items() if key != "token"} if isinstance(source, Mapping) else source
