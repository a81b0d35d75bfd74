"""Rows that were checked: where their bytes are, and for how long."""

from __future__ import annotations

import gc
import itertools
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from arkor.data import checked
from arkor.data.checked import CheckedDataset
from arkor.data.frames import dataset_from
from arkor.errors import DatasetError
from tests.support.full_disk import largest_file


def content(dataset: CheckedDataset) -> bytes:
    """Return a data set's bytes."""
    return b"".join(dataset.chunks())


def test_one_row_is_held_at_a_time() -> None:
    """The next one is asked for when the last one is written."""
    alive: list[int] = []

    class Row(dict[str, str]):
        def __del__(self) -> None:
            alive.remove(id(self))

    def make() -> Iterator[Row]:
        for _ in range(10):
            row = Row(text="a")
            alive.append(id(row))
            assert len(alive) <= 2
            yield row

    assert dataset_from(make()).summary.rows == 10


@pytest.mark.parametrize("spool", [10, 10_000_000], ids=["on the disk", "in memory"])
def test_the_bytes_are_read_by_several_threads_and_several_times(monkeypatch: pytest.MonkeyPatch, spool: int) -> None:
    """Each reads all of them, at its own pace."""
    monkeypatch.setattr(checked, "SPOOL_BYTES", spool)
    monkeypatch.setattr(checked, "CHUNK_BYTES", 7)
    dataset = dataset_from({"text": str(number)} for number in range(300))
    expected, found = content(dataset), []
    start = threading.Barrier(4)

    def read() -> None:
        start.wait()
        found.append(content(dataset))

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [expected] * 4
    assert expected.endswith(b'{"text":"299"}\n')


def test_the_temporary_file_goes_away_with_the_data_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where nobody closes it, and where its rows are bad; it never has a name."""
    monkeypatch.setattr(checked, "SPOOL_BYTES", 1)
    gc.collect()
    before = _open_files()
    dataset = dataset_from([{"text": "a"}])
    assert _open_files() == before + 1
    del dataset
    assert _open_files() == before
    with pytest.raises(DatasetError):
        dataset_from([{"text": "a"}, {"text": ""}])
    assert _open_files() == before
    dataset = dataset_from([{"text": "a"}])
    dataset.close()
    dataset.close()
    assert _open_files() == before


def _open_files() -> int:
    return sum(1 for _ in Path("/dev/fd").iterdir())


def test_a_full_disk_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """With what to do."""
    monkeypatch.setattr(checked, "SPOOL_BYTES", 1)
    with largest_file(100_000), pytest.raises(DatasetError) as raised:
        dataset_from({"text": "a" * 1_000} for _ in itertools.count())
    assert str(raised.value) == (
        "dataset_from(generator): cannot be kept in the temporary folder: File too large. Free some space, or name "
        "another folder with TMPDIR"
    )


def test_a_data_set_says_what_it_is() -> None:
    """Without its rows, which may be private."""
    dataset = dataset_from([{"text": "secret"}])
    assert repr(dataset) == f"CheckedDataset('dataset_from(list)', rows=1, id={dataset.id!r})"
