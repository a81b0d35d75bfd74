"""The identity that belongs to a backend: which file it is in, and a new anonymous one where there is none.

Protocol: docs/protocol.md, "Addressing a backend" (which identity goes where) and "Identity".
"""

from __future__ import annotations

import os
from urllib.parse import urlsplit

import attrs

from arkor.api import wire
from arkor.api.abort import pause
from arkor.api.transport import Transport, path
from arkor.auth.credentials import (
    CLOUD_API_URL,
    AnonymousCredentials,
    Credentials,
    credentials_path,
    default_cloud_api_url,
    read_credentials,
    write_credentials,
)
from arkor.disk import arkor_home, file_lock
from arkor.errors import ArkorError, CredentialsError

LOCAL_HOST_KEY = "local"


@attrs.frozen
class Identity:
    """Who this user is to one backend.

    Attributes:
        token: the bearer token.
        host_key: names the backend's own files under ``hosts/``; None for the user's Arkor login.
        org_slug: the personal organisation of an anonymous identity; None for an account or a bare token.
    """

    token: str = attrs.field(repr=False)
    host_key: str | None = None
    org_slug: str | None = None


@attrs.frozen
class AnonymousToken:
    """What ``POST /v1/auth/anonymous`` gives.

    Attributes:
        token: the bearer token.
        anonymous_id: the backend's id of the identity.
        org_slug: its personal organisation.
    """

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
    try:
        with file_lock(arkor_home() / "credentials.lock", pause):
            stored = read_credentials(file)
            return stored if stored is not None else _bootstrap(base_url, host)
    except ArkorError:  # some of ours are OSErrors too
        raise
    except OSError as exc:
        raise CredentialsError(f"{arkor_home()} cannot be written ({exc.strerror}); no identity was made.") from exc


def _bootstrap(base_url: str, host: str | None) -> AnonymousCredentials:
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
    """
    host = LOCAL_HOST_KEY if local else _host_of(base_url)
    token = os.environ.get("ARKOR_TOKEN", "").strip()  # a secret read from a file often ends with a newline
    if token:
        return Identity(token, host)
    credentials = ensure_credentials(base_url, host=host)
    org = credentials.org_slug if isinstance(credentials, AnonymousCredentials) else None
    return Identity(credentials.bearer_token, host, org)


def _host_of(base_url: str) -> str | None:
    """Return the key of a backend's own files, or None where the user's Arkor login is for it."""
    login = read_credentials()
    issuer = login.arkor_cloud_api_url if login else CLOUD_API_URL
    own = host_key(base_url)
    return None if issuer is None or host_key(issuer) == own else own


def forget(host: str) -> None:
    """Drop the anonymous identity kept for a backend that no longer knows it."""
    credentials_path(host).unlink(missing_ok=True)
