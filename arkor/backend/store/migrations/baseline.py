"""The tables that the first migration makes; they never change. ``schema`` has those of today."""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    UniqueConstraint,
    false,
    text,
)

metadata = MetaData()

_Key = String().with_variant(String(collation="C"), "postgresql")

orgs = Table(
    "orgs",
    metadata,
    Column("id", _Key, primary_key=True),
    Column("slug", _Key, nullable=False, unique=True),
    Column("name", String, nullable=False),
)

identities = Table(
    "identities",
    metadata,
    Column("id", _Key, primary_key=True),
    Column("token_hash", String, nullable=False, unique=True),
    Column("kind", String, nullable=False),
    Column("org_id", ForeignKey("orgs.id"), nullable=False),
    Column("created_at", _Key, nullable=False),
)

projects = Table(
    "projects",
    metadata,
    Column("id", _Key, primary_key=True),
    Column("org_id", ForeignKey("orgs.id"), nullable=False),
    Column("slug", _Key, nullable=False),
    Column("name", String, nullable=False),
    Column("created_at", _Key, nullable=False),
    UniqueConstraint("org_id", "slug"),
)

datasets = Table(
    "datasets",
    metadata,
    Column("project_id", ForeignKey("projects.id"), primary_key=True),
    Column("sha256", _Key, primary_key=True),
    Column("rows", BigInteger, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("created_at", _Key, nullable=False),
)

jobs = Table(
    "jobs",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("id", _Key, nullable=False, unique=True),
    Column("org_id", ForeignKey("orgs.id"), nullable=False),
    Column("project_id", ForeignKey("projects.id"), nullable=False),
    Column("name", String, nullable=False),
    Column("status", String, nullable=False),
    Column("config", JSON, nullable=False),
    Column("blob_token", String),
    Column("eval_blob_token", String),
    Column("error", String),
    Column("created_at", _Key, nullable=False),
    Column("started_at", String),
    Column("completed_at", String),
    Column("cancel_requested", Boolean, nullable=False, server_default=false()),
    Column("attempt", Integer, nullable=False, server_default="0"),
    Column("lost_attempts", Integer, nullable=False, server_default="0"),
    Column("deaths", Integer, nullable=False, server_default="0"),
    Column("batch_size", BigInteger),
    Column("pause_requested", Boolean, nullable=False, server_default=false()),
    Column("pause_reason", String),
    Column("disk_full_since", String),
    Column("resumed_from_job", String),
    Column("resumed_from_step", BigInteger),
    Column("last_event_id", Integer, nullable=False, server_default="0"),
    Column("last_step", BigInteger),
    Column("last_loss", Float),
    Column("last_eval_loss", Float),
    Column("prompt_form", String),
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
    Column("pid_start", String),
    Column("last_seq", Integer, nullable=False, server_default="0"),
    Column("ended", Boolean, nullable=False, server_default=false()),
)

events = Table(
    "events",
    metadata,
    Column("job_id", ForeignKey("jobs.id"), primary_key=True),
    Column("id", Integer, primary_key=True),
    Column("attempt", Integer),
    Column("seq", Integer),
    Column("type", String, nullable=False),
    Column("step", BigInteger),
    Column("is_evaluation", Boolean, nullable=False, server_default=false()),
    Column("data", String, nullable=False),
    UniqueConstraint("job_id", "attempt", "seq"),
)

artifacts = Table(
    "artifacts",
    metadata,
    Column("job_id", ForeignKey("jobs.id"), primary_key=True),
    Column("name", _Key, primary_key=True),
    Column("kind", String, nullable=False),
    Column("step", BigInteger),
    Column("size_bytes", BigInteger, nullable=False),
    Column("sha256", _Key, nullable=False),
)


def _tasks(name: str) -> Table:
    """Return a table of work on what jobs have made; see ``store.tasks``."""
    return Table(
        name,
        metadata,
        Column("number", Integer, primary_key=True, autoincrement=True),
        Column("id", _Key, nullable=False, unique=True),
        Column("job_id", ForeignKey("jobs.id"), nullable=False),
        Column("status", String, nullable=False),
        Column("options", JSON, nullable=False),
        Column("done", BigInteger, nullable=False, server_default="0"),
        Column("total", BigInteger, nullable=False, server_default="0"),
        Column("error", String),
        Column("verdict", String),
        Column("check", JSON),
        Column("artifact", String),
        Column("created_at", _Key, nullable=False),
        Column("started_at", String),
        Column("completed_at", String),
        Column("idempotency_key", String),
        Column("request_hash", String, nullable=False, server_default=text("''")),
        UniqueConstraint("job_id", "idempotency_key"),
        Index(f"{name}_by_status", "status", "number"),
    )


evaluations = _tasks("evaluations")
exports = _tasks("exports")
