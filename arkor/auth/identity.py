"""The identity that belongs to a backend: which file it is in, and a new anonymous one where there is none.

Protocol: docs/protocol.md, "Addressing a backend" (which identity goes where) and "Identity".
"""

from __future__ import annotations

import functools
import os
from urllib.parse import urlsplit

import attrs

from arkor.auth.credentials import (
    AnonymousCredentials,
    Credentials,
    credentials_path,
    default_cloud_api_url,
    held,
    read_credentials,
    read_held,
    write_credentials,
)
from arkor.auth.refresh import RenewedToken
from arkor.errors import CredentialsError
from arkor.http.bearer import TokenSource, token_source
from arkor.http.cloud import CLOUD_API_URL
from arkor.http.transport import Transport, path, split_base_url
from arkor.protocol import wire
from arkor.system.pickling import NotPickled

LOCAL_HOST_KEY = "local"


@attrs.frozen
class Identity(NotPickled):
    """Who this user is to one backend.

    Attributes:
        tokens: hands out the bearer token; made of the token itself where that stays as it is.
        host_key: names the backend's own files under ``hosts/``; None for the user's Arkor login.
        org_slug: the personal organisation of an anonymous identity; None for an account or a bare token.
        credentials: what it was made of; None for a bare token.
    """

    _instead = "Make a client in the other process: CloudApiClient.connect()."
    tokens: TokenSource = attrs.field(converter=token_source, repr=False)
    host_key: str | None = None
    org_slug: str | None = None
    credentials: Credentials | None = None

    @property
    def token(self) -> str:
        """The bearer token, valid now; an account's is renewed where it has to be. Empty where there is none."""
        return self.tokens.current() or ""


@attrs.frozen
class AnonymousToken(NotPickled):
    """What ``POST /v1/auth/anonymous`` gives.

    Attributes:
        token: the bearer token.
        anonymous_id: the backend's id of the identity.
        org_slug: its personal organisation.
    """

    _instead = "Ask for one in the other process: ensure_credentials()."
    token: str = attrs.field(repr=False)
    anonymous_id: str
    org_slug: str


def host_key(base_url: str) -> str:
    """Return a backend's name on disk: its host and port, safe in a file name on every system."""
    return urlsplit(base_url).netloc.rpartition("@")[2].lower().replace(":", "_")


def request_anonymous_token(base_url: str | None = None) -> AnonymousToken:
    """Ask a backend for a new anonymous identity; nothing is written.

    Args:
        base_url: the backend; by default ``default_cloud_api_url()``.

    Raises:
        ConnectionFailed, CloudApiError: it did not answer, or with an error.
        CredentialsError: its answer holds no token.
    """
    transport = Transport(default_cloud_api_url() if base_url is None else base_url)
    try:
        answer = transport.call("POST", path("v1", "auth", "anonymous"), json={"kind": "cli"})
        body = wire.json_object(answer)
    finally:
        transport.close()
    org = wire.mapping(body.get("personalOrg"))
    fields = (body.get("token"), body.get("anonymousId"), org.get("slug"))
    if not all(isinstance(value, str) and value for value in fields):
        raise CredentialsError(f"{transport.base_url} gave an anonymous identity without token, id or organisation.")
    return AnonymousToken(*map(str, fields))


def ensure_credentials(base_url: str | None = None, *, host: str | None = None) -> Credentials:
    """Return the stored identity, or obtain an anonymous one and store it.

    Args:
        base_url: the backend; by default ``default_cloud_api_url()``.
        host: the ``host_key`` of a backend that is not the user's Arkor login; None for the login.

    Raises:
        CredentialsError: the stored one cannot be read, or the new one not be written.
        ConnectionFailed, CloudApiError: the backend did not give one.

    Thread-safety: safe, also between processes: two at once end up with one identity.
    """
    base_url = default_cloud_api_url() if base_url is None else base_url
    file = credentials_path(host)
    stored = read_credentials(file)
    if stored is not None:
        return stored
    with held(file):
        stored = read_held(file)
        return stored if stored is not None else obtain_anonymous(base_url, host)


def obtain_anonymous(base_url: str, host: str | None) -> AnonymousCredentials:
    """Obtain an anonymous identity and store it in place of what is there; the caller holds its lock."""
    fresh = request_anonymous_token(base_url)
    credentials = AnonymousCredentials(
        token=fresh.token,
        anonymous_id=fresh.anonymous_id,
        arkor_cloud_api_url=base_url,
        org_slug=fresh.org_slug,
    )
    write_credentials(credentials, credentials_path(host))
    return credentials


def identity_for(base_url: str, *, local: bool = False) -> Identity:
    """Return the identity for a backend, obtaining an anonymous one where there is none.

    ``ARKOR_TOKEN`` wins everywhere. Else the user's Arkor login where it was issued by this host (or does not say by
    which), else the identity kept for this host.

    Args:
        base_url: the backend's address.
        local: whether it is this user's own backend, whose address changes from start to start.

    Raises:
        ConfigError: the address is none.
        CredentialsError: the stored identity cannot be read, or is another backend's.
        ConnectionFailed, CloudApiError: the backend gave no identity.
    """
    host = host_for(base_url, local=local)
    token = token_in_environment()
    if token is not None:
        return Identity(token, host)
    return _identity(ensure_credentials(base_url, host=host), base_url, host)


def stored_identity(base_url: str, *, local: bool = False) -> Identity | None:
    """Return the identity for a backend as ``identity_for`` does, but None where there is none yet."""
    host = host_for(base_url, local=local)
    token = token_in_environment()
    if token is not None:
        return Identity(token, host)
    stored = read_credentials(credentials_path(host))
    return None if stored is None else _identity(stored, base_url, host)


def host_for(base_url: str, *, local: bool = False) -> str | None:
    """Return the key of a backend's own files; None where the user's Arkor login is for it.

    Args:
        base_url: the backend's address; of no account where it is ``local``.
        local: whether it is this user's own backend.

    Raises:
        ConfigError: the address is none.
        CredentialsError: the user's Arkor login cannot be read.
    """
    if local:
        return LOCAL_HOST_KEY
    split_base_url(base_url)
    login = read_credentials()
    issuer = login.arkor_cloud_api_url if login else CLOUD_API_URL
    own = host_key(base_url)
    return None if issuer is None or host_key(issuer) == own else own


def token_in_environment() -> str | None:
    """Return ``ARKOR_TOKEN``, where it is set."""
    return os.environ.get("ARKOR_TOKEN", "").strip() or None  # a secret read from a file often ends with a newline


def _identity(credentials: Credentials, base_url: str, host: str | None) -> Identity:
    check = functools.partial(_check_issuer, base_url=base_url, host=host)
    check(credentials)
    if isinstance(credentials, AnonymousCredentials):
        return Identity(credentials.token, host, credentials.org_slug, credentials)
    return Identity(RenewedToken(credentials, credentials_path(host), check), host, None, credentials)


def _check_issuer(credentials: Credentials, base_url: str, host: str | None) -> None:
    """Raise CredentialsError where a backend would get the token of another one, or get its own unencrypted."""
    issuer = credentials.arkor_cloud_api_url
    if issuer is None or host == LOCAL_HOST_KEY:
        return
    in_the_clear = urlsplit(issuer).scheme == "https" != urlsplit(base_url).scheme
    if in_the_clear or host_key(issuer) != host_key(base_url):
        raise CredentialsError(
            f"{credentials_path(host)} holds an identity of {issuer}, which is not sent to {base_url}. "
            "Look at ARKOR_CLOUD_API_URL, or move the file away."
        )


def forget(host: str) -> None:
    """Drop the anonymous identity kept for a backend that no longer knows it."""
    credentials_path(host).unlink(missing_ok=True)
