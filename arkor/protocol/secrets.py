"""Keeping a data set's token out of what is stored, shown or printed.

Protocol: docs/protocol.md, "Jobs": the config object's ``datasetSource`` and ``evalDatasetSource``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from arkor.protocol.sources import SOURCES


def without_tokens(value: Any, *, instead: str | None = None) -> Any:
    """Return a JSON value without the tokens of its data sets, at any depth.

    Args:
        value: the JSON value; it stays as it is.
        instead: a text to put in a token's place; None leaves the field out.
    """
    if isinstance(value, Mapping):
        items = {key: without_tokens(item, instead=instead) for key, item in value.items()}
        for name in SOURCES:
            source = items.get(name)
            if isinstance(source, dict) and "token" in source:
                rest = {key: item for key, item in source.items() if key != "token"}
                items[name] = rest if instead is None else {**source, "token": instead}
        return items
    return [without_tokens(item, instead=instead) for item in value] if isinstance(value, (list, tuple)) else value
