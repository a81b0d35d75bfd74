"""The bearer token of requests: who hands it out, and what becomes of one that the backend refuses.

Protocol: docs/protocol.md, "Addressing a backend".
"""

from __future__ import annotations

from typing import Protocol

import attrs
import requests
from requests.auth import AuthBase

from arkor.errors import CredentialsError
from arkor.system.pickling import NotPickled


class TokenSource(Protocol):
    """Hands out an identity's bearer token. Thread-safety: safe."""

    def current(self) -> str | None:
        """Return the token to send now, or None where none is to be sent."""

    def renew(self, refused: str) -> bool:
        """Say whether there is another token in place of one that the backend refused."""


@attrs.frozen
class FixedToken(NotPickled):
    """A token that stays as it is, or none.

    Raises:
        CredentialsError: the token cannot be sent.
    """

    _instead = "Read the token in the other process."
    token: str | None = attrs.field(repr=False, validator=lambda _self, _field, token: _check_sendable(token))

    def current(self) -> str | None:
        """Return the token."""
        return self.token

    def renew(self, refused: str) -> bool:
        """Say that there is no other."""
        return False


def token_source(token: str | TokenSource | None) -> TokenSource:
    """Return what hands out a token: itself, or a source of one that stays as it is."""
    return FixedToken(token) if token is None or isinstance(token, str) else token


class BearerToken(AuthBase):
    """Sends what a source hands out, or nothing; with it set, requests does not look into netrc."""

    def __init__(self, source: TokenSource) -> None:
        self._source = source

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Add the Authorization header to a request about to be sent.

        Raises:
            CredentialsError: there is no token that can be sent.
        """
        token = self._source.current()
        _check_sendable(token)
        if token:
            request.headers["Authorization"] = f"Bearer {token}"
        return request

    def renew(self, response: requests.Response) -> bool:
        """Say whether a request that was answered with 401 may be made again, with another token."""
        sent = response.request.headers.get("Authorization", "")  # none where a redirect led to another host
        return sent.startswith("Bearer ") and self._source.renew(sent.removeprefix("Bearer "))


def _check_sendable(token: str | None) -> None:
    """Raise CredentialsError for a token that no header can carry: the HTTP libraries would show it in their error."""
    if token and not (token.isascii() and token.isprintable() and " " not in token):
        raise CredentialsError(
            "The token has characters that no HTTP header can carry. Look at ARKOR_TOKEN, or log in again."
        )
