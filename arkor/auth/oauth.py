"""Logging in with an account: authorization code with PKCE, and new access tokens for a refresh token.

Protocol: docs/protocol.md, "Identity"; RFC 6749 (OAuth 2.0), RFC 7636 (PKCE), RFC 8252 (native apps).
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import re
import secrets
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlencode

import attrs

from arkor.auth.credentials import OAuthCredentials, default_cloud_api_url
from arkor.errors import CloudApiError, ConnectionFailed, CredentialsError
from arkor.http.transport import Transport, path
from arkor.protocol import wire
from arkor.text import one_line

SCOPES = "openid profile email offline_access"
TOKEN_TIMEOUT_S = (5.0, 20.0)
UNTOLD_LIFETIME_S = 600.0

# Of what a token endpoint may say with a 4xx, this alone gets better by asking again.
_PASSING_ERRORS = frozenset({"temporarily_unavailable", "server_error", "slow_down", "too_many_requests"})
_PASSING_STATUSES = frozenset({408, 429})
_SECRET = frozenset({"code", "code_verifier", "refresh_token"})


def _ports(value: Any) -> tuple[int, ...]:
    numbers = map(wire.whole_number, value if isinstance(value, (list, tuple)) else ())
    return tuple(number for number in numbers if number is not None and 0 < number < 65536)


@attrs.frozen(kw_only=True)
class OAuthConfig:
    """How an account logs in to a backend.

    Attributes:
        auth0_domain: host, and port where it is not 443, of the login pages.
        client_id: what this command line is called there.
        audience: what the tokens are for.
        callback_ports: the ports on 127.0.0.1 that the browser may come back to, in the order to try them.
        extra: fields this version does not know.
    """

    auth0_domain: str
    client_id: str
    audience: str
    callback_ports: tuple[int, ...] = attrs.field(default=(), converter=_ports)
    extra: Mapping[str, Any] = attrs.field(factory=dict, hash=False)


def request_oauth_config(base_url: str | None = None) -> OAuthConfig | None:
    """Ask a backend how accounts log in to it.

    Args:
        base_url: the backend; by default ``default_cloud_api_url()``.

    Returns:
        How, or None where it has no accounts.

    Raises:
        ConnectionFailed, CloudApiError: it did not answer, or with an error.
    """
    transport = Transport(default_cloud_api_url() if base_url is None else base_url)
    try:
        body = wire.json_object(transport.call("GET", path("v1", "auth", "cli", "config")))
    except CloudApiError as exc:
        if exc.status not in {404, 405, 501}:
            raise
        return None
    finally:
        transport.close()
    if not all(isinstance(body.get(key), str) and body[key] for key in ("auth0Domain", "clientId", "audience")):
        return None
    return OAuthConfig(**wire.known_fields(OAuthConfig, body))


@attrs.frozen
class Authorization:
    """One login that is under way: where the browser goes, and what proves that it comes back from there.

    Attributes:
        config: how to log in.
        redirect_uri: where the browser comes back to.
        state: comes back with the browser.
        verifier: proves to the provider that who exchanges the code is who asked for it.
    """

    config: OAuthConfig
    redirect_uri: str
    state: str = attrs.field(repr=False)
    verifier: str = attrs.field(factory=lambda: secrets.token_urlsafe(64), repr=False)

    @property
    def url(self) -> str:
        """The login page, for the browser."""
        digest = hashlib.sha256(self.verifier.encode()).digest()
        query = {
            "response_type": "code",
            "client_id": self.config.client_id,
            "redirect_uri": self.redirect_uri,
            "scope": SCOPES,
            "audience": self.config.audience,
            "state": self.state,
            "code_challenge": base64.urlsafe_b64encode(digest).rstrip(b"=").decode(),
            "code_challenge_method": "S256",
        }
        return f"{_address(self.config.auth0_domain)}/authorize?{urlencode(query, quote_via=quote)}"

    def exchange(self, code: str) -> OAuthCredentials:
        """Return the account's credentials for the code that the browser brought back.

        Raises:
            ConnectionFailed: the provider did not answer.
            CredentialsError: it refused the code, or gave no refresh token.
        """
        config = self.config
        form = {
            "grant_type": "authorization_code",
            "client_id": config.client_id,
            "code": code,
            "code_verifier": self.verifier,
            "redirect_uri": self.redirect_uri,
        }
        answer = _ask(config.auth0_domain, form)
        if answer.refresh_token is None:
            raise CredentialsError(
                f"{config.auth0_domain} gave no refresh token: the scope offline_access is missing there. "
                "Whoever runs the backend has to allow it for its API; nothing was changed."
            )
        return OAuthCredentials(
            access_token=answer.access_token,
            refresh_token=answer.refresh_token,
            expires_at=answer.expires_at,
            auth0_domain=config.auth0_domain,
            audience=config.audience,
            client_id=config.client_id,
        )


def renewed(credentials: OAuthCredentials) -> OAuthCredentials:
    """Return credentials with a new access token; nothing is written.

    A new refresh token, where the provider gives one, takes the place of the old one, which may be worthless then.

    Raises:
        ConnectionFailed: the provider did not answer; the old ones may still be good.
        CredentialsError: it refused; only a new login helps.
    """
    form = {
        "grant_type": "refresh_token",
        "client_id": credentials.client_id,
        "refresh_token": credentials.refresh_token,
    }
    answer = _ask(credentials.auth0_domain, form)
    return attrs.evolve(
        credentials,
        access_token=answer.access_token,
        refresh_token=answer.refresh_token or credentials.refresh_token,
        expires_at=answer.expires_at,
    )


@attrs.frozen
class _Tokens:
    """What the token endpoint gives."""

    access_token: str = attrs.field(repr=False)
    refresh_token: str | None = attrs.field(repr=False)
    expires_at: int


def _ask(domain: str, form: Mapping[str, str]) -> _Tokens:
    """Make a request to the token endpoint: no token but those in the form, no redirect, no repetition."""
    transport = Transport(_address(domain))
    try:
        answer = transport.send("POST", "/oauth/token", data=form, timeout_s=TOKEN_TIMEOUT_S, as_is=True)
    except ConnectionFailed as exc:
        raise ConnectionFailed(str(exc), sent=False) from exc  # for the backend, which saw nothing
    finally:
        transport.close()
    status, body = answer.status_code, {}
    with contextlib.suppress(ValueError, RecursionError):
        body = wire.mapping(answer.json())
    if 400 <= status < 500 and _is_final(status, body.get("error")):
        raise CredentialsError(f"{domain} refused it ({_said(body, form)}).")
    tokens = _tokens(body) if status == 200 else None
    if tokens is None:
        raise ConnectionFailed(f"{domain} gave no token (status {status}); try again.", sent=False)
    return tokens


def _is_final(status: int, error: Any) -> bool:
    """Say whether a refusal is the provider's own word, and one that asking again does not change."""
    return isinstance(error, str) and status not in _PASSING_STATUSES and error not in _PASSING_ERRORS


def _said(body: Mapping[str, Any], form: Mapping[str, str]) -> str:
    """Return the provider's own words, without what is secret in the request."""
    words = ": ".join(text for key in ("error", "error_description") if (text := wire.text(body.get(key))))
    for key in _SECRET & form.keys():
        words = words.replace(form[key], "…")
    return one_line(words)


def _tokens(body: Mapping[str, Any]) -> _Tokens | None:
    access, refresh = body.get("access_token"), body.get("refresh_token")
    if not isinstance(access, str) or not access:
        return None
    lifetime_s = wire.number(body.get("expires_in"))
    if lifetime_s is None or not 0 < lifetime_s < float("inf"):
        lifetime_s = UNTOLD_LIFETIME_S
    return _Tokens(access, refresh if isinstance(refresh, str) and refresh else None, int(time.time() + lifetime_s))


def _address(domain: str) -> str:
    """Return the provider's address. Raises CredentialsError where the domain is none."""
    if not re.fullmatch(r"[A-Za-z0-9.-]+(:[0-9]{1,5})?", domain):
        raise CredentialsError(f"{one_line(domain)!r} is not a domain that accounts can log in at.")
    return f"https://{domain}"
