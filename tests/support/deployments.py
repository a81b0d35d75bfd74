"""The deployments of a stand-in, as the cloud keeps them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

TIMESTAMP = "2026-01-01T00:00:00.000Z"
MISSING = (404, {"error": "No such deployment"})


class Deployments:
    """Answers the calls below ``/v1/endpoints``.

    Attributes:
        kept: the deployments, by id.
        keys: their keys, by the deployment's id and their own.
    """

    def __init__(self) -> None:
        self.kept: dict[str, dict[str, Any]] = {}
        self.keys: dict[str, dict[str, dict[str, Any]]] = {}
        self._made = 0

    def answer(self, method: str, rest: str | None, body: Mapping[str, Any]) -> tuple[int, Any]:
        """Return status and body of one call.

        Args:
            method: the HTTP method.
            rest: the path after ``/v1/endpoints/``, still encoded; None for the collection.
            body: what was sent.
        """
        match (method, *(unquote(part) for part in rest.split("/"))) if rest else (method,):
            case ("GET",):
                return 200, {"deployments": list(self.kept.values())}
            case ("POST",):
                return self._create(body)
            case (_, one) if one in self.kept:
                return self._one(method, one, body)
            case (_, one, "keys", *key) if one in self.kept:
                return self._keys(method, self.keys[one], key, body)
        return MISSING

    def _create(self, wanted: Mapping[str, Any]) -> tuple[int, Any]:
        if any(item["slug"] == wanted["slug"] for item in self.kept.values()):
            return 409, {"error": "Deployment slug is already taken"}
        one = {
            "id": self._id("dep"),
            "orgId": "org_1",
            "projectId": "project_1",
            "urlFormat": "openai_compat",
            "enabled": True,
            "customDomain": None,
            "runRetentionMode": "days",
            "runRetentionDays": 7,
            "createdAt": TIMESTAMP,
            "updatedAt": TIMESTAMP,
            **wanted,
        }
        self.kept[one["id"]], self.keys[one["id"]] = one, {}
        return 201, {"deployment": one}

    def _one(self, method: str, one: str, changes: Mapping[str, Any]) -> tuple[int, Any]:
        match method:
            case "DELETE":
                del self.kept[one], self.keys[one]
                return 204, b""
            case "PATCH":
                self.kept[one].update(changes)
        return 200, {"deployment": self.kept[one]}

    def _keys(
        self, method: str, keys: dict[str, dict[str, Any]], ids: list[str], wanted: Mapping[str, Any]
    ) -> tuple[int, Any]:
        match (method, *ids):
            case ("GET",):
                return 200, {"keys": list(keys.values())}
            case ("POST",):
                key = {"id": self._id("key"), "label": wanted["label"], "prefix": "ark_live_abcd", "enabled": True}
                keys[key["id"]] = {**key, "createdAt": TIMESTAMP, "lastUsedAt": None}
                return 201, {"key": {**keys[key["id"]], "plaintext": "ark_live_abcd1234"}}
            case ("DELETE", key_id) if key_id in keys:
                del keys[key_id]
                return 204, b""
        return MISSING

    def _id(self, kind: str) -> str:
        self._made += 1
        return f"{kind}_{self._made}"
