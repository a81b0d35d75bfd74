"""Indexes of what is queued and of what is under way, whose size does not depend on the jobs that have ended."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Make the indexes."""
    queued = sa.text("status = 'queued'")
    op.create_index("jobs_queued", "jobs", ["number"], postgresql_where=queued, sqlite_where=queued)
    op.create_index(
        "attempts_under_way",
        "attempts",
        ["server_id"],
        postgresql_where=sa.text("NOT ended"),
        sqlite_where=sa.text("ended = 0"),
    )
