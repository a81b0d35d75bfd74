"""What a file of rows is, told by its first bytes, and its rows.

Protocol: docs/protocol.md, "Datasets".
"""

from __future__ import annotations

import codecs
import gzip
import io
import zlib
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

from arkor.data.arrow_rows import ARROW_FILE, ARROW_STREAM, PARQUET, read_arrow
from arkor.data.conversion import Converter, Found
from arkor.data.csv_rows import SUFFIXES as CSV_SUFFIXES, read_csv
from arkor.data.json_array import read_array
from arkor.data.jsonl import read_lines, read_values
from arkor.data.table_rows import RowReader
from arkor.errors import DatasetError

GZIP = b"\x1f\x8b"
SUFFIXES = frozenset({".jsonl", ".ndjson", ".json", *CSV_SUFFIXES, ".parquet", ".arrow", ".feather"})

_ARROW = (PARQUET, ARROW_FILE, ARROW_STREAM)
_NO_ROWS = {
    b"\xff\xfe": "is UTF-16, not UTF-8: save it as UTF-8",
    b"\xfe\xff": "is UTF-16, not UTF-8: save it as UTF-8",
    b"PK\x03\x04": "is a zip file, as a workbook is: unpack it, or save the sheet as CSV",
    b"FEA1": "is Feather version 1: save it as version 2, or as Parquet",
}
_SPREAD = (
    "has one JSON value over several lines, where each line must hold a row: write one object a line, or all of them "
    "as an array"
)


def is_jsonl(file: io.BufferedReader, source: str, suffix: str) -> bool:
    """Say whether a file is JSONL, to be sent as it is.

    Args:
        file: the content, at its beginning.
        source: what to call it in an error.
        suffix: ``.csv`` or ``.tsv`` for CSV.

    Raises:
        DatasetError: its first bytes show that it has no rows.
    """
    return _reader(file, source, suffix) is _jsonl


def read_rows_of(file: io.BufferedReader, suffix: str, converter: Converter) -> Generator[Found, None, None]:
    """Yield the rows of a file, made rows of a format; whether they can be trained on is not looked at.

    Args:
        file: the content, at its beginning; it stays open.
        suffix: as for ``is_jsonl``; behind it may stand ``.gz``.
        converter: of this file alone.

    Raises:
        DatasetError: it is no file of rows, or the first row fits no format.
        OSError: it cannot be read.
    """
    yield from _reader(file, converter.source, suffix)(file, suffix, converter)


def inner_suffix(path: Path) -> str:
    """Return the suffix that tells what a file holds, as it is or within gzip."""
    return Path(path.stem).suffix if path.suffix.lower() == ".gz" else path.suffix


_Reader = Callable[[io.BufferedReader, str, Converter], Iterator[Found]]


def _reader(file: io.BufferedReader, source: str, suffix: str) -> _Reader:
    head = file.peek()
    if not head:
        raise DatasetError(source, "is empty")
    if head.startswith(GZIP):
        return _gzip
    if head.startswith(_ARROW):
        return _arrow
    for mark, what in _NO_ROWS.items():
        if head.startswith(mark):
            raise DatasetError(source, what)
    if suffix.lower() in CSV_SUFFIXES:
        return _csv
    text = head.removeprefix(codecs.BOM_UTF8).lstrip()
    if text.startswith(b"["):
        return _array
    if text.partition(b"\n")[0].strip() == b"{" and len(text) > 2:
        raise DatasetError(source, _SPREAD)
    return _jsonl


def _jsonl(file: io.BufferedReader, suffix: str, converter: Converter) -> Iterator[Found]:
    return converter.convert(read_values(read_lines(file)))


def _array(file: io.BufferedReader, suffix: str, converter: Converter) -> Iterator[Found]:
    return converter.convert(read_array(file))


def _csv(file: io.BufferedReader, suffix: str, converter: Converter) -> Iterator[Found]:
    return read_csv(file, suffix, converter)


def _arrow(file: io.BufferedReader, suffix: str, converter: Converter) -> Iterator[Found]:
    reader = RowReader(converter, is_table=True)
    return reader.read(read_arrow(file, file.peek(), converter.source, reader.choose))


def _gzip(file: io.BufferedReader, suffix: str, converter: Converter) -> Iterator[Found]:
    try:
        packed: Any = gzip.GzipFile(fileobj=file)  # the types do not know that it can be buffered
        with io.BufferedReader(packed) as unpacked:
            if unpacked.peek().startswith(GZIP):
                raise DatasetError(converter.source, "is compressed twice: unpack it first")
            yield from read_rows_of(unpacked, suffix, converter)
    except (gzip.BadGzipFile, EOFError, zlib.error) as exc:
        raise DatasetError(converter.source, f"is compressed with gzip, and cut or damaged: {exc}") from exc
