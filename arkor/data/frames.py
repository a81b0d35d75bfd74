"""Rows that are in memory: DataFrames, tables, and whatever else hands out rows.

No library of tables is imported: what an object can do tells what it is.
"""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Generator, Iterable, Iterator, Mapping
from typing import Any

from arkor.data.checked import CheckedDataset, Found, write_rows
from arkor.errors import ConfigError

_SLICE_ROWS = 100
_OF_TABLES = ("iter_rows", "itertuples", "to_pylist", "features")  # polars, pandas, pyarrow, Hugging Face
_MISSING = frozenset({"NAType", "NaTType"})  # pandas has three nulls; these two are equal to nothing


def dataset_from(rows: Any) -> CheckedDataset:
    """Check rows that are in memory and make a data set of them, for ``Trainer(dataset=…)``.

    The rows are written to a temporary file without a name, one at a time. It goes away with the data set. The same
    rows give the same bytes, which are not sent twice.

    Args:
        rows: a DataFrame of pandas or polars, a Table of pyarrow, a Dataset of Hugging Face, or any iterable of
            mappings, such as a list or a generator. Numbers and arrays of numpy count as Python's. A cell that is None
            or NaN stands for a key that is absent; in a table that holds for the keys of its structs too.

    Returns:
        The data set. Several trainers may take it, several times.

    Raises:
        DatasetError: rows cannot be trained on, or the temporary file cannot be written.
        ConfigError: these are no rows.
    """
    with contextlib.closing(_found(rows)) as found:
        return write_rows(f"dataset_from({type(rows).__name__})", found)


def _found(rows: Any) -> Generator[Found, None, None]:
    is_table = any(hasattr(rows, name) for name in _OF_TABLES)
    for number, row in enumerate(_rows_of(rows), start=1):
        try:
            plain = _plain_row(row, is_table=is_table)
        except _Unfit as exc:
            yield number, None, str(exc)
        except RecursionError:
            yield number, None, "is nested too deeply"
        else:
            yield number, plain, None


def _rows_of(rows: Any) -> Iterator[Any]:
    """Yield the rows of whatever it is."""
    if hasattr(rows, "iter_rows"):  # polars
        return iter(rows.iter_rows(named=True))
    if hasattr(rows, "itertuples"):  # pandas
        return _of_columns(list(rows.columns), rows.itertuples(index=False, name=None))
    if hasattr(rows, "to_pylist") and hasattr(rows, "num_rows"):  # pyarrow
        return _of_slices(rows)
    if hasattr(rows, "collect"):  # polars' LazyFrame
        raise ConfigError("rows", "are not computed yet: pass what their collect() returns")
    if isinstance(rows, (str, bytes, os.PathLike)):
        raise ConfigError("rows", "must be rows; for the file of a path, train on LocalDataset(path)")
    if isinstance(rows, Mapping):
        raise ConfigError("rows", "must be several mappings, one a row, not one; of a DatasetDict name the split")
    try:
        return iter(rows)
    except TypeError as exc:
        expected = "a DataFrame, a Table, a Dataset or an iterable of mappings"
        raise ConfigError("rows", f"must be {expected}, not {type(rows).__name__}") from exc


def _of_columns(names: list[Any], cells: Iterable[tuple[Any, ...]]) -> Iterator[dict[Any, Any]]:
    _check_columns(names)
    return (dict(zip(names, row, strict=True)) for row in cells)


def _of_slices(table: Any) -> Iterator[Any]:
    _check_columns(table.schema.names)
    for start in range(0, table.num_rows, _SLICE_ROWS):
        yield from table.slice(start, _SLICE_ROWS).to_pylist()


def _check_columns(names: list[Any]) -> None:
    twice = next((name for place, name in enumerate(names) if name in names[:place]), None)
    if twice is not None:
        raise ConfigError("rows", f"has two columns that are named {twice!r}")


class _Unfit(Exception):
    """A value that JSON has nothing for.

    Attributes:
        steps: the keys and places that lead to it, the last first.
    """

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.steps: list[str] = []

    def __str__(self) -> str:
        where = "".join(reversed(self.steps)).removeprefix(".")
        return f"{where}: {self.args[0]}" if where else str(self.args[0])


def _plain_row(row: Any, *, is_table: bool) -> dict[str, Any]:
    """Return a row of what JSON has, without the keys that have no value."""
    if not isinstance(row, Mapping):
        if not hasattr(row, "keys"):  # sqlite3.Row has it, and is no Mapping
            raise _Unfit(f"is of type {type(row).__name__}, not a mapping")
        row = dict(row)
    plain = _plain_mapping(row, is_table=is_table)
    return {key: value for key, value in plain.items() if not _is_missing(value)}


def _plain(value: Any, *, is_table: bool) -> Any:
    """Return a value of what JSON has."""
    if value is None or isinstance(value, (str, int, float)):
        return value
    if isinstance(value, Mapping):
        return _plain_mapping(value, is_table=is_table)
    if isinstance(value, (list, tuple)):
        return [_plain_inside(f"[{place}]", item, is_table=is_table) for place, item in enumerate(value)]
    if type(value).__name__ in _MISSING:
        return None
    as_python = value.tolist() if hasattr(value, "tolist") else value  # numpy's scalars and arrays
    if type(as_python) is type(value):
        raise _Unfit(f"is of type {type(value).__name__}, which JSON does not have: leave it out, or make it a text")
    return _plain(as_python, is_table=is_table)


def _plain_mapping(value: Mapping[Any, Any], *, is_table: bool) -> dict[str, Any]:
    plain = {}
    for key, item in value.items():
        if not isinstance(key, str):
            raise _Unfit(f"has the key {key!r}, which is no text")
        inside = _plain_inside(f".{key}", item, is_table=is_table)
        if not (is_table and _is_missing(inside)):
            plain[key] = inside
    return plain


def _plain_inside(step: str, value: Any, *, is_table: bool) -> Any:
    try:
        return _plain(value, is_table=is_table)
    except _Unfit as exc:
        exc.steps.append(step)
        raise


def _is_missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))
