"""The client's calls for deployments and their keys.

Protocol: docs/protocol.md, "Deployments".
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from arkor.api import wire
from arkor.api.deployments import (
    CreatedDeploymentKey,
    Deployment,
    DeploymentChanges,
    DeploymentKey,
    DeploymentTarget,
    changes_to_wire,
    checked_label,
)
from arkor.api.transport import Transport, may_help, path
from arkor.errors import ArkorError, CloudApiError, Conflict, NotFound, UnsupportedByBackend
from arkor.jobs import AdapterRef, Scope, TrainingResult

if TYPE_CHECKING:
    from typing import Unpack  # Python 3.11; the type checker alone reads it

ENDPOINTS = ("v1", "endpoints")


class DeploymentCalls:
    """A part of ``CloudApiClient``. Thread-safety: as there."""

    _transport: Transport

    def list_deployments(self, scope: Scope) -> list[Deployment]:
        """Return the project's deployments. Raises UnsupportedByBackend where the backend has none to offer."""
        with self._supported():
            body = self._json("GET", *ENDPOINTS, scope=scope)
        return [Deployment.from_wire(item) for item in wire.objects(body.get("deployments"))]

    def get_deployment(self, scope: Scope, deployment_id: str) -> Deployment:
        """Return a deployment. Raises NotFound where there is none of that id in the project."""
        return _deployment(self._json("GET", *ENDPOINTS, deployment_id, scope=scope))

    def create_deployment(
        self,
        scope: Scope,
        *,
        slug: str,
        target: DeploymentTarget | AdapterRef | TrainingResult | str,
        auth_mode: str = "fixed_api_key",
        run_retention_mode: str | None = None,
        run_retention_days: int | None = None,
    ) -> Deployment:
        """Serve a model or an adapter at an address of its own.

        Args:
            scope: the project it belongs to.
            slug: its name in its address: 2 to 50 of ``a-z``, ``0-9`` and ``-``, a letter or digit at both ends.
            target: what to serve: the result of a run that completed, an adapter, or a model's name.
            auth_mode: ``fixed_api_key`` for those who have a key, ``none`` for everybody.
            run_retention_mode: how long answers are kept: ``unlimited``, ``disabled`` (not at all) or ``days``; by
                default what the backend does.
            run_retention_days: with the mode ``days``, and only then: 1 or more.

        Raises:
            ConfigError: a value is out of its range; nothing was sent.
            Conflict: the slug is taken.
            UnsupportedByBackend: the backend has no deployments.
        """
        body = changes_to_wire(
            {
                "slug": slug,
                "target": target,
                "auth_mode": auth_mode,
                "run_retention_mode": run_retention_mode,
                "run_retention_days": run_retention_days,
            }
        )
        with self._supported(), _naming(slug):
            return _deployment(self._json("POST", *ENDPOINTS, scope=scope, json=body))

    def update_deployment(self, scope: Scope, deployment_id: str, **changes: Unpack[DeploymentChanges]) -> Deployment:
        """Change a deployment: what is given, and nothing else.

        Args:
            scope: the project it belongs to.
            deployment_id: the deployment.
            changes: see ``DeploymentChanges``.

        Returns:
            The deployment as it is now.

        Raises:
            ConfigError: a value is out of its range, or nothing was given; nothing was sent.
            NotFound: there is none of that id in the project.
            Conflict: the slug is taken.
        """
        body = changes_to_wire(changes)
        with _naming(changes.get("slug")):
            return _deployment(self._json("PATCH", *ENDPOINTS, deployment_id, scope=scope, json=body, repeatable=True))

    def delete_deployment(self, scope: Scope, deployment_id: str) -> None:
        """Take a deployment away, and its keys with it. Raises NotFound where there is none of that id."""
        self._delete(*ENDPOINTS, deployment_id, scope=scope)

    def list_deployment_keys(self, scope: Scope, deployment_id: str) -> list[DeploymentKey]:
        """Return what is known of a deployment's keys, which are not shown themselves."""
        body = self._json("GET", *ENDPOINTS, deployment_id, "keys", scope=scope)
        return [DeploymentKey.from_wire(item) for item in wire.objects(body.get("keys"))]

    def create_deployment_key(self, scope: Scope, deployment_id: str, *, label: str) -> CreatedDeploymentKey:
        """Make a key to a deployment.

        Args:
            scope: the project the deployment belongs to.
            deployment_id: the deployment.
            label: the key's name for people, 1 to 80 characters.

        Returns:
            The key, whose ``plaintext`` is shown this once.

        Raises:
            ConfigError: the label is too short or too long; nothing was sent.
        """
        wanted = {"label": checked_label(label)}
        body = self._json("POST", *ENDPOINTS, deployment_id, "keys", scope=scope, json=wanted)
        return CreatedDeploymentKey.from_wire(wire.mapping(body.get("key")))

    def delete_deployment_key(self, scope: Scope, deployment_id: str, key_id: str) -> None:
        """Revoke a key to a deployment. Raises NotFound where there is none of that id."""
        self._delete(*ENDPOINTS, deployment_id, "keys", key_id, scope=scope)

    def _json(self, method: str, *segments: str, scope: Scope, **options: Any) -> dict[str, Any]:
        return wire.json_object(self._transport.call(method, path(*segments), params=scope.to_query(), **options))

    def _delete(self, *segments: str, scope: Scope) -> None:
        url_path, query = path(*segments), scope.to_query()
        try:
            self._transport.call("DELETE", url_path, params=query, repeatable=False)
        except ArkorError as exc:
            if may_help(exc, safe=False) or not may_help(exc, safe=True):
                raise
            # It may have been done, though the answer was lost: that it is not there is then what was asked for.
            with contextlib.suppress(NotFound):
                self._transport.call("DELETE", url_path, params=query)

    @contextlib.contextmanager
    def _supported(self) -> Iterator[None]:
        """Take it for a missing feature that there is no collection of deployments."""
        try:
            yield
        except CloudApiError as exc:
            if exc.status not in {404, 405, 501}:
                raise
            advice = f"Arkor Cloud does. (The backend answered {exc.status}: {exc})"
            raise UnsupportedByBackend("deployments", self._transport.base_url, advice) from exc


@contextlib.contextmanager
def _naming(slug: str | None) -> Iterator[None]:
    """Name the slug where the backend says that it is taken."""
    try:
        yield
    except Conflict as exc:
        if slug is None:
            raise
        raise Conflict(exc.status, f"The slug {slug!r} cannot be had: {exc}", exc.retry_after) from exc


def _deployment(body: Mapping[str, Any]) -> Deployment:
    return Deployment.from_wire(wire.mapping(body.get("deployment")))
