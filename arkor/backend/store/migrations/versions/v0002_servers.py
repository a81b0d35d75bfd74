"""Several servers, and workers that their engine names."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_key = sa.String().with_variant(sa.String(collation="C"), "postgresql")


def upgrade() -> None:
    """Name each worker by a text, and let jobs and other work belong to servers."""
    op.create_table(
        "servers",
        sa.Column("id", _key, primary_key=True),
        sa.Column("url", sa.String, nullable=False),
        sa.Column("machine", sa.String, nullable=False),
        sa.Column("alive_until", sa.Float, nullable=False),
    )
    op.add_column("jobs", sa.Column("awaited_by", _key))
    op.add_column("attempts", sa.Column("server_id", _key))
    op.add_column("attempts", sa.Column("heard_at", sa.Float))
    op.add_column("attempts", sa.Column("worker", sa.String))
    op.execute("UPDATE attempts SET worker = 'process:' || pid || ':' || pid_start WHERE pid_start IS NOT NULL")
    with op.batch_alter_table("attempts") as changed:
        changed.drop_column("pid")
        changed.drop_column("pid_start")
    for tasks in ("evaluations", "exports"):
        op.add_column(tasks, sa.Column("server_id", _key))
