"""An account's bearer token that never runs out while it is used: renewed in time, once for all processes.

Protocol: docs/protocol.md, "Identity".
"""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Callable
from pathlib import Path

from arkor.auth.credentials import Credentials, OAuthCredentials, held, read_held, write_credentials
from arkor.auth.oauth import renewed
from arkor.errors import AuthenticationError, ConnectionFailed, CredentialsError
from arkor.http.abort import AbortScope, run_unbroken
from arkor.system.pickling import NotPickled

MARGIN_S = 60.0

_LOG_IN = "Log in again with: arkor login --oauth"

logger = logging.getLogger(__name__)


class RenewedToken(NotPickled):
    """The access token of an account, as the file that all Arkor clients share has it.

    It is renewed a minute before it expires, or when the backend refuses it: under the file's lock, and only where
    nobody else has done so. A failure is not remembered.

    Args:
        credentials: what the file holds.
        file: where they are kept.
        check: raises CredentialsError for credentials that are not for this backend.

    Thread-safety: safe, also between processes.
    """

    _instead = "Make a client in the other process: CloudApiClient.connect()."

    def __init__(self, credentials: OAuthCredentials, file: Path, check: Callable[[Credentials], None]) -> None:
        self._newest = credentials
        self._on_disk: Credentials | None = credentials
        self._file = file
        self._check = check

    def current(self) -> str:
        """Return the token, renewed where it is about to expire.

        Raises:
            ConnectionFailed: it has expired, and the provider does not answer.
            CredentialsError: it has expired, and only a new login helps.
        """
        known = self._newest
        if not _is_due(known):
            return known.access_token
        try:
            return self._renewed(known.access_token)
        except (ConnectionFailed, CredentialsError) as exc:
            if known.expires_at <= time.time():
                raise
            logger.info("The login could not be renewed in time, but is still good: %s", exc)
            return known.access_token

    def renew(self, refused: str) -> bool:
        """Renew a token that the backend refused, unless that was done since.

        Raises:
            ConnectionFailed: the provider does not answer.
            AuthenticationError: only a new login helps.
        """
        try:
            self._renewed(refused)
        except CredentialsError as exc:
            raise AuthenticationError(401, str(exc)) from exc
        return True

    def _renewed(self, stale: str) -> str:
        """Return a token in place of a stale one."""
        try:
            with held(self._file):
                self._look()
                if self._newest.access_token == stale or _is_due(self._newest):
                    self._swap()
                return self._newest.access_token
        except CredentialsError as exc:
            raise CredentialsError(f"The login cannot be renewed: {exc}") from exc

    def _look(self) -> None:
        """Take in what somebody else put into the file, if anything.

        A file that is as it was last seen is passed over: what is in memory is newer where it could not be written.
        """
        found = read_held(self._file)
        if found == self._on_disk:
            return
        if not isinstance(found, OAuthCredentials):
            raise CredentialsError(f"{self._file} no longer holds the account's login. {_LOG_IN}")
        self._check(found)
        self._newest = self._on_disk = found

    def _swap(self) -> None:
        """Let the provider swap the refresh token for new tokens, and write them down."""
        known = self._newest
        # The old refresh token may be worthless afterwards, so it is made sure first that the new one can be written.
        write_credentials(known, self._file)
        self._on_disk = known
        try:
            # Broken off half-way, the new refresh token would be lost, and the login with it.
            run_unbroken(functools.partial(self._swap_at_once, known), AbortScope(None, patient=True))
        except CredentialsError as exc:
            self._look()
            if self._newest is known:
                raise CredentialsError(f"{exc} {_LOG_IN}") from exc

    def _swap_at_once(self, known: OAuthCredentials) -> None:
        self._newest = fresh = renewed(known)
        logger.info("The login in %s was renewed.", self._file)
        try:
            if read_held(self._file) == known:  # else a client that does not know the lock has put another login there
                write_credentials(fresh, self._file)
                self._on_disk = fresh
        except CredentialsError as exc:
            logger.warning("This process goes on with a renewed login that others cannot see: %s", exc)


def _is_due(credentials: OAuthCredentials) -> bool:
    return credentials.expires_at - time.time() <= MARGIN_S
