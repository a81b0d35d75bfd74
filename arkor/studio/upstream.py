"""The backend behind Studio: a client that is valid now, the project of the folder, and errors as answers.

While Studio runs, its user may log in or out, and this user's own backend comes and goes, at another address each time.
So every request looks whether the client it would use is still the right one.

Protocol: docs/protocol.md, "Addressing a backend", "Project routing".
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from arkor.auth.credentials import default_cloud_api_url
from arkor.auth.identity import Identity, stored_identity
from arkor.client import local_backend
from arkor.client.client import CloudApiClient
from arkor.client.project import ensure_project, find_project
from arkor.errors import (
    Aborted,
    ArkorError,
    AuthenticationError,
    CloudApiError,
    ConfigError,
    ConnectionFailed,
    CredentialsError,
    LocalBackendError,
    ProjectStateError,
    UnsupportedByBackend,
    WaitTimeout,
)
from arkor.http.abort import AbortScope, Deadline, current_scope
from arkor.protocol.jobs import Scope
from arkor.serving.refusal import Refusal

PATIENCE_S = 15.0  # what somebody looks at a page for; a backend that is silent for longer counts as down

T = TypeVar("T")


class Upstream:
    """The backend that Studio shows, and the project of its folder.

    Args:
        backend: a base URL or ``local``; None for the default one.
        project_dir: the folder whose project it is.

    Thread-safety: safe.
    """

    def __init__(self, backend: str | None, project_dir: Path) -> None:
        self._backend = backend
        self._project_dir = project_dir
        self._lock = threading.Lock()
        self._client: CloudApiClient | None = None

    @property
    def address(self) -> str:
        """The backend's base URL or ``local``, without a trailing slash."""
        return (default_cloud_api_url() if self._backend is None else self._backend).rstrip("/")

    def ask(self, question: Callable[[CloudApiClient], T], *, patience_s: float | None = PATIENCE_S) -> T:
        """Ask the backend; once more where this user's own has come back elsewhere since.

        Args:
            question: does its requests with the client that it is given.
            patience_s: seconds for all of it, None for no limit; of no account inside an abort scope that is active.

        Raises:
            ArkorError: there is no identity, no answer in time, or one that is an error.
        """
        if current_scope() is not None:
            return self._ask(question)
        with AbortScope(None, Deadline(patience_s)) as limits, limits.noticing_the_end(), limits.active():
            return self._ask(question)

    def ask_project(
        self, question: Callable[[CloudApiClient, Scope], T], *, patience_s: float | None = PATIENCE_S
    ) -> T:
        """Ask the backend about the project of the folder, as ``ask`` does.

        Raises:
            ProjectStateError: the routing belongs to another identity, or an account has none.
            Refusal: 404, there is no project yet.
        """

        def ask(client: CloudApiClient) -> T:
            scope = self.scope(client)
            if scope is None:
                raise Refusal(404, "This folder has no project yet, and so no jobs: the first run makes one.")
            return question(client, scope)

        return self.ask(ask, patience_s=patience_s)

    def scope(self, client: CloudApiClient, *, create: bool = False) -> Scope | None:
        """Return the project of the folder; None where there is none yet, and it is not to be created."""
        return ensure_project(client, self._project_dir) if create else find_project(client, self._project_dir)

    def identity(self) -> Identity | None:
        """Return who this user is to the backend, as far as the disk tells."""
        address = self.address
        return stored_identity(address, local=address == "local")

    def _ask(self, question: Callable[[CloudApiClient], T]) -> T:
        client = self._connected()
        try:
            return question(client)
        except (ConnectionFailed, AuthenticationError, LocalBackendError) as exc:
            if not client.is_local or (isinstance(exc, ConnectionFailed) and exc.sent):
                raise
            self._drop(client)
        return question(self._connected())

    def _connected(self) -> CloudApiClient:
        limits = current_scope()
        left = limits.deadline.remaining() if limits is not None else None
        if not self._lock.acquire(timeout=-1 if left is None else left):
            raise WaitTimeout
        try:
            if self._client is None or not self._is_right(self._client):
                self._client = CloudApiClient.connect(self._backend)
            return self._client
        finally:
            self._lock.release()

    def _is_right(self, client: CloudApiClient) -> bool:
        """Say whether a client still has the backend's address and this user's identity; nothing is sent."""
        address = self.address
        base_url = local_backend.noted_url() if address == "local" else address
        if client.base_url != base_url:
            return False
        stored = stored_identity(base_url, local=address == "local")
        return stored is not None and stored.credentials == client.identity.credentials

    def _drop(self, client: CloudApiClient) -> None:
        with self._lock:
            if self._client is client:
                self._client = None


def refusal_of(error: ArkorError) -> Refusal:
    """Return an error of the library as Studio's answer: a backend's own status, or what fits best."""
    match error:
        case Refusal():
            return error
        case CloudApiError():
            wait_s = error.retry_after
            return Refusal(
                error.status, error.message, headers={} if wait_s is None else {"Retry-After": str(math.ceil(wait_s))}
            )
        case UnsupportedByBackend():
            return Refusal(501, str(error), feature=error.capability)
        case ConnectionFailed():
            return Refusal(502, error.advising("start Studio with: arkor dev --local"))
        case WaitTimeout():
            return Refusal(502, f"The backend did not answer within {PATIENCE_S:g} s. Is it stuck?")
        case _:
            status = next((status for kind, status in _STATUSES if isinstance(error, kind)), 502)
            return Refusal(status, str(error))


_STATUSES: tuple[tuple[type[ArkorError], int], ...] = (
    (Aborted, 503),  # the browser has left, or Studio is stopping
    (ConfigError, 400),
    (CredentialsError, 401),
    (ProjectStateError, 409),
)
