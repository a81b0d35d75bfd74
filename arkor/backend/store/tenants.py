"""Identities, their organisations and projects.

Protocol: docs/protocol.md, "Identity" and "Project routing".
"""

from __future__ import annotations

import functools
import secrets

import attrs
from sqlalchemy import insert, select
from sqlalchemy.exc import IntegrityError

from arkor.backend.store.database import Database, digest, new_id, new_token, now
from arkor.backend.store.pages import read_page
from arkor.backend.store.schema import identities, orgs, projects

_MOST_KNOWN = 1024


@attrs.frozen
class Org:
    """An organisation; each identity has one of its own."""

    id: str
    slug: str
    name: str


@attrs.frozen
class Identity:
    """Whoever holds a token."""

    id: str
    kind: str
    org: Org


@attrs.frozen
class Project:
    """What jobs and data sets belong to."""

    id: str
    org_id: str
    slug: str
    name: str


class Tenants:
    """Who may see what. Thread-safe."""

    def __init__(self, database: Database) -> None:
        self._database = database
        # An identity never changes or ends, and its token is looked at twice where a request has a body.
        self._known = functools.lru_cache(_MOST_KNOWN)(self._read_identity)

    def create_anonymous(self, kind: str) -> tuple[str, Identity]:
        """Make an identity with its own organisation.

        Returns:
            Its token, which is stored nowhere but as a hash, and the identity.
        """
        token = new_token()
        anonymous_id = new_id("anon")
        slug = f"anon-{secrets.token_hex(4)}"
        org = Org(new_id("org"), slug, slug)
        with self._database.write() as connection:
            connection.execute(insert(orgs).values(attrs.asdict(org)))
            connection.execute(
                insert(identities).values(
                    id=anonymous_id, token_hash=digest(token), kind=kind, org_id=org.id, created_at=now()
                )
            )
        return token, Identity(anonymous_id, kind, org)

    def identity_of(self, token: str) -> Identity | None:
        """Return who holds a token, or None for a token that nobody has."""
        try:
            return self._known(digest(token))
        except LookupError:
            return None

    def _read_identity(self, token_hash: str) -> Identity:
        query = (
            select(identities.c.id, identities.c.kind, orgs.c.id, orgs.c.slug, orgs.c.name)
            .join(orgs, orgs.c.id == identities.c.org_id)
            .where(identities.c.token_hash == token_hash)
        )
        with self._database.read() as connection:
            row = connection.execute(query).one_or_none()
        if row is None:
            raise LookupError
        return Identity(row[0], row[1], Org(*row[2:]))

    def create_project(self, org: Org, slug: str, name: str) -> Project | None:
        """Make a project; None where the organisation has one with this slug."""
        project = Project(new_id("proj"), org.id, slug, name)
        try:
            with self._database.write() as connection:
                connection.execute(insert(projects).values(created_at=now(), **attrs.asdict(project)))
        except IntegrityError:
            return None
        return project

    def projects(
        self, org: Org, *, limit: int | None = None, after: str | None = None
    ) -> tuple[list[Project], str | None]:
        """Return the organisation's projects, oldest first.

        Args:
            org: whose projects.
            limit: the most of them, 1 or more; None for all.
            after: the cursor of an earlier page, or None.

        Returns:
            The projects, and the cursor of the next page; None where there are no more.

        Raises:
            BadCursor: no page has ended with ``after``.
        """
        query, order = _PROJECTS.where(projects.c.org_id == org.id), (projects.c.created_at, projects.c.id)
        with self._database.read() as connection:
            return read_page(
                connection,
                query.add_columns(projects.c.created_at),
                order,
                lambda row: Project(row["id"], row["org_id"], row["slug"], row["name"]),
                newest_first=False,
                limit=limit,
                after=after,
            )

    def project(self, org: Org, slug: str) -> Project | None:
        """Return the organisation's project with this slug, or None."""
        query = _PROJECTS.where(projects.c.org_id == org.id, projects.c.slug == slug)
        with self._database.read() as connection:
            row = connection.execute(query).one_or_none()
        return None if row is None else Project(*row)


_PROJECTS = select(projects.c.id, projects.c.org_id, projects.c.slug, projects.c.name)
