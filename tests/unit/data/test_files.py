"""Files of rows: told what they are, checked, and made ready to be sent."""

from __future__ import annotations

import errno
import gzip
import hashlib
import io
import json
import os
import threading
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from arkor.data import checked
from arkor.data.files import check_file, check_stream, open_rows, open_stream
from arkor.errors import Aborted, DatasetError, WaitTimeout
from arkor.http.abort import AbortScope, Deadline
from arkor.protocol import progress
from tests.support.full_disk import largest_file

ROWS = b'{"text": "a"}\n\n{"text": "bc"}\n'
FORMS = {"rows.jsonl": ROWS, "rows.csv": b"text\na\n\nbc\n", "rows.tsv": b"text\na\nbc\n", "ROWS.CSV": b"text\r\na\r\n"}


def sent(path: Path) -> bytes:
    """Return what would be sent of a file."""
    rows = open_rows(path, path.name)
    try:
        content = b"".join(rows.chunks())
        assert rows.id == hashlib.sha256(content).hexdigest()
        assert rows.summary.size_bytes == len(content)
        assert rows.summary == check_file(path, path.name)
        return content
    finally:
        rows.close()


def error(path: Path) -> str:
    """Return what is told of a file, the same whether it is checked or about to be sent."""
    with pytest.raises(DatasetError) as raised:
        check_file(path, path.name)
    with pytest.raises(DatasetError) as again:
        open_rows(path, path.name)
    assert str(again.value) == str(raised.value)
    assert raised.value.source == path.name
    return str(raised.value)


def test_jsonl_is_sent_as_it_is(tmp_path: Path) -> None:
    """Byte for byte, blank lines included."""
    (tmp_path / "rows.jsonl").write_bytes(ROWS)
    assert sent(tmp_path / "rows.jsonl") == ROWS


@pytest.mark.parametrize("name", ["rows.csv", "rows.tsv", "ROWS.CSV"])
def test_csv_is_sent_as_jsonl_in_which_each_row_keeps_its_line(tmp_path: Path, name: str) -> None:
    """So a row has the same number for this check, for the backend's and for the training."""
    (tmp_path / name).write_bytes(FORMS[name])
    lines = sent(tmp_path / name).splitlines()
    header, *texts = FORMS[name].decode().splitlines()
    assert header == "text"
    assert [json.loads(line)["text"] if line else "" for line in lines] == ["", *texts]


def test_what_can_be_read_only_once_is_sent_too(tmp_path: Path) -> None:
    """A pipe with a name, as a shell makes one of a command's output."""
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(target=lambda: (tmp_path / "pipe").write_bytes(ROWS))
    writer.start()
    rows = open_rows(tmp_path / "pipe", "pipe")
    writer.join()
    assert b"".join(rows.chunks()) == b'{"text":"a"}\n\n{"text":"bc"}\n'
    rows.close()


@pytest.mark.parametrize("suffix", [".jsonl", ".csv"])
def test_a_stream_is_checked_as_a_file_is(tmp_path: Path, suffix: str) -> None:
    """Its kind is told, as it has no name."""
    (tmp_path / "rows").write_bytes(FORMS[f"rows{suffix}"])
    with (tmp_path / "rows").open("rb") as stream:
        assert check_stream(stream, "stdin", suffix).rows == 2
        assert not stream.closed


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("rows.jsonl", b"", "is empty"),
        ("rows.csv", b"", "is empty"),
        ("rows.jsonl", b"\n \r\n", "has no rows"),
        ("rows.csv", b"text\n\n\n", "has no rows"),
        ("rows.csv", b"\n\n", "row 1: is missing: it has to name the columns"),
        ("rows.jsonl", '{"text": "a"}\n'.encode("utf-16"), "is UTF-16, not UTF-8: save it as UTF-8"),
        ("rows.csv", b"\xfe\xff\0t\0e", "is UTF-16, not UTF-8: save it as UTF-8"),
        ("rows.csv", b"PK\x03\x04rest", "is a zip file, as a workbook is: unpack it, or save the sheet as CSV"),
        ("rows.jsonl", b'{"text": "a"}\n{"text": 3}\n', "1 row cannot be trained on\n  row 2: text must not be empty"),
        ("rows.csv", b"text\na\n\n \n", "1 row cannot be trained on\n  row 4: text must not be empty"),
        ("rows.csv", b'messages\n"[{""role"": ""user"", ""content"": ""\\ud83d""}]"\n', "holds half a character"),
        ("rows.csv", b"messages\n[1e999]\n", "row 2: holds a number that JSON cannot hold"),
    ],
)
def test_a_file_that_cannot_be_trained_on_is_told(tmp_path: Path, name: str, content: bytes, says: str) -> None:
    """What it is, and what to do."""
    (tmp_path / name).write_bytes(content)
    assert error(tmp_path / name).startswith(f"{name}: ")
    assert says in error(tmp_path / name)


def test_plain_json_with_one_object_a_line_is_jsonl(tmp_path: Path) -> None:
    """The content decides, not the name."""
    (tmp_path / "rows.json").write_bytes(ROWS)
    assert sent(tmp_path / "rows.json") == ROWS


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As it was given and in full, with the reason."""
    assert error(tmp_path / "rows.jsonl") == (
        f"rows.jsonl: cannot be read: No such file or directory ({tmp_path}/rows.jsonl)"
    )

    def denied(*_: Any) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(Path, "open", denied)  # the tests may run as root, who may read everything
    assert error(tmp_path / "rows.jsonl").startswith("rows.jsonl: cannot be read: Permission denied (")


@pytest.mark.parametrize("spool", [0, 10_000_000])
def test_a_full_disk_is_told_where_csv_is_converted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spool: int
) -> None:
    """It is the temporary folder's; where all fits into memory, no disk is needed."""
    monkeypatch.setattr(checked, "SPOOL_BYTES", spool or 1)
    (tmp_path / "rows.csv").write_text("text\n" + f"{'a' * 100}\n" * 5_000)
    with largest_file(100_000):
        if spool:
            assert sent(tmp_path / "rows.csv")
            return
        with pytest.raises(DatasetError) as raised:
            open_rows(tmp_path / "rows.csv", "rows.csv")
    assert "rows.csv: cannot be kept in the temporary folder: File too large" in str(raised.value)


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.csv"])
def test_memory_stays_flat_however_large_a_file_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Rows are held one at a time."""
    monkeypatch.setattr(checked, "SPOOL_BYTES", 100_000)
    row = b"%s\n" % (b"x" * 4_000) if name == "rows.csv" else b'{"text": "%s"}\n' % (b"x" * 4_000)
    (tmp_path / name).write_bytes(b"text\n" * (name == "rows.csv") + row * 4_000)
    tracemalloc.start()
    try:
        rows = open_rows(tmp_path / name, name)
        size = sum(map(len, rows.chunks()))
        peak = tracemalloc.get_traced_memory()[1]
        rows.close()
    finally:
        tracemalloc.stop()
    assert size > 16_000_000
    assert peak < 5_000_000


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from(["rows.jsonl", "rows.csv"]),
    st.sampled_from([b"", b"text\n", b'{"text": "a"}\n', b"\xef\xbb\xbf"]),
    st.binary(max_size=40),
)
def test_whatever_the_bytes_a_file_is_good_or_there_is_a_reason(
    tmp_path: Path, name: str, start: bytes, content: bytes
) -> None:
    """No other error leaves the check."""
    (tmp_path / name).write_bytes(start + content)
    try:
        sent(tmp_path / name)
    except DatasetError:
        assert error(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "start"),
    [("rows.jsonl", b""), ("rows.csv", b"text\n"), ("rows.csv", b'text\n"a"'), ("rows.csv", b"")],
)
def test_a_file_without_a_line_end_is_refused_in_bounded_memory(tmp_path: Path, name: str, start: bytes) -> None:
    """A hole of a gigabyte, as a broken copy leaves one: 16 MiB of it are enough."""
    with (tmp_path / name).open("wb") as file:
        file.write(start)
        file.truncate(1024**3)
    tracemalloc.start()
    text = error(tmp_path / name)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "is longer than 16 MiB, the most that a row may have" in text
    assert most < 200 * 1024**2


def test_a_csv_record_of_many_lines_is_as_long_as_a_row_may_be(tmp_path: Path) -> None:
    """Each line is short, and each field; together they are one record."""
    (tmp_path / "rows.csv").write_bytes(b"text\na\n" + b'"%b\n",' % (b"x" * 1020) * 20_000)
    assert "row 3: is longer than 16 MiB" in error(tmp_path / "rows.csv")


class Endless(io.RawIOBase):
    """A file without end, which does something whenever it is read."""

    def __init__(self, line: bytes, on_read: Callable[[], object]) -> None:
        self._line = line
        self._on_read = on_read

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return 0

    def seek(self, _offset: int, _whence: int = 0) -> int:
        return 0

    def readinto(self, buffer: Any) -> int:
        self._on_read()
        buffer[: len(self._line)] = self._line
        return len(self._line)


@pytest.mark.parametrize(("line", "suffix"), [(b'{"text": "a"}\n', ".jsonl"), (b"text\n", ".csv")])
def test_the_end_of_a_call_ends_the_reading_of_a_file(line: bytes, suffix: str) -> None:
    """An abort or the deadline, and neither is taken for a file that cannot be read."""
    abort = threading.Event()
    raw: Any = Endless(line, abort.set)
    file = io.BufferedReader(raw)
    with AbortScope(abort) as limits, limits.active(), pytest.raises(Aborted):
        open_stream(file, "rows", suffix)
    assert file.closed
    raw = Endless(line, lambda: None)
    with AbortScope(None, Deadline(0)).active(), pytest.raises(WaitTimeout):
        open_stream(io.BufferedReader(raw), "rows", suffix)


FILES = {
    "a.jsonl": b'{"text": "a"}\n' * 9_000,
    "b.csv": b"text\n" + b"a\n" * 9_000,
    "c.jsonl.gz": gzip.compress(b"".join(b'{"text": "%d"}\n' % number for number in range(9_000)), mtime=0),
}


@pytest.mark.parametrize("read", [check_file, open_rows])
@pytest.mark.parametrize("name", [*FILES, "."])
def test_it_is_told_how_much_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, read: Callable[..., Any]
) -> None:
    """In bytes of the files as they are, of all of them together; what the function raises ends the reading."""
    monkeypatch.setattr(progress, "PERIOD_S", 0.0)
    for other, content in FILES.items():
        (tmp_path / other).write_bytes(content)
    total = sum(map(len, FILES.values())) if name == "." else len(FILES[name])
    told: list[tuple[int, int | None]] = []
    read(tmp_path / name, name, on_progress=lambda *report: told.append(report))
    assert told == sorted(told)
    assert (told[0][0] < total, told[-1]) == (True, (total, total))

    def fail(_done: int, _total: int | None) -> None:
        raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        read(tmp_path / name, name, on_progress=fail)


def test_of_a_pipe_nothing_is_told(tmp_path: Path) -> None:
    """Nobody knows how much comes."""
    os.mkfifo(tmp_path / "rows")
    writing = threading.Thread(target=(tmp_path / "rows").write_bytes, args=(ROWS,))
    writing.start()
    assert check_file(tmp_path / "rows", "rows", on_progress=lambda *_: pytest.fail("it was told")).rows == 2
    writing.join()
