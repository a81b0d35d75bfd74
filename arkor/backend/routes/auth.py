"""Identities: anybody who reaches a loopback backend gets one.

Protocol: docs/protocol.md, "Identity".
"""

from __future__ import annotations

from typing import Any

import attrs
from flask import Blueprint

from arkor.backend.routes.access import backend, json_object, require_identity
from arkor.serving.refusal import Refusal

blueprint = Blueprint("auth", __name__)


@blueprint.post("/v1/auth/anonymous")
def anonymous() -> dict[str, Any]:
    """Make an identity with its own organisation, and give its token this once."""
    kind = json_object().get("kind", "cli")
    if not isinstance(kind, str) or not kind or len(kind) > 50:
        raise Refusal(400, f"kind: must be a short text, not {kind!r:.100}")
    token, identity = backend().store.tenants.create_anonymous(kind)
    return {
        "token": token,
        "anonymousId": identity.id,
        "kind": identity.kind,
        "personalOrg": attrs.asdict(identity.org),
    }


@blueprint.get("/v1/auth/cli/config")
def cli_config() -> dict[str, Any]:
    """Say that there is no OAuth here."""
    return {"auth0Domain": None, "clientId": None, "audience": None, "callbackPorts": []}


@blueprint.get("/v1/me")
def me() -> dict[str, Any]:
    """Say who holds the token."""
    identity = require_identity()
    user = {"id": identity.id, "kind": identity.kind, "anonymous": True}
    return {"user": user, "orgs": [attrs.asdict(identity.org)]}
