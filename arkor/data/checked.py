"""Rows that were checked, as JSONL that can be sent.

Protocol: docs/protocol.md, "Datasets".
"""

from __future__ import annotations

import contextlib
import hashlib
import tempfile
import threading
import weakref
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from typing import IO, TYPE_CHECKING, Any, overload

from arkor.data.conversion import Found
from arkor.data.disk_faults import kept_on_disk
from arkor.data.formats import is_preference, row_format, row_problem
from arkor.data.jsonl import DatasetSummary, Tally, read_values, row_line
from arkor.data.parts import Parts
from arkor.data.preferences import preference_problem
from arkor.data.previews import Previewed, PreviewOptions, check_no_options
from arkor.drawing.html import text
from arkor.errors import DatasetError
from arkor.http.abort import check_scope
from arkor.protocol.previews import TokenSummary
from arkor.system.forks import OwnToEachProcess
from arkor.text import one_line

if TYPE_CHECKING:
    from typing import Unpack  # Python 3.11; the type checker alone reads it

CHUNK_BYTES = 64 * 1024
SPOOL_BYTES = 8 * 1024 * 1024


class CheckedDataset(Previewed):
    """Rows that can be trained on, with their bytes at hand; ``arkor.dataset_from`` makes one.

    Args:
        source: what to call the rows in an error.
        file: the rows as JSONL; closed with the data set.
        id: the lowercase hex SHA-256 of that.
        summary: what is in the rows.

    Attributes:
        source: as given.
        id: as given; the same rows in the same order have the same.
        summary: as given.

    Thread-safety: everything but ``close`` may be used from several threads. The bytes go away with the object;
    ``close`` does so earlier, and may be called twice.
    """

    def __init__(self, source: str, file: IO[bytes], id: str, summary: DatasetSummary) -> None:
        self.source = source
        self.id = id
        self.summary = summary
        self._file = file
        self._locks = OwnToEachProcess(threading.Lock)
        self._close = weakref.finalize(self, _close_quietly, file)

    def __repr__(self) -> str:
        return f"CheckedDataset({self.source!r}, rows={self.summary.rows}, id={self.id!r})"

    def _repr_html_(self) -> str:
        return f"<p>{text(one_line(self.source))}</p>{self.summary._repr_html_()}"

    @overload
    def check(self) -> DatasetSummary: ...

    @overload
    def check(self, *, model: str, **options: Unpack[PreviewOptions]) -> TokenSummary: ...

    def check(self, *, model: str | None = None, **options: Any) -> DatasetSummary | TokenSummary:
        """Return what is in the rows; with a model, what it would learn of them.

        Args:
            model: whose tokenizer a backend reads the rows with; None asks no backend.
            options: with a model only, see ``PreviewOptions``.

        Raises:
            ConfigError: an option without a model.
            As ``Previewed.check`` does, with a model.
        """
        if model is not None:
            return super().check(model=model, **options)
        check_no_options(options)
        return self.summary

    def close(self) -> None:
        """Let go of the bytes."""
        self._close()

    def chunks(self) -> Iterator[bytes]:
        """Yield the bytes, from the first one.

        Raises:
            DatasetError: they cannot be read any more.
        """
        position = 0
        while chunk := self._read(position):
            yield chunk
            position += len(chunk)

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield the rows, from the first one.

        Raises:
            DatasetError: they cannot be read any more.
        """
        for _, row, _ in read_values(self._lines()):
            yield row

    def _lines(self) -> Iterator[bytes]:
        rest = b""
        for chunk in self.chunks():
            *lines, rest = (rest + chunk).split(b"\n")
            yield from lines
        yield rest

    def _read(self, position: int) -> bytes:
        try:
            with self._locks.get():  # every reader has a position of its own, the file has one
                self._file.seek(position)
                return self._file.read(CHUNK_BYTES)
        except OSError as exc:
            raise DatasetError(self.source, f"cannot be read: {exc.strerror or exc}") from exc


def survey(source: str, found: Iterable[Found], parts: Parts | None = None) -> DatasetSummary:
    """Check rows, holding one at a time; rows of preferences are good here.

    Args:
        source: what to call them in an error.
        found: the rows, of what JSON has.
        parts: the files that they come from, if there are several.

    Returns:
        What is in them.

    Raises:
        DatasetError: they cannot be trained on.
    """
    writer = _RowWriter(source, None, parts)
    writer.add_all(found)
    return writer.summary()


def write_rows(source: str, found: Iterable[Found], parts: Parts | None = None) -> CheckedDataset:
    """Check rows and keep them in a temporary file without a name, holding one at a time.

    Args:
        source: what to call them in an error.
        found: the rows, of what JSON has.
        parts: the files that they come from, if there are several.

    Raises:
        DatasetError: they cannot be trained on, or the temporary file cannot be written.
    """
    with contextlib.ExitStack() as written:
        file = tempfile.SpooledTemporaryFile(SPOOL_BYTES)  # noqa: SIM115
        written.callback(_close_quietly, file)
        writer = _RowWriter(source, file, parts)
        writer.add_all(found)
        checked = writer.finish(file)
        written.pop_all()
    return checked


class _RowWriter:
    """Writes rows as JSONL, checking each.

    A row is written to the line of its number, so that it has the same number wherever it is spoken of.
    """

    def __init__(self, source: str, file: IO[bytes] | None, parts: Parts | None) -> None:
        self._source = source
        self._file = file
        self._parts = parts
        self._tally = Tally(source, parts.place if parts else None)
        self._digest = hashlib.sha256()
        self._lines = self._size_bytes = 0

    def add_all(self, found: Iterable[Found]) -> None:
        for number, row, known in found:
            check_scope()
            line, reason = (b"", known) if known else row_line(row)
            reason = reason or self._problem(row)
            self._tally.note(number, None if reason else row, reason)
            if not self._tally.bad:
                self._write(b"\n" * (number - self._lines - 1) + line)
                self._lines = number

    def _problem(self, row: Any) -> str | None:
        is_surveyed = self._file is None and isinstance(row, dict) and row_format(row) is None and is_preference(row)
        return preference_problem(row) if is_surveyed else row_problem(row)

    def summary(self) -> DatasetSummary:
        return self._tally.summary(self._size_bytes, self._parts.first_rows if self._parts else None)

    def finish(self, file: IO[bytes]) -> CheckedDataset:
        summary = self.summary()
        with self._on_disk():
            file.flush()
        return CheckedDataset(self._source, file, self._digest.hexdigest(), summary)

    def _write(self, data: bytes) -> None:
        self._digest.update(data)
        self._size_bytes += len(data)
        if self._file is not None:
            with self._on_disk():
                self._file.write(data)

    def _on_disk(self) -> AbstractContextManager[None]:
        advice = ". Free some space, or name another folder with TMPDIR"
        return kept_on_disk(self._source, "cannot be kept in the temporary folder", advice)


def _close_quietly(file: IO[bytes]) -> None:
    with contextlib.suppress(OSError):  # what a full disk did not take is not wanted any more
        file.close()
