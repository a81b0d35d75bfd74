"""The tables of SQLite's last version from before alembic."""

from __future__ import annotations

from alembic import op

from arkor.backend.store.migrations import baseline

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make the tables."""
    baseline.metadata.create_all(op.get_bind())
