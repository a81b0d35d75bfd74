"""The tables of an earlier arkor become today's; those of a newer one are left alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("sqlalchemy")

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine, text

from arkor.backend.store import migrating, schema
from arkor.errors import LocalBackendError
from tests.support.databases import database_url


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[Connection]:
    """A writing one to an empty database."""
    engine = create_engine(database_url(tmp_path) or f"sqlite:///{tmp_path / 'empty.sqlite3'}")
    connection = engine.connect()
    yield connection
    connection.close()
    engine.dispose()


def differences(connection: Connection) -> list[object]:
    context = MigrationContext.configure(connection, opts={"compare_server_default": True})
    return list(compare_metadata(context, schema.metadata))


def test_the_migrations_make_the_tables_of_a_new_database(connection: Connection) -> None:
    migrating.upgrade(connection)
    assert differences(connection) == []
    assert connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one() == migrating.HEAD


def test_a_new_database_needs_no_migration(connection: Connection) -> None:
    migrating.bring_up_to_date(connection, "new")
    assert differences(connection) == []
    migrating.bring_up_to_date(connection, "new")
    assert differences(connection) == []


def test_the_last_migration_is_the_one_that_the_server_knows() -> None:
    assert ScriptDirectory(str(Path(migrating.__file__).with_name("migrations"))).get_current_head() == migrating.HEAD


def test_the_tables_of_a_newer_arkor_are_left_alone(connection: Connection) -> None:
    migrating.bring_up_to_date(connection, "ours")
    connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(LocalBackendError, match="ours was written by a newer arkor"):
        migrating.bring_up_to_date(connection, "ours")


def test_the_tables_of_another_program_are_left_alone(connection: Connection) -> None:
    if connection.dialect.name == "sqlite":
        pytest.skip("a SQLite file in the data folder is arkor's")
    connection.execute(text("CREATE TABLE jobs (id INTEGER)"))
    with pytest.raises(LocalBackendError, match="another program"):
        migrating.bring_up_to_date(connection, "theirs")
