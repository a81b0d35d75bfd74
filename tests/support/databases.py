"""The database of each test: a SQLite file, or with ``ARKOR_TEST_DATABASE=postgresql`` one of a PostgreSQL server.

The server is a real one, in a folder of its own, on a socket in that folder. It is started for the first test of
a process that needs it, and ended with the process.
"""

from __future__ import annotations

import atexit
import functools
import hashlib
import importlib.util
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from arkor.backend.store.database import Database
from arkor.backend.store.feed import Feed
from arkor.backend.store.opening import open_database
from tests.support.needed import IN_CI, need

_SWITCH = "ARKOR_TEST_DATABASE"
IS_SHARED = os.environ.get(_SWITCH) == "postgresql"
shared_only = pytest.mark.skipif(not IS_SHARED, reason="needs PostgreSQL: make test-postgresql")
sqlite_only = pytest.mark.skipif(IS_SHARED, reason="looks into the SQLite file")
_DEBIAN = Path("/usr/lib/postgresql")  # which has them on nobody's path
_QUICK = ("fsync=off", "max_connections=300", "listen_addresses=''", "timezone=UTC")


def database_url(folder: Path) -> str | None:
    """Return the address of the database of a backend with this data folder; None for its SQLite file."""
    return postgresql_url(folder) if IS_SHARED else None


def open_for(folder: Path, feed: Feed | None = None, name: str = "backend.sqlite3") -> Database:
    """Open the database of a backend with this data folder."""
    return open_database(database_url(folder), folder / name, feed or Feed())


@functools.cache
def postgresql_url(folder: Path) -> str:
    """Return the address of the database of a backend with this data folder on this process's PostgreSQL server."""
    name = "t" + hashlib.sha256(str(folder).encode()).hexdigest()[:16]
    return server().create(name)


def require_postgresql() -> None:
    """Skip a test where PostgreSQL is not installed, or fail it where the database of tests is to be one of it."""
    is_there = importlib.util.find_spec("psycopg") is not None and _find("initdb") is not None
    need(is_there, "PostgreSQL is not installed: apt-get install postgresql", is_wanted=IS_SHARED or IN_CI)


@functools.cache
def server() -> PostgresServer:
    """Return the server of this process."""
    started = PostgresServer()
    atexit.register(started.stop)
    return started


class PostgresServer:
    """A PostgreSQL server of its own."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="arkor-pg-"))
        self._user: str | None = None
        if os.geteuid() == 0:  # PostgreSQL does not run as root
            self._user = "postgres"
            shutil.chown(self._folder, self._user)
        self._data = self._folder / "data"
        self._run("initdb", "-D", str(self._data), "-A", "trust", "-U", "arkor", "-E", "UTF8", "--locale=C", "-N")
        self.start()

    def start(self) -> None:
        """Start it, and return when it answers."""
        options = " ".join(f"-c {option}" for option in (*_QUICK, f"unix_socket_directories={self._folder}"))
        log = str(self._folder / "log")
        self._run("pg_ctl", "-D", str(self._data), "-w", "-l", log, "-o", options, "start")

    def stop(self) -> None:
        """End it, and remove its folder."""
        self.end()
        shutil.rmtree(self._folder, ignore_errors=True)

    def end(self) -> None:
        """End it at once; every connection is cut."""
        self._run("pg_ctl", "-D", str(self._data), "-w", "-m", "immediate", "stop")

    def sql(self, statement: str, database: str = "postgres") -> str:
        """Run a statement, and return what it says."""
        return self._run("psql", "-h", str(self._folder), "-U", "arkor", "-qAtc", statement, database)

    def create(self, name: str) -> str:
        """Create a database, and return its address."""
        self.sql(f'CREATE DATABASE "{name}"')
        return f"postgresql+psycopg://arkor@/{name}?host={self._folder}"

    def _run(self, program: str, *arguments: str) -> str:
        command = [str(_program(program)), *arguments]
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=60,
            cwd=self._folder,
            user=self._user,
            group=self._user,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.strip()


def _program(name: str) -> Path:
    found = _find(name)
    assert found is not None, f"{name} is not installed: apt-get install postgresql"
    return found


def _find(name: str) -> Path | None:
    on_path = shutil.which(name)
    return Path(on_path) if on_path else max(_DEBIAN.glob(f"*/bin/{name}"), default=None)
