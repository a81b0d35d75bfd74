"""The tables of the backend's database, as they are now; ``migrations`` has the way there.

Times are ISO 8601 texts in UTC. A token is stored as its SHA-256 alone.
"""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Dialect,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    TypeDecorator,
    UniqueConstraint,
    false,
    text,
)
from sqlalchemy.types import TypeEngine

metadata = MetaData()

_QUEUED = "status = 'queued'"


class _Words(TypeDecorator[str]):
    """A text. PostgreSQL stores no NUL: it becomes the picture of one, ``␀``."""

    impl = String
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        return value.replace("\0", "␀") if value and dialect.name == "postgresql" else value


class _Key(_Words):
    """A text that is compared byte by byte: PostgreSQL's own order depends on the language of its cluster."""

    impl = String
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[str]:
        collation = "C" if dialect.name == "postgresql" else None
        return dialect.type_descriptor(String(collation=collation))


orgs = Table(
    "orgs",
    metadata,
    Column("id", _Key, primary_key=True),
    Column("slug", _Key, nullable=False, unique=True),
    Column("name", _Words, nullable=False),
)

identities = Table(
    "identities",
    metadata,
    Column("id", _Key, primary_key=True),
    Column("token_hash", _Words, nullable=False, unique=True),
    Column("kind", _Words, nullable=False),
    Column("org_id", ForeignKey("orgs.id"), nullable=False),
    Column("created_at", _Key, nullable=False),
)

projects = Table(
    "projects",
    metadata,
    Column("id", _Key, primary_key=True),
    Column("org_id", ForeignKey("orgs.id"), nullable=False),
    Column("slug", _Key, nullable=False),
    Column("name", _Words, nullable=False),
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

servers = Table(  # those that share the database
    "servers",
    metadata,
    Column("id", _Key, primary_key=True),
    Column("url", _Words, nullable=False),  # where its workers, and others, reach it
    Column("machine", _Words, nullable=False),  # those of one machine can look at each other's processes
    Column("alive_until", Float, nullable=False),  # in the database's seconds
)

jobs = Table(
    "jobs",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=True),  # the order of creation
    Column("id", _Key, nullable=False, unique=True),
    Column("org_id", ForeignKey("orgs.id"), nullable=False),
    Column("project_id", ForeignKey("projects.id"), nullable=False),
    Column("name", _Words, nullable=False),
    Column("status", _Words, nullable=False),
    Column("config", JSON, nullable=False),
    Column("blob_token", _Words),  # this and the next: only until the job has ended
    Column("eval_blob_token", _Words),
    Column("error", _Words),
    Column("created_at", _Key, nullable=False),
    Column("started_at", _Words),
    Column("completed_at", _Words),
    Column("awaited_by", _Key),  # the server that keeps devices free for it, while it is queued
    Column("cancel_requested", Boolean, nullable=False, server_default=false()),
    Column("attempt", Integer, nullable=False, server_default="0"),
    Column("lost_attempts", Integer, nullable=False, server_default="0"),
    Column("deaths", Integer, nullable=False, server_default="0"),  # of its worker, one after another at one step
    Column("batch_size", BigInteger),  # rows in a batch since memory ran out
    Column("pause_requested", Boolean, nullable=False, server_default=false()),
    Column("pause_reason", _Words),  # while it is paused
    Column("disk_full_since", _Words),  # when the disk was first full for it, until it makes progress
    Column("resumed_from_job", _Words),
    Column("resumed_from_step", BigInteger),
    Column("last_event_id", Integer, nullable=False, server_default="0"),
    Column("last_step", BigInteger),  # this and the next two: of the log events so far
    Column("last_loss", Float),
    Column("last_eval_loss", Float),
    Column("prompt_form", _Words),  # how the rows were trained, once training has begun
    Column("idempotency_key", _Words),
    Column("request_hash", _Words, nullable=False),
    UniqueConstraint("project_id", "idempotency_key"),
    Index("jobs_by_status", "status", "number"),
    Index("jobs_queued", "number", postgresql_where=text(_QUEUED), sqlite_where=text(_QUEUED)),
    Index("jobs_by_time", "project_id", "created_at", "id"),
)

attempts = Table(
    "attempts",
    metadata,
    Column("job_id", ForeignKey("jobs.id"), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("token_hash", _Words, nullable=False),
    Column("server_id", _Key),  # the server that looks after it
    Column("heard_at", Float),  # when another server last heard of it, in the database's seconds
    Column("worker", _Words),  # as the engine that started it names it
    Column("last_seq", Integer, nullable=False, server_default="0"),
    Column("ended", Boolean, nullable=False, server_default=false()),
    Index("attempts_under_way", "server_id", postgresql_where=text("NOT ended"), sqlite_where=text("ended = 0")),
)

events = Table(
    "events",
    metadata,
    Column("job_id", ForeignKey("jobs.id"), primary_key=True),
    Column("id", Integer, primary_key=True),
    Column("attempt", Integer),  # this and seq are NULL for events of the backend itself
    Column("seq", Integer),
    Column("type", _Words, nullable=False),
    Column("step", BigInteger),
    Column("is_evaluation", Boolean, nullable=False, server_default=false()),
    Column("data", String, nullable=False),  # the payload, ready to be sent
    UniqueConstraint("job_id", "attempt", "seq"),
)

artifacts = Table(
    "artifacts",
    metadata,
    Column("job_id", ForeignKey("jobs.id"), primary_key=True),
    Column("name", _Key, primary_key=True),
    Column("kind", _Words, nullable=False),
    Column("step", BigInteger),
    Column("size_bytes", BigInteger, nullable=False),
    Column("sha256", _Key, nullable=False),
)


def _tasks(name: str) -> Table:
    """Return a table of work on what jobs have made; see ``store.tasks``."""
    return Table(
        name,
        metadata,
        Column("number", Integer, primary_key=True, autoincrement=True),  # the order of creation
        Column("id", _Key, nullable=False, unique=True),
        Column("job_id", ForeignKey("jobs.id"), nullable=False),
        Column("status", _Words, nullable=False),
        Column("options", JSON, nullable=False),
        Column("done", BigInteger, nullable=False, server_default="0"),
        Column("total", BigInteger, nullable=False, server_default="0"),
        Column("error", _Words),
        Column("verdict", _Words),
        Column("check", JSON),
        Column("artifact", _Words),
        Column("created_at", _Key, nullable=False),
        Column("server_id", _Key),  # the server that does it
        Column("started_at", _Words),
        Column("completed_at", _Words),
        Column("idempotency_key", _Words),
        Column("request_hash", _Words, nullable=False, server_default=text("''")),
        UniqueConstraint("job_id", "idempotency_key"),
        Index(f"{name}_by_status", "status", "number"),
    )


evaluations = _tasks("evaluations")
exports = _tasks("exports")
