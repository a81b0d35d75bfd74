"""The client's calls for what a backend can do beyond Arkor Cloud's contract.

Protocol: docs/protocol.md, "Self-hosted backend".
"""

from __future__ import annotations

from typing import Any

from arkor.client.session import BackendSession
from arkor.errors import CloudApiError, UnsupportedByBackend
from arkor.http.transport import path
from arkor.protocol import wire


class CapabilityCalls(BackendSession):
    """A part of ``CloudApiClient``. Thread-safety: as there."""

    _features: frozenset[str] | None = None

    def capabilities(self) -> dict[str, Any]:
        """Return what the backend says of itself: ``backend``, ``version``, ``features``; empty where it does not.

        From then on ``features`` are those that it has said: another version may have taken its place.
        """
        try:
            told = wire.json_object(self._transport.call("GET", path("v1", "capabilities")))
        except CloudApiError as exc:
            if exc.status not in {404, 405, 501}:
                raise
            told = {}
        features = told.get("features")
        self._features = frozenset(map(str, features)) if isinstance(features, list) else frozenset()
        return told

    @property
    def features(self) -> frozenset[str]:
        """What the backend can do beyond Arkor Cloud's contract, asked once; empty where it does not say."""
        if self._features is None:
            self.capabilities()
        return self._features or frozenset()

    def require(self, feature: str, what: str) -> None:
        """Raise UnsupportedByBackend where the backend lacks a feature.

        Args:
            feature: its name in the backend's capabilities.
            what: what to call it in the error.
        """
        if feature not in self.features:
            raise UnsupportedByBackend(what, self._transport.base_url, capability=feature)
