"""The versions of SQLite files from before alembic: 1 to 7, kept in SQLite's ``user_version``."""

from __future__ import annotations

from sqlalchemy import Connection

from arkor.backend.store.migrations import baseline

LAST = 7

# What makes tables of a version those of the next one.
_UPGRADES = {
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


def upgrade(connection: Connection, version: int) -> None:
    """Make the tables of a version those of the last one."""
    for found in range(version, LAST):
        for change in _UPGRADES[found]:
            connection.exec_driver_sql(change)
    baseline.metadata.create_all(connection)
    for table in baseline.metadata.sorted_tables:  # an index may be newer than its table; no version needs it
        for index in table.indexes:
            index.create(connection, checkfirst=True)
