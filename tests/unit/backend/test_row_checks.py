"""Checking rows in a process of its own: the same verdicts, within limits."""

from __future__ import annotations

import contextlib
import io
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import psutil
import pytest

from arkor.backend import row_checks
from arkor.backend.row_checks import SMALL_BYTES, RowChecks
from arkor.data.jsonl import check_rows
from arkor.errors import DatasetError
from arkor.serving.refusal import Refusal
from tests.support.eventually import eventually
from tests.support.processes import descendants

ROW = b'{"text": "a row"}\n'
MANY = ROW * (SMALL_BYTES // len(ROW) + 1)


@pytest.fixture
def checks() -> Iterator[RowChecks]:
    checks = RowChecks()
    yield checks
    checks.close()


def counted(checks: RowChecks, content: bytes, folder: Path) -> int:
    """Check a file of rows."""
    (folder / "rows").write_bytes(content)
    with (folder / "rows").open("rb") as file:
        return checks.count(file, len(content))


def problem(checks: RowChecks, content: bytes, folder: Path) -> DatasetError:
    with pytest.raises(DatasetError) as raised:
        counted(checks, content, folder)
    return raised.value


def test_rows_are_counted(checks: RowChecks, tmp_path: Path) -> None:
    """However many there are."""
    assert counted(checks, ROW * 3, tmp_path) == 3
    assert counted(checks, MANY, tmp_path) == MANY.count(b"\n")


@pytest.mark.parametrize("bad", [b"{broken\n", b'{"text": ""}\n' * 30, b'{"text": "\xff"}\n' + b"\n\n[]\n"])
def test_bad_rows_are_told_as_they_are_in_this_process(checks: RowChecks, tmp_path: Path, bad: bytes) -> None:
    """Word for word, with the same numbers."""
    with pytest.raises(DatasetError) as here:
        check_rows("The data set", io.BytesIO(MANY + bad))
    there = problem(checks, MANY + bad, tmp_path)
    assert (str(there), there.problems, there.more) == (str(here.value), here.value.problems, here.value.more)


def test_a_small_data_set_needs_no_process(checks: RowChecks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is checked at once."""

    def start(*_: Any, **__: Any) -> None:
        raise AssertionError("a process was started")

    monkeypatch.setattr(row_checks, "child", start)
    assert counted(checks, ROW, tmp_path) == 1
    with pytest.raises(AssertionError, match="a process"):
        counted(checks, MANY, tmp_path)


@pytest.mark.skipif(sys.platform != "linux", reason="macOS does not limit the memory of a process")
def test_a_row_that_would_take_all_memory_is_refused(checks: RowChecks, tmp_path: Path) -> None:
    """Sixteen MiB of small objects become half a GB."""
    row = b'{"text": [' + b'{"":0},' * 2_390_000 + b"[]]}\n"
    error = problem(checks, ROW + row, tmp_path)
    assert error.problems == ((2, "takes more than 512 MiB of memory to be checked: make smaller rows of it"),)


def test_a_check_that_takes_too_long_ends(checks: RowChecks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bad rows without number take long; the time is that of the processor."""
    monkeypatch.setattr(row_checks, "_LEAST_S", 1)
    monkeypatch.setattr(row_checks, "_BYTES_A_SECOND", 10**9)
    error = problem(checks, b"x\n" * 10_000_000, tmp_path)
    assert str(error) == "The data set: its rows take more than 1 s of processor time to be checked"


@pytest.fixture
def endless() -> Iterator[IO[bytes]]:
    """Rows of which no more come."""
    reader, writer = os.pipe()
    with os.fdopen(reader, "rb") as file, os.fdopen(writer, "wb"):
        yield file


def running() -> list[psutil.Process]:
    """Return the checks of this process."""
    return descendants(psutil.Process(), "arkor.backend.row_check")


@contextlib.contextmanager
def refused(checks: RowChecks, file: IO[bytes]) -> Iterator[list[Refusal]]:
    """Check rows during the block; the list gets the refusal that ends it."""
    raised: list[Refusal] = []

    def check() -> None:
        try:
            checks.count(file, SMALL_BYTES + 1)
        except Refusal as exc:
            raised.append(exc)

    thread = threading.Thread(target=check)
    thread.start()
    eventually(running, "the check runs")
    yield raised
    thread.join(15.0)
    assert running() == []


def test_a_check_has_a_low_priority_and_ends_with_the_backend(checks: RowChecks, endless: IO[bytes]) -> None:
    """Whoever waits for it is told to come back, and so is whoever comes later."""
    with refused(checks, endless) as raised:
        low = min(psutil.Process().nice() + 10, 19)
        eventually(lambda: [process.nice() for process in running()] == [low], "it has a low priority")
        checks.close()
    assert [(exc.status, exc.headers) for exc in raised] == [(503, {"Retry-After": "5"})]
    with pytest.raises(Refusal, match="stopping"):
        checks.count(endless, SMALL_BYTES + 1)


def test_a_check_that_dies_is_told(checks: RowChecks, endless: IO[bytes]) -> None:
    """The rows may be good: the error is the server's."""
    with refused(checks, endless) as raised:
        running()[0].kill()
    assert [exc.status for exc in raised] == [500]
    assert "was killed by signal SIGKILL (often: out of memory)" in str(raised[0])
