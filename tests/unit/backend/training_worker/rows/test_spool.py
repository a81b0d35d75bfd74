"""Rows on disk, read back as they were."""

from __future__ import annotations

from pathlib import Path

from arkor.backend.training_worker.rows.spool import NumberedRow, Spool, read_row

ROWS = [NumberedRow(number, {"text": "größer" * number, "n": [None, 1.5]}, ("id",)) for number in range(1, 6)]


def test_rows_are_read_back_in_any_order(tmp_path: Path) -> None:
    """Some of them, some of those, or one; the file has no name, so nothing is left behind."""
    spool = Spool(tmp_path)
    for row in ROWS:
        spool.add(row)
    rows = spool.rows()
    assert list(tmp_path.iterdir()) == []
    assert list(rows) == ROWS
    assert (rows[-1], len(rows)) == (ROWS[-1], 5)
    assert list(rows[1:4]) == ROWS[1:4]
    assert list(rows[1:].select([3, 0])) == [ROWS[4], ROWS[1]]
    assert [read_row(raw) for raw in rows.select([2]).raw()] == [ROWS[2]]
    assert list(rows[:0]) == []
