"""A real self-hosted backend that has one job: it has ended, and logged very much. ``studio.py`` looks at it."""

from __future__ import annotations

import contextlib
import json
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
from sqlalchemy import insert

from arkor.backend.store import schema
from arkor.backend.store.database import Database, digest
from arkor.backend.store.feed import Feed
from arkor.backend.store.sqlite import SqliteDatabase

AT = "2026-01-31T09:30:09.125Z"
PATIENCE_S = 30.0


@contextlib.contextmanager
def self_hosted(data: Path, events: int, token: str, slug: str) -> Iterator[str]:
    """Run the backend on a data folder that is made for it; give its address.

    Args:
        data: the folder.
        events: how many log events ``job_<events>`` has.
        token: whose job it is.
        slug: the name of the organisation, and of the project.
    """
    data.mkdir()
    _fill(SqliteDatabase(data / "backend.sqlite3", Feed()), events, token, slug)
    address, log = data / "server.json", (data / "backend.log").open("w")
    command = [sys.executable, "-m", "arkor.backend", "--data", str(data), "--server-file", str(address)]
    with log, subprocess.Popen(command, stderr=log) as process:
        try:
            deadline = time.monotonic() + PATIENCE_S
            while not address.exists():
                if time.monotonic() > deadline or process.poll() is not None:
                    raise click.ClickException((data / "backend.log").read_text())
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(0.05)
            yield json.loads(address.read_text())["url"]
        finally:
            process.terminate()


def _fill(database: Database, events: int, token: str, slug: str) -> None:
    job_id, owner = f"job_{events}", {"org_id": slug, "project_id": slug}
    last = _event(job_id, events + 1, "training.completed")
    with database.write() as connection:
        connection.execute(insert(schema.orgs).values(id=slug, slug=slug, name=slug))
        connection.execute(
            insert(schema.identities).values(id=slug, token_hash=digest(token), kind="cli", org_id=slug, created_at=AT)
        )
        connection.execute(insert(schema.projects).values(id=slug, org_id=slug, slug=slug, name=slug, created_at=AT))
        connection.execute(
            insert(schema.jobs).values(
                id=job_id, name=job_id, **owner, status="completed", config={"model": "base"}, created_at=AT,
                started_at=AT, completed_at=AT, last_event_id=events + 1, request_hash="",
            )
        )  # fmt: skip
        connection.execute(
            insert(schema.events), [*(_log(job_id, step, events) for step in range(1, events + 1)), last]
        )
    database.close()


def _log(job_id: str, step: int, events: int) -> dict[str, Any]:
    loss = 2.5 / (1 + step / 1000) + random.random() / 10
    figures = {"loss": loss, "learningRate": 2e-4, "epoch": 3 * step / events, "samplesPerSecond": 11.5}
    return _event(job_id, step, "training.log", step=step, **figures)


def _event(job_id: str, number: int, kind: str, **fields: Any) -> dict[str, Any]:
    data = json.dumps({"timestamp": AT, **fields, "type": kind, "jobId": job_id})
    return {"job_id": job_id, "id": number, "type": kind, "step": fields.get("step"), "data": data}
