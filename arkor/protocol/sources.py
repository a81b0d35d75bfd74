"""Where the rows of a job are, or where the adapter of a job without rows comes from.

Protocol: docs/protocol.md, "Jobs", "Importing an adapter".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from arkor.protocol import wire
from arkor.text import one_line

SOURCES = ("datasetSource", "evalDatasetSource")  # wire names of the fields that say where rows are
IMPORTED = "imported"  # the type of the source of a job whose adapter was trained elsewhere: there are no rows


def imported_from(config: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return where the adapter of an imported job comes from: ``name``, and maybe ``revision``.

    Args:
        config: the job's settings in wire names.

    Returns:
        None for a job that trained.
    """
    source = wire.mapping(config.get(SOURCES[0]))
    return source if source.get("type") == IMPORTED else None


def imported_words(config: Mapping[str, Any]) -> str:
    """Return where the adapter of an imported job comes from in words; empty for a job that trained."""
    source = imported_from(config) or {}
    parts = [wire.text(source.get("name")), wire.text(source.get("revision"))]
    return one_line(", revision ".join(filter(None, parts)))


def sources_of(config: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Return the sources of rows that a config in wire names has, by their wire names."""
    return {name: config[name] for name in SOURCES if config.get(name) is not None}
