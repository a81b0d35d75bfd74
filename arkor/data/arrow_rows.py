"""Rows out of Parquet and Arrow files, and of tables of pyarrow, which only those need to have.

Specification: https://parquet.apache.org/docs/file-format/ and
https://arrow.apache.org/docs/format/Columnar.html#ipc-file-format.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import IO, Any

from arkor.errors import ArkorError, ConfigError, DatasetError

PARQUET = b"PAR1"
ARROW_FILE = b"ARROW1"
ARROW_STREAM = b"\xff\xff\xff\xff"

_SLICE_ROWS = 100

Choose = Callable[[Mapping[str, Any]], Sequence[str]]  # of a row with all columns, those that are read


def read_arrow(file: IO[bytes], head: bytes, source: str, choose: Choose) -> Iterator[Any]:
    """Yield the rows of a file, as mappings.

    Args:
        file: the content, at its beginning.
        head: its first bytes, one of the marks above.
        source: what to call it in an error.
        choose: chooses columns, as for ``rows_of_batches``.

    Raises:
        DatasetError: pyarrow is not installed, or the file cannot be read.
    """
    name = "Parquet" if head.startswith(PARQUET) else "Arrow"
    try:
        module = importlib.import_module("pyarrow.parquet" if name == "Parquet" else "pyarrow.ipc")
        broken = importlib.import_module("pyarrow").ArrowException
    except ImportError as exc:
        raise DatasetError(
            source, f"is {name}, which needs pyarrow: pip install 'arkor[local]', or pyarrow alone"
        ) from exc
    if not file.seekable():
        raise DatasetError(source, f"is {name}, which cannot be read from a pipe: name the file")
    try:
        if name == "Parquet":
            yield from _rows_of_parquet(module.ParquetFile(file), choose)
        elif head.startswith(ARROW_FILE):
            reader = module.open_file(file)
            yield from rows_of_batches(map(reader.get_batch, range(reader.num_record_batches)), choose)
        else:
            yield from rows_of_batches(module.open_stream(file), choose)
    except ConfigError as exc:
        raise DatasetError(source, exc.args[1]) from exc
    except ArkorError:  # it is a ValueError too
        raise
    except (broken, OSError, OverflowError, ValueError) as exc:  # the last two: of a time that Python cannot hold
        raise DatasetError(source, f"cannot be read as {name}: {str(exc).partition(chr(10))[0]}") from exc


def rows_of_batches(batches: Iterable[Any], choose: Choose) -> Iterator[Any]:
    """Yield rows of record batches or tables, as mappings.

    Args:
        batches: them, all with the same columns.
        choose: chooses columns; it gets the first row with all of them, where None stands for what Python cannot read.

    Raises:
        ConfigError: two columns have one name.
    """
    names: Sequence[str] | None = None
    for batch in batches:
        if names is None and batch.num_rows:
            names = choose(_first_row(batch))
        for start in range(0, batch.num_rows, _SLICE_ROWS):
            yield from batch.slice(start, _SLICE_ROWS).select(names).to_pylist()


def check_names(names: Sequence[Any]) -> None:
    """Raise ConfigError if two columns of a table have one name."""
    twice = next((name for place, name in enumerate(names) if name in names[:place]), None)
    if twice is not None:
        raise ConfigError("rows", f"has two columns that are named {twice!r}")


def _rows_of_parquet(parquet: Any, choose: Choose) -> Iterator[Any]:
    """Yield rows; of columns that are not used only the beginning is read."""
    first = next(parquet.iter_batches(batch_size=1), None)
    if first is not None:
        names = choose(_first_row(first))
        yield from rows_of_batches(parquet.iter_batches(batch_size=_SLICE_ROWS, columns=names), lambda _: names)


def _first_row(batch: Any) -> dict[str, Any]:
    check_names(batch.schema.names)
    return {name: _first_value(batch.column(name)) for name in batch.schema.names}


def _first_value(column: Any) -> Any:
    try:
        return column[0].as_py()
    except (ValueError, OverflowError, NotImplementedError):  # such as a time that Python's types cannot hold
        return None
