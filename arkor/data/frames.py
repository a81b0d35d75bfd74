"""Rows that are in memory: DataFrames, tables, and whatever else hands out rows.

No library of tables is imported: what an object can do tells what it is.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Generator, Iterable, Iterator, Mapping
from typing import Any

from arkor.data.arrow_rows import Choose, check_names, rows_of_batches
from arkor.data.checked import CheckedDataset, write_rows
from arkor.data.columns import check_columns
from arkor.data.conversion import Converter, Found, warn_of_unused
from arkor.data.table_rows import RowReader
from arkor.errors import ConfigError

_OF_TABLES = ("iter_rows", "itertuples", "to_pylist", "features")  # polars, pandas, pyarrow, Hugging Face


def dataset_from(rows: Any, *, columns: Mapping[str, str] | None = None) -> CheckedDataset:
    """Check rows that are in memory and make a data set of them, for ``Trainer(dataset=…)``.

    The rows are written to a temporary file without a name, one at a time. It goes away with the data set. The same
    rows give the same bytes, which are not sent twice.

    Args:
        rows: a DataFrame of pandas or polars, a Table of pyarrow, a Dataset of Hugging Face, or any iterable of
            mappings, such as a list or a generator. Numbers and arrays of numpy count as Python's. A cell that is None
            or NaN stands for a key that is absent; in a table that holds for the keys of its structs too. Columns
            that are not used may hold anything; those of a table are left away, with a warning that names them.
        columns: new names of columns by their old ones: ``{"question": "prompt", "answer": "completion"}``. By default
            common names are recognised, with a warning that says so.

    Returns:
        The data set. Several trainers may take it, several times.

    Raises:
        DatasetError: rows cannot be trained on, or the temporary file cannot be written.
        ConfigError: these are no rows.

    Example:
        ``dataset_from(frame, columns={"frage": "prompt", "antwort": "completion"})``
    """
    source = f"dataset_from({type(rows).__name__})"
    with contextlib.closing(_found(rows, Converter(source, check_columns("columns", columns)))) as found:
        return write_rows(source, found)


def is_media(kind: Any) -> bool:
    """Say whether a column of Hugging Face's has images, sound or the like, which reading a row would decode.

    The library opens the file or URL that such a row names.

    Args:
        kind: the column's feature.
    """
    if isinstance(kind, Mapping):
        return any(map(is_media, kind.values()))
    if hasattr(kind, "feature"):  # of a list
        return is_media(kind.feature)
    return hasattr(kind, "decode_example") and type(kind).__name__ != "Json"


def _found(rows: Any, converter: Converter) -> Generator[Found, None, None]:
    reader = RowReader(converter, is_table=any(hasattr(rows, name) for name in _OF_TABLES))
    if hasattr(rows, "remove_columns"):  # Hugging Face
        media = [name for name, kind in (rows.features or {}).items() if is_media(kind)]
        warn_of_unused(converter.source, media, ())
        rows = rows.remove_columns(media)
    yield from reader.read(_rows_of(rows, reader.choose))


def _rows_of(rows: Any, choose: Choose) -> Iterator[Any]:
    """Yield the rows of whatever it is.

    Args:
        rows: it.
        choose: chooses the columns of a table of pyarrow.
    """
    if hasattr(rows, "iter_rows"):  # polars
        return iter(rows.iter_rows(named=True))
    if hasattr(rows, "itertuples"):  # pandas
        return _of_columns(list(rows.columns), rows.itertuples(index=False, name=None))
    if hasattr(rows, "to_pylist") and hasattr(rows, "num_rows"):  # pyarrow
        return rows_of_batches([rows], choose)
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
    check_names(names)
    return (dict(zip(names, row, strict=True)) for row in cells)
