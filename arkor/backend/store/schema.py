"""The tables of the backend's database.

Times are ISO 8601 texts in UTC. A token is stored as its SHA-256 alone.
"""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    false,
)

VERSION = 7  # of the tables below, kept in SQLite's user_version

metadata = MetaData()

# What makes tables of a version those of the next one.
UPGRADES = {
    1: (
        "ALTER TABLE jobs ADD COLUMN last_step INTEGER",
        "ALTER TABLE jobs ADD COLUMN last_loss FLOAT",
        "ALTER TABLE jobs ADD COLUMN last_eval_loss FLOAT",
    ),
    2: (  # pid_created stays where it is, unused: older versions of SQLite cannot drop a column
        "ALTER TABLE attempts ADD COLUMN pid_start VARCHAR",
        "UPDATE attempts SET pid_start = 'created:' || pid_created WHERE pid_created IS NOT NULL",
    ),
    3: (
        "ALTER TABLE jobs ADD COLUMN prompt_form VARCHAR",
        "ALTER TABLE jobs ADD COLUMN eval_blob_token VARCHAR",
    ),
    4: (
        "ALTER TABLE jobs ADD COLUMN deaths INTEGER DEFAULT '0' NOT NULL",
        "ALTER TABLE jobs ADD COLUMN batch_size INTEGER",
        "ALTER TABLE jobs ADD COLUMN pause_requested BOOLEAN DEFAULT 0 NOT NULL",
        "ALTER TABLE jobs ADD COLUMN pause_reason TEXT",
        "ALTER TABLE jobs ADD COLUMN disk_full_since VARCHAR",
        "ALTER TABLE jobs ADD COLUMN resumed_from_job VARCHAR",
        "ALTER TABLE jobs ADD COLUMN resumed_from_step INTEGER",
    ),
    5: (),  # a new table alone
    6: (),  # likewise
}

orgs = Table(
    "orgs",
    metadata,
    Column("id", String, primary_key=True),
    Column("slug", String, nullable=False, unique=True),
    Column("name", String, nullable=False),
)

identities = Table(
    "identities",
    metadata,
    Column("id", String, primary_key=True),
    Column("token_hash", String, nullable=False, unique=True),
    Column("kind", String, nullable=False),
    Column("org_id", ForeignKey("orgs.id"), nullable=False),
    Column("created_at", String, nullable=False),
)

projects = Table(
    "projects",
    metadata,
    Column("id", String, primary_key=True),
    Column("org_id", ForeignKey("orgs.id"), nullable=False),
    Column("slug", String, nullable=False),
    Column("name", String, nullable=False),
    Column("created_at", String, nullable=False),
    UniqueConstraint("org_id", "slug"),
)

datasets = Table(
    "datasets",
    metadata,
    Column("project_id", ForeignKey("projects.id"), primary_key=True),
    Column("sha256", String, primary_key=True),
    Column("rows", Integer, nullable=False),
    Column("size_bytes", Integer, nullable=False),
    Column("created_at", String, nullable=False),
)

jobs = Table(
    "jobs",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=True),  # the order of creation
    Column("id", String, nullable=False, unique=True),
    Column("org_id", ForeignKey("orgs.id"), nullable=False),
    Column("project_id", ForeignKey("projects.id"), nullable=False),
    Column("name", String, nullable=False),
    Column("status", String, nullable=False),
    Column("config", JSON, nullable=False),
    Column("blob_token", String),  # this and the next: only until the job has ended
    Column("eval_blob_token", String),
    Column("error", Text),
    Column("created_at", String, nullable=False),
    Column("started_at", String),
    Column("completed_at", String),
    Column("cancel_requested", Boolean, nullable=False, server_default=false()),
    Column("attempt", Integer, nullable=False, server_default="0"),
    Column("lost_attempts", Integer, nullable=False, server_default="0"),
    Column("deaths", Integer, nullable=False, server_default="0"),  # of its worker, one after another at one step
    Column("batch_size", Integer),  # rows in a batch since memory ran out
    Column("pause_requested", Boolean, nullable=False, server_default=false()),
    Column("pause_reason", Text),  # while it is paused
    Column("disk_full_since", String),  # when the disk was first full for it, until it makes progress
    Column("resumed_from_job", String),
    Column("resumed_from_step", Integer),
    Column("last_event_id", Integer, nullable=False, server_default="0"),
    Column("last_step", Integer),  # this and the next two: of the log events so far
    Column("last_loss", Float),
    Column("last_eval_loss", Float),
    Column("prompt_form", String),  # how the rows were trained, once training has begun
    Column("idempotency_key", String),
    Column("request_hash", String, nullable=False),
    UniqueConstraint("project_id", "idempotency_key"),
    Index("jobs_by_status", "status", "number"),
    Index("jobs_by_time", "project_id", "created_at", "id"),
)

attempts = Table(
    "attempts",
    metadata,
    Column("job_id", ForeignKey("jobs.id"), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("token_hash", String, nullable=False),
    Column("pid", Integer),
    Column("pid_start", String),  # when that process started, as process_start writes it
    Column("last_seq", Integer, nullable=False, server_default="0"),
    Column("ended", Boolean, nullable=False, server_default=false()),
)

events = Table(
    "events",
    metadata,
    Column("job_id", ForeignKey("jobs.id"), primary_key=True),
    Column("id", Integer, primary_key=True),
    Column("attempt", Integer),  # this and seq are NULL for events of the backend itself
    Column("seq", Integer),
    Column("type", String, nullable=False),
    Column("step", Integer),
    Column("is_evaluation", Boolean, nullable=False, server_default=false()),
    Column("data", Text, nullable=False),  # the payload, ready to be sent
    UniqueConstraint("job_id", "attempt", "seq"),
)

artifacts = Table(
    "artifacts",
    metadata,
    Column("job_id", ForeignKey("jobs.id"), primary_key=True),
    Column("name", String, primary_key=True),
    Column("kind", String, nullable=False),
    Column("step", Integer),
    Column("size_bytes", Integer, nullable=False),
    Column("sha256", String, nullable=False),
)


def _tasks(name: str) -> Table:
    """Return a table of work on what jobs have made; see ``store.tasks``."""
    return Table(
        name,
        metadata,
        Column("number", Integer, primary_key=True, autoincrement=True),  # the order of creation
        Column("id", String, nullable=False, unique=True),
        Column("job_id", ForeignKey("jobs.id"), nullable=False),
        Column("status", String, nullable=False),
        Column("options", JSON, nullable=False),
        Column("done", Integer, nullable=False, server_default="0"),
        Column("total", Integer, nullable=False, server_default="0"),
        Column("error", Text),
        Column("verdict", Text),
        Column("check", JSON),
        Column("artifact", String),
        Column("created_at", String, nullable=False),
        Column("started_at", String),
        Column("completed_at", String),
        Column("idempotency_key", String),
        Column("request_hash", String, nullable=False, server_default=""),
        UniqueConstraint("job_id", "idempotency_key"),
        Index(f"{name}_by_status", "status", "number"),
    )


evaluations = _tasks("evaluations")
exports = _tasks("exports")
