"""Logging in and out: what takes an identity's place on disk, and what is removed.

Protocol: docs/protocol.md, "Identity".
"""

from __future__ import annotations

import secrets
from collections.abc import Callable

import attrs

from arkor.auth.credentials import (
    AnonymousCredentials,
    Credentials,
    OAuthCredentials,
    credentials_path,
    held,
    read_credentials,
    read_held,
    write_credentials,
)
from arkor.auth.identity import obtain_anonymous
from arkor.auth.loopback import Callback
from arkor.auth.oauth import Authorization, OAuthConfig
from arkor.errors import CredentialsError

LOGIN_TIMEOUT_S = 300.0


def log_in_anonymously(base_url: str, host: str | None) -> AnonymousCredentials:
    """Obtain a new anonymous identity and store it in place of what is there.

    Args:
        base_url: the backend.
        host: the backend's ``host_for``.

    Raises:
        CredentialsError: the new one cannot be written, or the old one not be read; the old one is whole.
        ConnectionFailed, CloudApiError: the backend did not give one.
    """
    with held(credentials_path(host)):
        read_held(credentials_path(host))  # what cannot be read is not overwritten
        return obtain_anonymous(base_url, host)


def log_in_with_account(
    base_url: str,
    host: str | None,
    config: OAuthConfig,
    *,
    show: Callable[[str], object],
    timeout_s: float = LOGIN_TIMEOUT_S,
) -> OAuthCredentials:
    """Log in with an account, in a browser, and store it in place of what is there.

    Args:
        base_url: the backend.
        host: the backend's ``host_for``.
        config: how accounts log in there.
        show: called with the address of the login page.
        timeout_s: seconds that the user has for it.

    Raises:
        CredentialsError: no port is free, the login was refused, nobody came, or it cannot be stored; what was there
            is whole.
        ConnectionFailed: the provider did not answer.
    """
    state = secrets.token_urlsafe(32)
    with Callback(config.callback_ports, state) as callback:
        authorization = Authorization(config, callback.redirect_uri, state)
        show(authorization.url)
        fresh = authorization.exchange(callback.wait(timeout_s))
        credentials = attrs.evolve(fresh, arkor_cloud_api_url=base_url)
        file = credentials_path(host)
        with held(file):
            read_held(file)  # what cannot be read is not overwritten
            write_credentials(credentials, file)
        callback.show_success(base_url)
    return credentials


def log_out(host: str | None) -> Credentials | None:
    """Remove the identity of a backend, and return it; None where there was none.

    Args:
        host: the backend's ``host_for``.

    Raises:
        CredentialsError: it cannot be read or removed.
    """
    file = credentials_path(host)
    if read_credentials(file) is None:
        return None
    with held(file):
        stored = read_held(file)
        if stored is not None:
            try:
                file.unlink()
            except OSError as exc:
                raise CredentialsError(f"{file} cannot be removed ({exc.strerror}).") from exc
    return stored
