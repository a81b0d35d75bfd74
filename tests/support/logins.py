"""Identities for a stand-in, as they lie on the disk."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from arkor.auth.credentials import (
    AnonymousCredentials,
    Credentials,
    credentials_path,
    read_credentials,
    write_credentials,
)
from tests.support.auth0 import Auth0
from tests.support.cloud import Cloud


def place(cloud: Cloud) -> Path:
    """Where the identity is kept."""
    return credentials_path(f"127.0.0.1_{cloud.port}")


def stored(cloud: Cloud) -> Credentials | None:
    """Return the identity that is kept."""
    return read_credentials(place(cloud))


def be_anonymous(cloud: Cloud) -> None:
    """Have an anonymous identity."""
    cloud.know("secret-token", "anon-org")
    identity = AnonymousCredentials(
        token="secret-token", anonymous_id="anon-7", arkor_cloud_api_url=cloud.url, org_slug="anon-org"
    )
    write_credentials(identity, place(cloud))


def have_account(cloud: Cloud, auth0: Auth0, **more: Any) -> None:
    """Be logged in with an account."""
    place(cloud).parent.mkdir(parents=True, exist_ok=True)
    place(cloud).write_text(json.dumps({**auth0.login(), **more}))
