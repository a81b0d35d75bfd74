"""A file of rows on this machine: told what it is, checked, and made ready to be sent.

Protocol: docs/protocol.md, "Datasets".
"""

from __future__ import annotations

import codecs
import contextlib
import hashlib
import io
from collections.abc import Iterable, Iterator
from pathlib import Path

from arkor.data.checked import CheckedDataset, survey, write_rows
from arkor.data.csv_rows import DELIMITERS, read_csv
from arkor.data.jsonl import DatasetSummary, check_rows, read_lines, read_rows
from arkor.errors import ArkorError, DatasetError
from arkor.http.abort import check_scope

_NOT_TEXT = {
    b"\xff\xfe": "is UTF-16, not UTF-8: save it as UTF-8",
    b"\xfe\xff": "is UTF-16, not UTF-8: save it as UTF-8",
    b"\x1f\x8b": "is compressed with gzip: unpack it first",
    b"PK\x03\x04": "is a zip file, as a workbook is: unpack it, or save the sheet as CSV",
    b"PAR1": "is Parquet, not JSONL or CSV: train on arkor.dataset_from(pandas.read_parquet(…))",
}
_ARRAY = (
    "begins with '[', but JSONL is one object a line. Make it that with: jq -c '.[]' {0} > rows.jsonl; or train on "
    "arkor.dataset_from(json.load(open({0!r})))"
)


def check_file(path: Path, source: str, suffix: str | None = None) -> DatasetSummary:
    """Check the rows of a file, holding one at a time.

    Args:
        path: the file.
        source: what to call it in an error.
        suffix: ``.csv`` or ``.tsv`` for CSV, any other for JSONL; by default that of its name.

    Returns:
        What is in it.

    Raises:
        DatasetError: it cannot be read, or its rows cannot be trained on.
    """
    with _naming_the_file(source, path), path.open("rb") as file:
        return check_stream(file, source, path.suffix if suffix is None else suffix)


def check_stream(file: io.BufferedReader, source: str, suffix: str) -> DatasetSummary:
    """Check rows, holding one at a time.

    Args:
        file: the content; it is read once, and stays open.
        source: what to call it in an error.
        suffix: as for ``check_file``.

    Returns:
        What is in it.

    Raises:
        DatasetError: they cannot be read, or cannot be trained on.
    """
    with _naming_the_file(source):
        delimiter = _delimiter(file, source, suffix)
        if delimiter is None:
            return check_rows(source, read_lines(file))
        with contextlib.closing(read_csv(file, delimiter, source)) as found:
            return survey(source, found)


def open_rows(path: Path, source: str, suffix: str | None = None) -> CheckedDataset:
    """Check the rows of a file and make them ready to be sent.

    JSONL is sent as it is, and stays open. CSV, and what can be read only once, is written to a temporary file.

    Args:
        path: the file, as for ``check_file``.
        source: what to call it in an error.
        suffix: as for ``check_file``.

    Raises:
        DatasetError: it cannot be read, or its rows cannot be trained on.
    """
    with _naming_the_file(source, path):
        return _opened(path.open("rb"), source, path.suffix if suffix is None else suffix)


def open_stream(file: io.BufferedReader, source: str, suffix: str) -> CheckedDataset:
    """Check rows and make them ready to be sent, as ``open_rows`` does.

    Args:
        file: the content, at its beginning; it is closed with the rows, or before.
        source: what to call it in an error.
        suffix: as for ``check_file``.

    Raises:
        DatasetError: they cannot be read, or cannot be trained on.
    """
    with _naming_the_file(source):
        return _opened(file, source, suffix)


def _opened(file: io.BufferedReader, source: str, suffix: str) -> CheckedDataset:
    with contextlib.ExitStack() as opened:
        opened.enter_context(file)
        delimiter = _delimiter(file, source, suffix)
        if delimiter is not None:
            return write_rows(source, opened.enter_context(contextlib.closing(read_csv(file, delimiter, source))))
        if not file.seekable():
            return write_rows(source, read_rows(read_lines(file)))
        digest = hashlib.sha256()
        summary = check_rows(source, _hashed(read_lines(file), digest))
        opened.pop_all()
        return CheckedDataset(source, file, digest.hexdigest(), summary)


@contextlib.contextmanager
def _naming_the_file(source: str, path: Path | None = None) -> Iterator[None]:
    try:
        yield
    except ArkorError:  # some of ours are OSErrors too
        raise
    except OSError as exc:
        where = "" if path is None else f" ({path.absolute()})"
        raise DatasetError(source, f"cannot be read: {exc.strerror or exc}{where}") from exc


def _delimiter(file: io.BufferedReader, source: str, suffix: str) -> str | None:
    """Return what stands between two columns, or None for JSONL; refuse what is neither by its first bytes."""
    head, delimiter = file.peek(), DELIMITERS.get(suffix.lower())
    if not head:
        raise DatasetError(source, "is empty")
    for mark, what in _NOT_TEXT.items():
        if head.startswith(mark):
            raise DatasetError(source, what)
    if delimiter is None and head.removeprefix(codecs.BOM_UTF8).lstrip().startswith(b"["):
        raise DatasetError(source, _ARRAY.format(source))
    return delimiter


def _hashed(lines: Iterable[bytes], digest: hashlib._Hash) -> Iterator[bytes]:
    for line in lines:
        check_scope()
        digest.update(line)
        yield line
