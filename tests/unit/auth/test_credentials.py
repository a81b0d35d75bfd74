"""The identities on disk: what is read, what is moved aside, what is never overwritten or shown."""

from __future__ import annotations

import json
import logging
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from arkor.auth.credentials import (
    AnonymousCredentials,
    Credentials,
    OAuthCredentials,
    credentials_path,
    default_cloud_api_url,
    read_credentials,
    write_credentials,
)
from arkor.errors import CredentialsError

ANON: dict[str, Any] = {
    "mode": "anon",
    "token": "secret-token",
    "anonymousId": "id-1",
    "arkorCloudApiUrl": "https://api.example.com",
    "orgSlug": "anon-1",
}
OAUTH: dict[str, Any] = {
    "mode": "oauth",
    "accessToken": "secret-access",
    "refreshToken": "secret-refresh",
    "expiresAt": 1_900_000_000,
    "auth0Domain": "login.example.com",
    "audience": "https://api.example.com",
    "clientId": "client",
}


def store(content: Any, path: Path | None = None) -> Path:
    """Put something where an identity is kept."""
    path = path or credentials_path()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return path


def stored() -> Credentials:
    """Return the login, which is there."""
    credentials = read_credentials()
    assert credentials is not None
    return credentials


def without(body: dict[str, Any], *keys: str) -> dict[str, Any]:
    """Return a body without some keys."""
    return {key: value for key, value in body.items() if key not in keys}


def test_the_files_have_their_places(home: Path) -> None:
    """The login, and one file for each other backend."""
    assert credentials_path() == home / ".arkor" / "credentials.json"
    assert credentials_path("127.0.0.1_80") == home / ".arkor" / "hosts" / "127.0.0.1_80.json"


def test_no_file_is_no_identity() -> None:
    """And nothing is made."""
    assert read_credentials() is None
    assert not credentials_path().parent.exists()


def test_an_anonymous_identity_is_read() -> None:
    """Every field, and the token to send."""
    store(ANON)
    assert read_credentials() == AnonymousCredentials(
        token="secret-token",
        anonymous_id="id-1",
        arkor_cloud_api_url="https://api.example.com",
        org_slug="anon-1",
    )
    assert stored().bearer_token == "secret-token"


def test_an_account_is_read() -> None:
    """Every field, and the token to send."""
    store(OAUTH)
    credentials = read_credentials()
    assert isinstance(credentials, OAuthCredentials)
    assert credentials.bearer_token == "secret-access"
    assert (credentials.expires_at, credentials.arkor_cloud_api_url) == (1_900_000_000, None)


@pytest.mark.parametrize("body", [ANON, OAUTH, without(ANON, "arkorCloudApiUrl")])
def test_an_identity_is_written_as_it_was_read(body: dict[str, Any]) -> None:
    """Keys of other clients or later versions are kept."""
    store({**body, "newKey": {"a": 1}})
    credentials = read_credentials()
    assert credentials is not None
    write_credentials(credentials)
    assert json.loads(credentials_path().read_bytes()) == {**body, "newKey": {"a": 1}}


def test_a_written_identity_is_private() -> None:
    """Mode 0600, also over a file that was open to all."""
    path = store(ANON)
    path.chmod(0o644)
    write_credentials(stored())
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [file.name for file in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\xff\xfe\x00",
        b"[" * 100_000,
        {},
        [],
        None,
        "text",
        {"mode": "anon"},
        {"mode": "new", "token": "x"},
        {"mode": ["anon"], "token": "x"},
        without(ANON, "mode"),
        without(ANON, "token"),
        without(ANON, "orgSlug"),
        {**ANON, "token": ""},
        {**ANON, "token": None},
        {**ANON, "token": 3},
        {**ANON, "anonymousId": {}},
        {**ANON, "arkorCloudApiUrl": 3},
        without(OAUTH, "refreshToken"),
        {**OAUTH, "expiresAt": "tomorrow"},
        {**OAUTH, "expiresAt": True},
        {**OAUTH, "clientId": []},
    ],
    ids=lambda content: repr(content)[:40],
)
def test_a_file_without_a_usable_identity_is_moved_aside(content: Any, caplog: pytest.LogCaptureFixture) -> None:
    """It is announced and kept: nothing that may be a login is deleted."""
    path = store(content)
    before = path.read_bytes()
    with caplog.at_level(logging.WARNING, "arkor"):
        assert read_credentials() is None
    assert not path.exists()
    assert path.with_name("credentials.json.bad").read_bytes() == before
    assert "credentials.json.bad" in caplog.text
    assert "secret" not in caplog.text


def test_a_file_that_cannot_be_read_is_an_error_and_stays() -> None:
    """It may hold a login: it is neither moved nor replaced."""
    path = credentials_path()
    path.mkdir(parents=True)
    with pytest.raises(CredentialsError, match="is there but cannot be read"):
        read_credentials()
    assert path.is_dir()


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_of_somebody_else_is_an_error_and_stays() -> None:
    """Permissions say no."""
    path = store(ANON)
    path.chmod(0)
    with pytest.raises(CredentialsError, match="Permission denied"):
        read_credentials()
    assert path.exists()


def test_a_home_that_is_no_folder_is_an_error(home: Path) -> None:
    """Reading and writing say so, in one of our own errors."""
    (home / ".arkor").write_text("a file")
    with pytest.raises(CredentialsError):
        read_credentials()
    with pytest.raises(CredentialsError, match="cannot be written"):
        write_credentials(AnonymousCredentials(token="x", anonymous_id="y", org_slug="z"))


def test_a_bad_file_that_cannot_be_moved_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder without write permission: it is not replaced either."""

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    store(b"{")
    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(CredentialsError, match="Permission denied"):
        read_credentials()


@pytest.mark.parametrize("body", [ANON, OAUTH])
def test_no_token_is_ever_shown(body: dict[str, Any]) -> None:
    """Not by repr, not by str, not in an error."""
    store(body)
    credentials: Credentials | None = read_credentials()
    assert "secret" not in f"{credentials!r} {credentials}"


@pytest.mark.parametrize(
    ("configured", "url"),
    [
        ("https://one.example.com", "https://one.example.com"),
        ("https://one.example.com///", "https://one.example.com"),
        ("local", "local"),
        ("", ""),
    ],
)
def test_the_environment_says_which_backend(configured: str, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It wins over the login, and an empty value is kept, so that a mistake surfaces."""
    store(ANON)
    monkeypatch.setenv("ARKOR_CLOUD_API_URL", configured)
    assert default_cloud_api_url() == url


def test_the_login_says_which_backend_where_the_environment_does_not() -> None:
    """Else it is Arkor Cloud."""
    assert default_cloud_api_url() == "https://api.arkor.ai"
    store({**ANON, "arkorCloudApiUrl": "https://two.example.com/"})
    assert default_cloud_api_url() == "https://two.example.com"
    store(without(ANON, "arkorCloudApiUrl"))
    assert default_cloud_api_url() == "https://api.arkor.ai"
