"""The database's last resort."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("sqlalchemy")

from sqlalchemy.exc import OperationalError

from arkor.backend.store.database import Database


def fail_to_write(database: Database, reason: str) -> None:
    with pytest.raises(OperationalError), database.write():
        raise OperationalError("INSERT", {}, Exception(reason))


def test_a_full_disk_frees_the_reserve_so_that_the_news_of_it_fits(tmp_path: Path) -> None:
    """Any other failure leaves it where it is; the next start makes it anew."""
    path = tmp_path / "backend.sqlite3"
    reserve = path.with_name("backend.sqlite3.reserve")
    database = Database(path)
    fail_to_write(database, "database is locked")
    assert reserve.stat().st_size >= 1024 * 1024
    fail_to_write(database, "database or disk is full")
    assert not reserve.exists()
    fail_to_write(database, "database or disk is full")
    database.close()
    Database(path).close()
    assert reserve.exists()
