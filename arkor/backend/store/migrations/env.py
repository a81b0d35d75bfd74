"""What alembic runs: the migrations, on the connection that it was given."""

from __future__ import annotations

from alembic import context

from arkor.backend.store.schema import metadata

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=metadata, render_as_batch=True)
context.run_migrations()
