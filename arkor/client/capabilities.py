"""The client's calls for what a backend can do beyond Arkor Cloud's contract.

Protocol: docs/protocol.md, "Self-hosted backend".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from arkor.client.session import BackendSession
from arkor.errors import (
    OLDER_BACKEND,
    SELF_HOSTED,
    ArkorError,
    AuthenticationError,
    CloudApiError,
    StreamError,
    UnsupportedByBackend,
    UpgradeRequired,
)
from arkor.http.transport import path
from arkor.protocol import wire

PAGE = 1000  # the most that a backend gives at a time

_NOT_IMPLEMENTED = 501
_PASSING = frozenset({408, 429})  # beside 5xx: they say nothing about what the backend can do


class CapabilityCalls(BackendSession):
    """A part of ``CloudApiClient``. Thread-safety: as there."""

    _features: frozenset[str] | None = None

    def capabilities(self) -> dict[str, Any]:
        """Ask what the backend says of itself: ``backend``, ``version``, ``features``; empty if it has no such call.

        From then on ``features`` are the ones in this answer: another version may have taken the backend's place.

        Raises:
            CloudApiError: 401, 426, or a failure that may pass: 408, 429, 5xx.
            ArkorError: the answer is not a JSON object.
        """
        said, fault = self._probe()
        if fault is not None:
            raise fault
        return said

    @property
    def features(self) -> frozenset[str]:
        """What the backend can do beyond Arkor Cloud's contract; empty if it does not say.

        Asked once. While the backend answers with a failure it has no features, and is asked again next time.

        Raises:
            AuthenticationError: 401.
            UpgradeRequired: 426.
            ConnectionFailed: the backend does not answer.
        """
        return self._known_features()[0]

    def require(self, feature: str, what: str) -> None:
        """Raise an error if the backend lacks a feature.

        Args:
            feature: its name in the backend's capabilities.
            what: what to call it in the error.

        Raises:
            UnsupportedByBackend: the backend lacks it.
            CloudApiError: the backend failed, so that nobody knows; it is the backend's own error.
            ArkorError: the answer is not a JSON object.
        """
        features, fault = self._known_features()
        if fault is not None:
            raise fault
        if feature not in features:
            advice = OLDER_BACKEND if features else SELF_HOSTED  # Arkor Cloud names no features
            raise UnsupportedByBackend(what, self._transport.base_url, advice, feature)

    def _listed(
        self, name: str, *segments: str, query: Mapping[str, str], page: int = PAGE
    ) -> Iterator[Mapping[str, Any]]:
        """Yield the objects of a list, page by page as they are needed; at once where the backend has no pages.

        Args:
            name: what the list is called in the answer.
            segments: the path.
            query: its parameters, beside those of the page.
            page: the most objects to ask for at a time, 1 to 1000.

        Raises:
            StreamError: the list leads in a circle.
        """
        params = {**query, "limit": str(page)} if "pages" in self.features else dict(query)
        while True:
            body = self._json("GET", *segments, params=params)
            yield from wire.objects(body.get(name))
            following = wire.text(body.get("next")) if "limit" in params else ""
            if not following:
                return
            if following == params.get("after"):
                raise StreamError(f"The backend's list of {name} does not go on after {following!r:.100}.")
            params = {**params, "after": following}

    def _known_features(self) -> tuple[frozenset[str], ArkorError | None]:
        fault = self._probe()[1] if self._features is None else None
        return self._features or frozenset(), fault

    def _probe(self) -> tuple[dict[str, Any], ArkorError | None]:
        """Ask; return the answer, or why it says nothing. Only an answer that says something is remembered."""
        said, fault = self._answer()
        features = said.get("features")
        found = frozenset(map(str, features)) if isinstance(features, list) else frozenset()
        self._features = None if fault is not None else found
        return said, fault

    def _answer(self) -> tuple[dict[str, Any], ArkorError | None]:
        try:
            answer = self._transport.call("GET", path("v1", "capabilities"))
        except (AuthenticationError, UpgradeRequired):
            raise
        except CloudApiError as exc:
            may_pass = exc.status in _PASSING or (exc.status >= 500 and exc.status != _NOT_IMPLEMENTED)
            return {}, exc if may_pass else None
        try:
            return wire.json_object(answer), None
        except ArkorError as exc:  # a proxy's page, or nothing at all
            return {}, exc
