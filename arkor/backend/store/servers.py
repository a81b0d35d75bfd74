"""The servers that share the database: who is alive, by the database's clock.

A database of one server needs none of it: what was running is that server's.
"""

from __future__ import annotations

import attrs
from sqlalchemy import ColumnElement, Float, Select, cast, delete, extract, func, select

from arkor.backend.store.database import Database
from arkor.backend.store.schema import servers
from arkor.backend.store.sql import insert


@attrs.frozen
class Server:
    """A server, as the others know it.

    Attributes:
        id: its id, which it keeps when it is started again.
        url: where workers and others reach it.
        machine: names the machine, as it is since its start: servers there can look at each other's processes.
    """

    id: str
    url: str
    machine: str


class Servers:
    """Who shares the database. Thread-safe."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def renew(self, server: Server, lease_s: float) -> None:
        """Count a server as alive for so many seconds from now on."""
        values = {**attrs.asdict(server), "alive_until": seconds_now() + lease_s}
        with self._database.write() as connection:
            query = insert(connection, servers).values(values)
            connection.execute(query.on_conflict_do_update(index_elements=["id"], set_=values))

    def leave(self, server: Server) -> None:
        """Take a server out of the list: it has nothing under way any more."""
        with self._database.write() as connection:
            connection.execute(delete(servers).where(servers.c.id == server.id))

    def others(self, server: Server) -> list[str]:
        """Return the addresses of the other servers that are alive, in an order that stays."""
        query = select(servers.c.url).where(servers.c.id.in_(alive()), servers.c.id != server.id)
        with self._database.read() as connection:
            return list(connection.execute(query.order_by(servers.c.id)).scalars())


def alive() -> Select[tuple[str]]:
    """Select the ids of the servers that are alive."""
    return select(servers.c.id).where(servers.c.alive_until >= seconds_now())


def seconds_now() -> ColumnElement[float]:
    """Return the database's time, in seconds."""
    return cast(extract("epoch", func.clock_timestamp()), Float)
