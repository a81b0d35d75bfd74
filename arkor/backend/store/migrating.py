"""Bringing the tables of an earlier arkor up to date.

Alembic does it, by the files in ``migrations/versions``. It is loaded only if there is something to do: a new database
gets the tables of ``schema`` at once, and a test makes sure that both ways lead to the same tables.
"""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection, inspect, text

from arkor.backend.store import schema, sqlite_versions
from arkor.errors import LocalBackendError

_FIRST = "0001"
HEAD = "0003"  # the newest file in migrations/versions
MANAGED = 8  # SQLite's user_version since alembic keeps the version; an arkor from before that leaves such a file alone
_MIGRATIONS = Path(__file__).with_name("migrations")


def bring_up_to_date(connection: Connection, name: str) -> None:
    """Make the tables that are missing, and change those of an earlier arkor.

    Args:
        connection: a writing one; nothing is changed if this fails.
        name: what the database is called in an error, without a password.

    Raises:
        LocalBackendError: a newer arkor wrote it, or its tables are of something else.
    """
    found = _version(connection, name)
    if found is None:
        schema.metadata.create_all(connection)
        _stamp(connection, HEAD)
    elif found != HEAD:
        upgrade(connection)
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql(f"PRAGMA user_version = {MANAGED}")


def upgrade(connection: Connection, target: str = "head") -> None:
    """Run the migrations up to one of them; all by default."""
    from alembic import command
    from alembic.config import Config

    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(_MIGRATIONS))
    command.upgrade(config, target)


def _version(connection: Connection, name: str) -> str | None:
    """Return the version of the tables; None if there are none yet."""
    tables = inspect(connection).get_table_names()
    if "alembic_version" in tables:
        found = str(connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one())
        if found > HEAD:
            raise _newer(name, found)
        return found
    if connection.dialect.name == "sqlite":
        return _version_of_file(connection, name)
    if "jobs" in tables:
        raise LocalBackendError(f"{name} has tables of another program: give arkor a database of its own.")
    return None


def _version_of_file(connection: Connection, name: str) -> str | None:
    """Return the version of a SQLite file, once the tables of an arkor without alembic are the last of those."""
    found = connection.exec_driver_sql("PRAGMA user_version").scalar_one()
    if found > sqlite_versions.LAST:
        raise _newer(name, found)
    if not found:  # there are no tables yet
        return None
    sqlite_versions.upgrade(connection, found)
    _stamp(connection, _FIRST)
    return _FIRST


def _stamp(connection: Connection, version: str) -> None:
    connection.execute(text("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL PRIMARY KEY)"))
    connection.execute(text("INSERT INTO alembic_version VALUES (:version)"), {"version": version})


def _newer(name: str, found: object) -> LocalBackendError:
    return LocalBackendError(
        f"{name} was written by a newer arkor (its tables are version {found}, this one knows {HEAD}): upgrade arkor, "
        "or use another data folder or database."
    )
