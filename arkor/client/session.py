"""One backend, spoken to under one identity: what every call of the client stands on.

Protocol: docs/protocol.md, "Requests", "Identity".
"""

from __future__ import annotations

import contextlib
import functools
from typing import Any

from arkor.auth.credentials import default_cloud_api_url
from arkor.auth.identity import LOCAL_HOST_KEY, Identity, host_key
from arkor.client import local_backend
from arkor.errors import ArkorError, NotFound
from arkor.http.transport import Transport, may_help, path
from arkor.protocol import wire
from arkor.protocol.jobs import Scope
from arkor.system.pickling import NotPickled


class BackendSession(NotPickled):
    """The ground of ``CloudApiClient``: its address, its identity, its connections. Thread-safety: as there."""

    _instead = "Make a client in the other process: CloudApiClient.connect()."

    def __init__(
        self, base_url: str | None = None, *, token: str | None = None, identity: Identity | None = None
    ) -> None:
        base_url = default_cloud_api_url() if base_url is None else base_url
        self.identity = identity or Identity(token or "", host_key(base_url))
        check_peer = functools.partial(local_backend.check_peer, base_url) if self.is_local else None
        self._transport = Transport(base_url, self.identity.tokens, check_peer=check_peer)

    @property
    def base_url(self) -> str:
        """The backend's address, without a trailing slash."""
        return self._transport.base_url

    @property
    def is_local(self) -> bool:
        """Whether it is this user's own backend."""
        return self.identity.host_key == LOCAL_HOST_KEY

    def close(self) -> None:
        """Close the pooled connections."""
        self._transport.close()

    def check_alive(self) -> None:
        """Do nothing while the backend may come back.

        Raises:
            LocalBackendError: it is this user's own backend, and it is gone.
        """
        if self.is_local:
            local_backend.check_alive(self.base_url)

    def _json(self, method: str, *segments: str, scope: Scope | None = None, **options: Any) -> dict[str, Any]:
        if scope is not None:
            options["params"] = scope.to_query()
        return wire.json_object(self._transport.call(method, path(*segments), **options))

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
