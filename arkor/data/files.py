"""Files of rows on this machine: checked, and made ready to be sent.

Protocol: docs/protocol.md, "Datasets".
"""

from __future__ import annotations

import contextlib
import glob
import hashlib
import io
from collections.abc import Collection, Generator, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from arkor.data.checked import CheckedDataset, survey, write_rows
from arkor.data.containers import SUFFIXES, inner_suffix, is_jsonl, read_rows_of
from arkor.data.conversion import Converter, Found, is_of_a_format
from arkor.data.hub_names import is_hub_name
from arkor.data.jsonl import DatasetSummary, check_rows, read_lines, read_values
from arkor.data.parts import Parts
from arkor.errors import ArkorError, DatasetError
from arkor.http.abort import check_scope
from arkor.protocol.progress import Progress, ProgressReport, raising_as_it_was

T = TypeVar("T")

Columns = Mapping[str, str]
Paths = Path | Sequence[Path]  # a file, a folder or a pattern; or several of them


def check_file(
    path: Paths,
    source: str,
    suffix: str | None = None,
    columns: Columns | None = None,
    *,
    folder: Path | None = None,
    on_progress: Progress | None = None,
) -> DatasetSummary:
    """Check the rows of files, holding one at a time; rows of preferences are good here.

    Args:
        path: the file, or files.
        source: what to call it in an error.
        suffix: ``.csv`` or ``.tsv`` for CSV, any other for what the first bytes say; by default that of its name.
        columns: new names of columns by their old ones.
        folder: where a relative path starts; by default the working directory.
        on_progress: called about ten times a second with how many bytes of the files are read, and of how many.

    Returns:
        What is in it.

    Raises:
        DatasetError: it cannot be read, or its rows cannot be trained on.
    """
    files = _files(path, source, folder)
    reading = _Reading(files.values(), on_progress)
    if len(files) > 1:
        parts = Parts()
        with (
            raising_as_it_was(),
            contextlib.closing(_rows_of_all(files, parts, suffix, columns, reading, may_prefer=True)) as found,
        ):
            return survey(source, found, parts)
    suffix = inner_suffix(files[source]) if suffix is None else suffix
    with raising_as_it_was(), _naming_the_file(source, files[source]), files[source].open("rb") as file:
        return _checked(file, source, suffix, columns, reading)


def check_stream(file: io.BufferedReader, source: str, suffix: str, columns: Columns | None = None) -> DatasetSummary:
    """Check rows, holding one at a time; rows of preferences are good here.

    Args:
        file: the content; it is read once, and stays open.
        source: what to call it in an error.
        suffix: as for ``check_file``.
        columns: as for ``check_file``.

    Returns:
        What is in it.

    Raises:
        DatasetError: they cannot be read, or cannot be trained on.
    """
    with _naming_the_file(source):
        return _checked(file, source, suffix, columns, _Reading())


def open_rows(
    path: Paths,
    source: str,
    suffix: str | None = None,
    columns: Columns | None = None,
    *,
    folder: Path | None = None,
    on_progress: Progress | None = None,
) -> CheckedDataset:
    """Check the rows of files and make them ready to be sent.

    JSONL of a format is sent as it is, and stays open. Everything else, and what can be read only once, is written to
    a temporary file.

    Args:
        path: as for ``check_file``.
        source: what to call it in an error.
        suffix: as for ``check_file``.
        columns: as for ``check_file``.
        folder: as for ``check_file``.
        on_progress: as for ``check_file``.

    Raises:
        DatasetError: it cannot be read, or its rows cannot be trained on.
    """
    files = _files(path, source, folder)
    reading = _Reading(files.values(), on_progress)
    if len(files) > 1:
        parts = Parts()
        with raising_as_it_was(), contextlib.closing(_rows_of_all(files, parts, suffix, columns, reading)) as found:
            return write_rows(source, found, parts)
    suffix = inner_suffix(files[source]) if suffix is None else suffix
    with raising_as_it_was(), _naming_the_file(source, files[source]):
        return _opened(files[source].open("rb"), source, suffix, columns, reading)


def open_stream(file: io.BufferedReader, source: str, suffix: str, columns: Columns | None = None) -> CheckedDataset:
    """Check rows and make them ready to be sent, as ``open_rows`` does.

    Args:
        file: the content, at its beginning; it is closed with the rows, or before.
        source: what to call it in an error.
        suffix: as for ``check_file``.
        columns: as for ``check_file``.

    Raises:
        DatasetError: they cannot be read, or cannot be trained on.
    """
    with _naming_the_file(source):
        return _opened(file, source, suffix, columns, _Reading())


class _Reading:
    """Tells how much of some files is read.

    Args:
        files: all of them.
        on_progress: see ``check_file``.
    """

    def __init__(self, files: Collection[Path] = (), on_progress: Progress | None = None) -> None:
        self._before = 0
        self._report: ProgressReport | None = None
        if on_progress is not None and all(file.is_file() for file in files):  # a pipe has no size
            self._report = ProgressReport(on_progress, sum(file.stat().st_size for file in files))

    def of(self, file: io.BufferedReader, items: Iterable[T]) -> Generator[T, None, None]:
        """Yield what is read from a file."""
        for item in items:
            check_scope()
            if self._report is not None:
                self._report.tell(self._before + file.tell())
            yield item
        if self._report is not None:
            self._before += file.tell()


def _checked(
    file: io.BufferedReader, source: str, suffix: str, columns: Columns | None, reading: _Reading
) -> DatasetSummary:
    if _is_sent_as_it_is(file, source, suffix, columns):
        return check_rows(source, reading.of(file, read_lines(file)))
    with contextlib.closing(_rows_of(file, source, suffix, columns, reading, may_prefer=True)) as found:
        return survey(source, found)


def _opened(
    file: io.BufferedReader, source: str, suffix: str, columns: Columns | None, reading: _Reading
) -> CheckedDataset:
    with contextlib.ExitStack() as opened:
        opened.enter_context(file)
        if not _is_sent_as_it_is(file, source, suffix, columns):
            found = opened.enter_context(contextlib.closing(_rows_of(file, source, suffix, columns, reading)))
            return write_rows(source, found)
        digest = hashlib.sha256()
        summary = check_rows(source, _hashed(reading.of(file, read_lines(file)), digest))
        opened.pop_all()
        return CheckedDataset(source, file, digest.hexdigest(), summary)


def _files(path: Paths, source: str, folder: Path | None) -> dict[str, Path]:
    """Return the files that paths, folders and patterns mean, by what to call them in an error.

    One file that is named, or that does not exist, is called as the source.
    """
    given = [path] if isinstance(path, Path) else list(path)
    found: dict[str, Path] = {}
    for one in given:
        whole = one if folder is None else folder / one
        if whole.is_dir():
            found.update((str(one / file.name), file) for file in _rows_in(whole, source))
        elif not whole.exists() and glob.has_magic(str(one)):
            found.update(
                (str(file), file if folder is None else folder / file) for file in _matching(one, folder, source)
            )
        else:
            found[str(one)] = whole
    return {source: next(iter(found.values()))} if len(found) == 1 else found


def _rows_in(folder: Path, source: str) -> list[Path]:
    with _naming_the_file(source, folder):
        files = [file for file in sorted(folder.iterdir()) if file.is_file() and not file.name.startswith(".")]
    found = [file for file in files if inner_suffix(file).lower() in SUFFIXES]
    if not found:
        known = ", ".join(sorted(SUFFIXES))
        raise DatasetError(
            source, f"is a folder without files of rows ({known}; each may end in .gz): {folder.absolute()}"
        )
    return found


def _matching(pattern: Path, folder: Path | None, source: str) -> list[Path]:
    found = sorted(glob.glob(str(pattern), root_dir=folder, recursive=True))  # noqa: PTH207  # a pattern may be absolute
    files = [Path(one) for one in found if ((folder or Path()) / one).is_file()]
    if not files:
        raise DatasetError(source, f"no file matches {pattern} in {(folder or Path()).absolute()}")
    return files


def _rows_of_all(
    files: Mapping[str, Path],
    parts: Parts,
    suffix: str | None,
    columns: Columns | None,
    reading: _Reading,
    *,
    may_prefer: bool = False,
) -> Generator[Found, None, None]:
    for name, path in files.items():
        with _naming_the_file(name, path), path.open("rb") as file:
            inner = inner_suffix(path) if suffix is None else suffix
            with contextlib.closing(_rows_of(file, name, inner, columns, reading, may_prefer=may_prefer)) as found:
                yield from parts.add(name, found)


def _rows_of(
    file: io.BufferedReader,
    source: str,
    suffix: str,
    columns: Columns | None,
    reading: _Reading,
    *,
    may_prefer: bool = False,
) -> Generator[Found, None, None]:
    converter = Converter(source, columns, may_prefer=may_prefer)
    with contextlib.closing(read_rows_of(file, suffix, converter)) as found:
        yield from reading.of(file, found)


def _is_sent_as_it_is(file: io.BufferedReader, source: str, suffix: str, columns: Columns | None) -> bool:
    """Say whether a file is JSONL whose rows are of a format, by the first of them; it is where it was again."""
    if columns or not file.seekable() or not is_jsonl(file, source, suffix):
        return False
    start = file.tell()
    first = next((row for _, row, _ in read_values(read_lines(file)) if isinstance(row, dict)), None)
    file.seek(start)
    return first is None or is_of_a_format(first)


@contextlib.contextmanager
def _naming_the_file(source: str, path: Path | None = None) -> Iterator[None]:
    try:
        yield
    except ArkorError:  # some of ours are OSErrors too
        raise
    except OSError as exc:
        where = "" if path is None else f" ({path.absolute()})"
        may_be_of_the_hub = isinstance(exc, FileNotFoundError) and is_hub_name(source)
        hint = f"; for a data set of the Hugging Face hub, use HuggingFaceDataset({source!r})" * may_be_of_the_hub
        raise DatasetError(source, f"cannot be read: {exc.strerror or exc}{where}{hint}") from exc


def _hashed(lines: Iterable[bytes], digest: hashlib._Hash) -> Iterator[bytes]:
    for line in lines:
        digest.update(line)
        yield line
