"""The database's last resort."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

import pytest

pytest.importorskip("sqlalchemy")

import psutil
from sqlalchemy import create_engine
from sqlalchemy.exc import OperationalError

from arkor.backend.processes.child_engine import ProcessEngine
from arkor.backend.processes.engine import WorkerHandle
from arkor.backend.store import Store, migrating, schema
from arkor.backend.store.database import forget
from arkor.backend.store.feed import Feed
from arkor.backend.store.migrations import baseline
from arkor.backend.store.sqlite import SqliteDatabase


def fail_to_write(database: SqliteDatabase, reason: str) -> None:
    with pytest.raises(OperationalError), database.write():
        raise OperationalError("INSERT", {}, Exception(reason))


def test_a_full_disk_frees_the_reserve_so_that_the_news_of_it_fits(tmp_path: Path) -> None:
    """Any other failure leaves it where it is; the next start makes it anew."""
    path = tmp_path / "backend.sqlite3"
    reserve = path.with_name("backend.sqlite3.reserve")
    database = SqliteDatabase(path, Feed())
    fail_to_write(database, "database is locked")
    assert reserve.stat().st_size >= 1024 * 1024
    fail_to_write(database, "database or disk is full")
    assert not reserve.exists()
    fail_to_write(database, "database or disk is full")
    database.close()
    SqliteDatabase(path, Feed()).close()
    assert reserve.exists()


def _holds(folder: Path, content: str) -> bool:
    return any(content.encode() in path.read_bytes() for path in folder.iterdir())


def _write(database: SqliteDatabase, sql: str, *, forgets: bool = False) -> None:
    with database.write() as connection:
        connection.exec_driver_sql(sql)
        if forgets:
            forget(connection)


def test_what_is_to_be_forgotten_leaves_the_disk(tmp_path: Path) -> None:
    """At once; while somebody reads an older state, with the next change after that."""
    database = SqliteDatabase(tmp_path / "backend.sqlite3", Feed())
    org = "INSERT INTO orgs VALUES ('org', '{0}', 'name')"
    _write(database, org.format("SECRET" * 1000))
    with database.read() as reader:
        reader.exec_driver_sql("SELECT * FROM orgs").all()
        _write(database, "DELETE FROM orgs", forgets=True)
        assert _holds(tmp_path, "SECRET")
    _write(database, org.format("open"))
    assert not _holds(tmp_path, "SECRET")
    _write(database, "UPDATE orgs SET slug = 'SECRET'")
    _write(database, "UPDATE orgs SET slug = 'open'", forgets=True)
    assert not _holds(tmp_path, "SECRET")
    database.close()


def test_what_a_killed_process_did_not_forget_leaves_the_disk_at_the_next_start(tmp_path: Path) -> None:
    """Its write-ahead log was left as it was."""
    (tmp_path / "killed").mkdir()
    database = SqliteDatabase(tmp_path / "backend.sqlite3", Feed())
    _write(database, "INSERT INTO orgs VALUES ('org', 'SECRET', 'name')")
    _write(database, "DELETE FROM orgs")
    for path in tmp_path.glob("backend.sqlite3*"):
        shutil.copy(path, tmp_path / "killed")
    database.close()
    assert _holds(tmp_path / "killed", "SECRET")
    again = SqliteDatabase(tmp_path / "killed" / "backend.sqlite3", Feed())
    assert not _holds(tmp_path / "killed", "SECRET")
    again.close()


def _write_version_7(path: Path) -> None:
    """The last one from before alembic."""
    engine = create_engine(f"sqlite:///{path}")
    baseline.metadata.create_all(engine)
    engine.dispose()


def _to_version_2(database: sqlite3.Connection) -> None:
    later = ("deaths", "batch_size", "pause_requested", "pause_reason", "disk_full_since", "resumed_from_job")
    for column in (*later, "resumed_from_step"):
        database.execute(f"ALTER TABLE jobs DROP COLUMN {column}")
    database.execute("ALTER TABLE jobs DROP COLUMN eval_blob_token")
    database.execute("ALTER TABLE attempts DROP COLUMN pid_start")
    database.execute("ALTER TABLE attempts ADD COLUMN pid_created FLOAT")
    database.execute("ALTER TABLE jobs DROP COLUMN prompt_form")
    database.execute("PRAGMA user_version = 2")


def test_a_worker_that_an_older_version_started_is_taken_over(tmp_path: Path) -> None:
    """It had the process's creation time alone; an attempt whose process was not known has neither."""
    path, own = tmp_path / "backend.sqlite3", psutil.Process()
    _write_version_7(path)
    with sqlite3.connect(path) as old:
        _to_version_2(old)
        names = "id, org_id, project_id, name, status, config, created_at, request_hash, attempt"
        for job_id, pid, created in (("job_1", own.pid, own.create_time()), ("job_2", None, None)):
            old.execute(
                f"INSERT INTO jobs ({names}) VALUES (?, 'org', 'project', 'old', 'running', '{{}}', 'then', 'hash', 1)",
                (job_id,),
            )
            values = (job_id, 1, "hash", pid, created)
            old.execute(
                "INSERT INTO attempts (job_id, number, token_hash, pid, pid_created) VALUES (?, ?, ?, ?, ?)", values
            )
    old.close()
    store = Store(SqliteDatabase(path, Feed()), tmp_path)
    known, unknown = store.queue.running()
    assert known.worker is not None
    assert ProcessEngine("any").is_alive(WorkerHandle(known.worker))
    assert unknown.worker is None
    store.queue.record_worker("job_2", 1, "ray:7")
    assert store.queue.running()[1].worker == "ray:7"
    store.close()


def test_tables_of_an_older_version_get_what_is_new_in_theirs(tmp_path: Path) -> None:
    """Rows stay; a job that was trained before has no progress and no form to tell."""
    path = tmp_path / "backend.sqlite3"
    _write_version_7(path)
    with sqlite3.connect(path) as old:
        _to_version_2(old)
        for column in ("last_step", "last_loss", "last_eval_loss"):
            old.execute(f"ALTER TABLE jobs DROP COLUMN {column}")
        values = "'job_1', 'org', 'project', 'old', 'completed', '{}', 'then', 'hash'"
        names = "id, org_id, project_id, name, status, config, created_at, request_hash"
        old.execute(f"INSERT INTO jobs ({names}) VALUES ({values})")
        old.execute("PRAGMA user_version = 1")
    old.close()
    for _ in range(2):
        database = SqliteDatabase(path, Feed())
        with database.read() as connection:
            row = connection.execute(schema.jobs.select()).one()
            assert connection.exec_driver_sql("PRAGMA user_version").scalar_one() == migrating.MANAGED
        assert (row.name, row.last_step, row.last_loss, row.last_eval_loss) == ("old", None, None, None)
        assert row.prompt_form is None
        assert row.eval_blob_token is None
        assert (row.deaths, row.pause_requested, row.batch_size, row.resumed_from_job) == (0, False, None, None)
        database.close()


def test_a_check_does_not_wait_for_ever_for_another_writer(tmp_path: Path) -> None:
    """It says so, and writes as soon as the other has ended."""
    database = SqliteDatabase(tmp_path / "db.sqlite3", Feed())
    with database.write(), pytest.raises(TimeoutError):
        database.check(0.01)
    database.check(0.01)
    database.close()
