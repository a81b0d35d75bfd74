"""The identities on disk: read, checked, written whole and private.

``~/.arkor/credentials.json`` is the user's Arkor login, shared with every other Arkor client on this machine. An
identity at any other backend lives in ``~/.arkor/hosts/<host>.json``, so that a token only ever goes to the host
that issued it.

Protocol: docs/protocol.md, "Identity".
"""

from __future__ import annotations

import contextlib
import json
import logging
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import attrs

from arkor.errors import ArkorError, CredentialsError
from arkor.http.abort import pause
from arkor.http.cloud import CLOUD_API_URL
from arkor.protocol import wire
from arkor.system.files import arkor_home, file_lock, make_private_folder, write_atomically
from arkor.system.pickling import NotPickled

_READ_THERE = "Read it in the other process: read_credentials()."

logger = logging.getLogger(__name__)


@attrs.frozen(kw_only=True)
class AnonymousCredentials(NotPickled):
    """An identity without an account.

    Attributes:
        token: the bearer token.
        anonymous_id: the backend's id of this identity.
        arkor_cloud_api_url: the backend that issued it, or None in older files.
        org_slug: the personal organisation that its projects belong to.
        extra: keys this version does not know, kept when the file is rewritten.
    """

    _instead = _READ_THERE
    mode: ClassVar[str] = "anon"
    token: str = attrs.field(repr=False)
    anonymous_id: str
    arkor_cloud_api_url: str | None = None
    org_slug: str
    extra: Mapping[str, Any] = attrs.field(factory=dict, hash=False)

    @property
    def bearer_token(self) -> str:
        """The token that requests carry."""
        return self.token


@attrs.frozen(kw_only=True)
class OAuthCredentials(NotPickled):
    """An identity with an account.

    Attributes:
        access_token: the bearer token.
        refresh_token: what a new access token is had for.
        expires_at: when the access token ends, Unix time in seconds.
        auth0_domain, audience, client_id: where and as what it is refreshed.
        arkor_cloud_api_url: the backend it is for, or None.
        extra: keys this version does not know, kept when the file is rewritten.
    """

    _instead = _READ_THERE
    mode: ClassVar[str] = "oauth"
    access_token: str = attrs.field(repr=False)
    refresh_token: str = attrs.field(repr=False)
    expires_at: float
    auth0_domain: str
    audience: str
    client_id: str
    arkor_cloud_api_url: str | None = None
    extra: Mapping[str, Any] = attrs.field(factory=dict, hash=False)

    @property
    def bearer_token(self) -> str:
        """The token that requests carry."""
        return self.access_token


Credentials = AnonymousCredentials | OAuthCredentials

_BY_MODE: dict[str, type[AnonymousCredentials] | type[OAuthCredentials]] = {
    "anon": AnonymousCredentials,
    "oauth": OAuthCredentials,
}


def credentials_path(host: str | None = None) -> Path:
    """Return where an identity is kept.

    Args:
        host: the backend's ``host_key``; None for the user's Arkor login.
    """
    return arkor_home() / "credentials.json" if host is None else arkor_home() / "hosts" / f"{host}.json"


def parse_credentials(body: Any) -> Credentials | None:
    """Return the identity that a file's JSON holds, or None where it holds none."""
    if not isinstance(body, Mapping):
        return None
    cls = _BY_MODE.get(str(body.get("mode")))
    if cls is None:
        return None
    arguments = wire.known_fields(cls, {key: value for key, value in body.items() if key != "mode"})
    if not all(_is_good(field.name, arguments.get(field.name)) for field in attrs.fields(cls)):
        return None
    credentials: Credentials = cls(**arguments)
    return credentials


def _is_good(field: str, value: Any) -> bool:
    if field == "expires_at":
        seconds = wire.number(value)
        return seconds is not None and math.isfinite(seconds)
    if field == "arkor_cloud_api_url" and value is None:
        return True
    return field == "extra" or (isinstance(value, str) and value != "")


@contextlib.contextmanager
def held(path: Path) -> Iterator[None]:
    """Hold the lock on an identity, against other threads and other processes.

    Args:
        path: the identity's file; the lock lies beside it.

    Raises:
        CredentialsError: there is no place for the lock, so the identity could not be written either.
    """
    lock = path.with_suffix(".lock")
    with contextlib.ExitStack() as stack:
        try:
            make_private_folder(lock.parent)
            stack.enter_context(file_lock(lock, pause))
        except ArkorError:  # some of ours are OSErrors too
            raise
        except OSError as exc:
            raise CredentialsError(f"{lock} cannot be written ({exc.strerror}); nothing was changed.") from exc
        yield


def read_credentials(path: Path | None = None) -> Credentials | None:
    """Read an identity from disk.

    A file that holds no usable identity is moved aside to ``<name>.bad`` with a warning, never deleted.

    Args:
        path: the file; by default the user's Arkor login.

    Returns:
        The identity, or None where there is none.

    Raises:
        CredentialsError: the file is there but cannot be read; a login in it must not be overwritten.
    """
    path = path or credentials_path()
    content = _content(path)
    credentials = None if content is None else _parsed(content)
    if credentials is None and content is not None:
        with held(path):  # somebody else may have replaced it by a good one since
            return read_held(path)
    return credentials


def read_held(path: Path) -> Credentials | None:
    """Read an identity as ``read_credentials`` does, where the caller holds its lock."""
    content = _content(path)
    if content is None:
        return None
    credentials = _parsed(content)
    if credentials is None:
        aside = path.with_name(path.name + ".bad")
        try:
            path.replace(aside)
        except FileNotFoundError:  # by a client that does not know the lock
            return None
        except OSError as exc:
            raise CredentialsError(
                f"{path} holds no usable identity, and cannot be moved away: {exc.strerror}."
            ) from exc
        logger.warning("%s holds no usable identity; it was moved to %s, out of a new one's way.", path, aside.name)
    return credentials


def _content(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as exc:
        raise CredentialsError(
            f"{path} is there but cannot be read ({exc.strerror}). Mend its permissions or move it away; "
            "it is not overwritten, since it may hold a login."
        ) from exc


def _parsed(content: bytes) -> Credentials | None:
    with contextlib.suppress(ValueError, RecursionError):
        return parse_credentials(json.loads(content))
    return None


def write_credentials(credentials: Credentials, path: Path | None = None) -> None:
    """Write an identity to disk: mode 0600 from the first byte, in one step.

    Args:
        credentials: the identity.
        path: the file; by default the user's Arkor login.

    Raises:
        CredentialsError: it cannot be written; the file that was there is whole.
    """
    path = path or credentials_path()
    body = {"mode": credentials.mode, **wire.to_wire(credentials)}
    try:
        make_private_folder(path.parent)
        write_atomically(path, json.dumps(body, indent=2).encode() + b"\n", mode=0o600)
    except OSError as exc:
        raise CredentialsError(f"{path} cannot be written ({exc.strerror}); nothing was changed.") from exc


def default_cloud_api_url() -> str:
    """Return the base URL that is used when none is given.

    ``ARKOR_CLOUD_API_URL`` where it is set (also when empty, so that a mistake surfaces), else the one in the
    user's Arkor login, else Arkor Cloud's. Trailing slashes are dropped.
    """
    configured = os.environ.get("ARKOR_CLOUD_API_URL")
    if configured is None:
        login = read_credentials()
        configured = (login.arkor_cloud_api_url if login else None) or CLOUD_API_URL
    return configured.rstrip("/")
