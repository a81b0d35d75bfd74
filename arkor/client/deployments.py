"""Deployments: a model or an adapter that a backend serves at an address of its own, and the keys to it.

Protocol: docs/protocol.md, "Deployments".
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypedDict

import attrs

from arkor.client.result import TrainingResult, final_adapter
from arkor.client.session import BackendSession
from arkor.errors import ArkorError, CloudApiError, ConfigError, Conflict, UnsupportedByBackend
from arkor.protocol import wire
from arkor.protocol.jobs import AdapterRef, Scope

if TYPE_CHECKING:
    from typing import Unpack  # Python 3.11; the type checker alone reads it

ENDPOINTS = ("v1", "endpoints")
AUTH_MODES = ("none", "fixed_api_key")
RETENTION_MODES = ("unlimited", "disabled", "days")
LONGEST_LABEL = 80
_SLUG = re.compile(r"[a-z0-9][a-z0-9-]{0,48}[a-z0-9]")


@attrs.frozen(kw_only=True)
class DeploymentTarget:
    """What a deployment serves: an adapter, or a model without one.

    Attributes:
        kind: ``adapter`` or ``base_model``; one that this version does not know is kept as it came.
        adapter: the adapter, or None.
        base_model: the model, or None.
        extra: fields this version does not know; the adapter as it came, where it has some.
    """

    kind: str = attrs.field(default="", converter=wire.text)
    adapter: AdapterRef | None = None
    base_model: str | None = attrs.field(default=None, converter=wire.optional_text)
    extra: Mapping[str, Any] = attrs.field(factory=dict, hash=False)

    @classmethod
    def of(cls, what: DeploymentTarget | AdapterRef | TrainingResult | str) -> DeploymentTarget:
        """Return the target that a run, an adapter or a model's name stands for.

        Raises:
            ConfigError: there is nothing there to serve.
        """
        if isinstance(what, TrainingResult):
            what = final_adapter(what, "target")
        if isinstance(what, AdapterRef):
            what = cls(kind="adapter", adapter=what)
        elif isinstance(what, str):
            what = cls(kind="base_model", base_model=what)
        _check_target(what)
        return what

    @classmethod
    def from_wire(cls, body: Mapping[str, Any]) -> DeploymentTarget:
        """Read a target as the backend sent it."""
        arguments = wire.known_fields(cls, body)
        sent = wire.mapping(arguments.pop("adapter", None))
        known = wire.known_fields(AdapterRef, sent)
        if known.pop("extra"):
            arguments["extra"]["adapter"] = sent
        if sent:
            step = wire.whole_number(known.get("step"))
            arguments["adapter"] = AdapterRef(wire.text(known.get("kind")), wire.text(known.get("job_id")), step)
        return cls(**arguments)

    def to_wire(self) -> dict[str, Any]:
        """Return the ``target`` object that travels."""
        return wire.to_wire(self)


@attrs.frozen(kw_only=True)
class Deployment:
    """A model or an adapter at an address of its own.

    Attributes:
        id: the backend's id.
        slug: its name in its address.
        org_id: the organisation it belongs to.
        project_id: the project it belongs to.
        target: what it serves.
        auth_mode: ``none`` for everybody, or ``fixed_api_key``; an unknown one is kept as it came.
        url_format: ``openai_compat``.
        enabled: whether it answers.
        custom_domain: a domain of the user's own, or None.
        run_retention_mode: how long answers are kept: ``unlimited``, ``disabled`` (not at all), ``days``, or None where
            the backend does not say.
        run_retention_days: how many days, where the mode is ``days``.
        created_at: ISO 8601, UTC.
        updated_at: ISO 8601, UTC.
        extra: fields this version does not know.
    """

    id: str = attrs.field(converter=wire.text)
    slug: str = attrs.field(default="", converter=wire.text)
    org_id: str = attrs.field(default="", converter=wire.text)
    project_id: str = attrs.field(default="", converter=wire.text)
    target: DeploymentTarget = attrs.field(factory=DeploymentTarget)
    auth_mode: str = attrs.field(default="", converter=wire.text)
    url_format: str = attrs.field(default="", converter=wire.text)
    enabled: bool = attrs.field(default=True, converter=bool)
    custom_domain: str | None = attrs.field(default=None, converter=wire.optional_text)
    run_retention_mode: str | None = attrs.field(default=None, converter=wire.optional_text)
    run_retention_days: int | None = attrs.field(default=None, converter=wire.whole_number)
    created_at: str = attrs.field(default="", converter=wire.text)
    updated_at: str = attrs.field(default="", converter=wire.text)
    extra: Mapping[str, Any] = attrs.field(factory=dict, hash=False)

    @classmethod
    def from_wire(cls, body: Mapping[str, Any]) -> Deployment:
        """Read a deployment as the backend sent it.

        Raises:
            ArkorError: the object has no id.
        """
        if not body.get("id"):
            raise ArkorError(f"The backend described a deployment without an id: {dict(body)!r:.200}")
        arguments = wire.known_fields(cls, body)
        return cls(**{**arguments, "target": DeploymentTarget.from_wire(wire.mapping(body.get("target")))})

    def to_wire(self) -> dict[str, Any]:
        """Return the deployment as the JSON object that travels."""
        return wire.to_wire(self)


@attrs.frozen(kw_only=True)
class DeploymentKey:
    """A key to a deployment, without the key itself.

    Attributes:
        id: the backend's id.
        label: its name for people.
        prefix: how the key begins.
        enabled: whether it opens anything.
        created_at: ISO 8601, UTC.
        last_used_at: ISO 8601, UTC, or None.
        extra: fields this version does not know.
    """

    id: str = attrs.field(default="", converter=wire.text)
    label: str = attrs.field(default="", converter=wire.text)
    prefix: str = attrs.field(default="", converter=wire.text)
    enabled: bool = attrs.field(default=True, converter=bool)
    created_at: str = attrs.field(default="", converter=wire.text)
    last_used_at: str | None = attrs.field(default=None, converter=wire.optional_text)
    extra: Mapping[str, Any] = attrs.field(factory=dict, hash=False)

    @classmethod
    def from_wire(cls, body: Mapping[str, Any]) -> DeploymentKey:
        """Read a listed key as the backend sent it; the key itself is dropped, should it be there."""
        return cls(**wire.known_fields(cls, {name: value for name, value in body.items() if name != "plaintext"}))


@attrs.frozen(kw_only=True)
class CreatedDeploymentKey(DeploymentKey):
    """A key to a deployment that was made just now.

    Attributes:
        plaintext: the key itself. This is the only time that it is shown: keep it now.
    """

    plaintext: str = attrs.field(repr=False, converter=wire.text)

    @classmethod
    def from_wire(cls, body: Mapping[str, Any]) -> CreatedDeploymentKey:
        """Read a new key as the backend sent it.

        Raises:
            ArkorError: the key itself is missing.
        """
        if not body.get("plaintext"):
            made = wire.text(body.get("id")) or "without an id"
            raise ArkorError(f"The backend made the key {made}, but did not show it. Delete it, and make another.")
        return cls(**wire.known_fields(cls, body))


class DeploymentChanges(TypedDict, total=False):
    """What a change of a deployment may say. What is not given stays as it is.

    Attributes:
        slug: its name in its address, as for a new one.
        target: what it serves, as for a new one.
        auth_mode: ``none`` or ``fixed_api_key``.
        enabled: whether it answers.
        custom_domain: a domain of the user's own; None takes it away.
        run_retention_mode: ``unlimited``, ``disabled`` or ``days``.
        run_retention_days: with the mode ``days``, and only then: 1 or more.
    """

    slug: str
    target: DeploymentTarget | AdapterRef | TrainingResult | str
    auth_mode: str
    enabled: bool
    custom_domain: str | None
    run_retention_mode: str | None
    run_retention_days: int | None


def changes_to_wire(changes: Mapping[str, Any]) -> dict[str, Any]:
    """Check what is to become of a deployment, and return the JSON object that travels: only what was given.

    Args:
        changes: see ``DeploymentChanges``.

    Raises:
        ConfigError: a value is out of its range, or nothing was given.
        TypeError: a deployment has no such setting.
    """
    unknown = [name for name in changes if name not in DeploymentChanges.__annotations__]
    if unknown:
        raise TypeError(f"A deployment has no setting {', '.join(unknown)}.")
    retention = {name: changes[name] for name in changes if name.startswith("run_retention_")}
    _check_retention(retention.get("run_retention_mode"), retention.get("run_retention_days"))
    body = {name: _checked(name, value) for name, value in changes.items() if name not in retention}
    body |= {name: value for name, value in retention.items() if value is not None}
    if not body:
        raise ConfigError("changes", "name at least one setting to change")
    return {wire.wire_name(name): value for name, value in body.items()}


def _checked(name: str, value: Any) -> Any:
    """Return a setting's value as it travels."""
    if name == "target":
        return DeploymentTarget.of(value).to_wire()
    if name == "slug" and not (isinstance(value, str) and _SLUG.fullmatch(value)):
        raise ConfigError(name, f"must be 2 to 50 of a-z, 0-9 and -, a letter or digit at both ends, not {value!r}")
    if name == "auth_mode" and value not in AUTH_MODES:
        raise ConfigError(name, f"must be {' or '.join(AUTH_MODES)}, not {value!r}")
    if name == "enabled" and not isinstance(value, bool):
        raise ConfigError(name, f"must be True or False, not {value!r}")
    if name == "custom_domain" and not (value is None or (isinstance(value, str) and value.strip())):
        raise ConfigError(name, f"must be a domain, or None for none, not {value!r}")
    return value


def _check_retention(mode: Any, days: Any) -> None:
    if mode is not None and mode not in RETENTION_MODES:
        raise ConfigError("run_retention_mode", f"must be one of {', '.join(RETENTION_MODES)}, not {mode!r}")
    if days is None and mode == "days":
        raise ConfigError("run_retention_days", "must be given with run_retention_mode='days'")
    if days is not None and mode != "days":
        raise ConfigError("run_retention_days", f"goes with run_retention_mode='days' only, not with {mode!r}")
    if days is not None and (isinstance(days, bool) or not isinstance(days, int) or days < 1):
        raise ConfigError("run_retention_days", f"must be a whole number, 1 or more, not {days!r}")


def _check_target(target: Any) -> None:
    if not isinstance(target, DeploymentTarget):
        raise ConfigError("target", f"must be an adapter, a TrainingResult or a model's name, not {target!r}")
    adapter, base_model = target.adapter, target.base_model
    if target.kind not in {"adapter", "base_model"}:  # from a newer backend, and on its way back
        return
    if (adapter is None) == (base_model is None) or (adapter is None) == (target.kind == "adapter"):
        raise ConfigError("target", "must be exactly one of an adapter and a model, as its kind says")
    if base_model is not None and not base_model.strip():
        raise ConfigError("target", "must name a model; the name is empty")
    if adapter is not None and (adapter.step is None) == (adapter.kind == "checkpoint"):
        raise ConfigError("target", "must give the step of a checkpoint, and none of the final adapter")


def checked_label(label: str) -> str:
    """Return a key's label. Raises ConfigError where it is none."""
    if not isinstance(label, str) or not label.strip() or len(label) > LONGEST_LABEL:
        raise ConfigError("label", f"must be a text of 1 to {LONGEST_LABEL} characters, not {label!r:.100}")
    return label


class DeploymentCalls(BackendSession):
    """A part of ``CloudApiClient``. Thread-safety: as there."""

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
