"""Rows from the Hugging Face hub, and never from a file of this machine or a URL.

Protocol: docs/protocol.md, "Jobs": ``datasetSource`` of type ``huggingface``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from arkor.data.frames import is_media
from arkor.data.hub_names import check_hub_name
from arkor.errors import DatasetError

Row = dict[str, Any]

_HUB_FILES = "hf://datasets/"


class HubRows:
    """The rows of a split, each read from the disk as it is iterated over; what is null is left out.

    Args:
        rows: the split, of ``datasets``.
    """

    def __init__(self, rows: Any) -> None:
        self._rows = rows

    @property
    def fingerprint(self) -> str:
        """What only a split with the same rows shares."""
        return str(self._rows._fingerprint)  # there is no public name for it

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[Row]:
        return (_without_nulls(dict(row)) for row in self._rows)


def load_hub_rows(source: Mapping[str, Any]) -> HubRows:
    """Load the rows of a split.

    Args:
        source: the ``datasetSource`` object: ``name``, and possibly ``subset`` and ``split``, which is ``train`` if it
            is absent.

    Raises:
        ConfigError: the name is not ``owner/name``, as a job may have that an older backend queued.
        DatasetError: the hub cannot be reached, or has no such data set or split, or the data set refers to files
            outside the hub.
    """
    check_hub_name("dataset_source", str(source["name"]))
    return HubRows(_load_split(str(source["name"]), source.get("subset"), str(source.get("split") or "train")))


def _load_split(name: str, subset: str | None, split: str) -> Any:
    from datasets import load_dataset_builder
    from datasets.exceptions import DatasetNotFoundError

    try:
        builder = load_dataset_builder(name, subset)
        _check_files(name, builder.config.data_files or {})
        builder.download_and_prepare()
        rows: Any = builder.as_dataset(split=split)
        return rows.remove_columns([column for column, kind in rows.features.items() if is_media(kind)])
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


def _check_files(name: str, files: Mapping[str, Sequence[str]]) -> None:
    """Refuse a data set whose files are elsewhere: a folder of that name, or a path or URL in its description."""
    for file in (str(file) for part in files.values() for file in part):
        if not file.startswith(_HUB_FILES) or "::" in file:
            raise DatasetError(name, "refers to a file outside the Hugging Face hub, which is not read")


def _without_nulls(value: Any) -> Any:
    """Drop what is null: a table has a column for every row, where JSONL leaves the key away."""
    if isinstance(value, Mapping):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    return [_without_nulls(item) for item in value] if isinstance(value, list) else value
