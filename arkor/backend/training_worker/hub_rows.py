"""Rows from the Hugging Face hub."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from arkor.errors import DatasetError

Row = dict[str, Any]


def load_hub_rows(source: Mapping[str, Any], split: Mapping[str, Any]) -> tuple[list[Row], list[Row]]:
    """Load the rows to train on and those held out.

    Args:
        source: the ``datasetSource`` object: ``name``, and possibly ``subset`` and ``split``.
        split: the ``datasetSplit`` object; its ``train`` and ``eval`` name splits.

    Returns:
        (rows to train on, rows held out), the second empty where no split for them is named.

    Raises:
        DatasetError: the hub cannot be reached, or has no such data set or split.
    """
    train = _load(source, str(split.get("train") or source.get("split") or "train"))
    return train, (_load(source, str(split["eval"])) if split.get("eval") else [])


def _load(source: Mapping[str, Any], split: str) -> list[Row]:
    return [_without_nulls(dict(row)) for row in _load_split(str(source["name"]), source.get("subset"), split)]


def _load_split(name: str, subset: str | None, split: str) -> Any:
    from datasets import load_dataset
    from datasets.exceptions import DatasetNotFoundError

    try:
        return load_dataset(name, subset, split=split)
    except DatasetNotFoundError as exc:
        raise DatasetError(
            name, "the hub has no such data set, or it is private: check the name, or set HF_TOKEN for the backend"
        ) from exc
    except (ConnectionError, TimeoutError, OSError) as exc:
        raise DatasetError(
            name, f"the Hugging Face hub cannot be reached from the backend's machine ({type(exc).__name__})"
        ) from exc
    except ValueError as exc:  # an unknown split or subset; the library's text lists those there are
        first_line = str(exc).partition("\n")[0]
        raise DatasetError(name, f"split {split!r} cannot be loaded: {first_line}") from exc


def _without_nulls(value: Any) -> Any:
    """Drop what is null: a table has a column for every row, where JSONL leaves the key away."""
    if isinstance(value, Mapping):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    return [_without_nulls(item) for item in value] if isinstance(value, list) else value
