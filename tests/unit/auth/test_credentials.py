"""The identities on disk: what is read, what is moved aside, what is never overwritten or shown."""

from __future__ import annotations

import json
import logging
import os
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings, strategies as st

from arkor.auth import credentials as module
from arkor.auth.credentials import (
    AnonymousCredentials,
    Credentials,
    OAuthCredentials,
    credentials_path,
    default_cloud_api_url,
    held,
    read_credentials,
    read_held,
    write_credentials,
)
from arkor.errors import CredentialsError
from tests.support.eventually import eventually
from tests.support.full_disk import largest_file

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
        {**OAUTH, "expiresAt": float("nan")},
        {**OAUTH, "expiresAt": float("inf")},
        {**OAUTH, "expiresAt": 10**400},
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


# Whatever lies on the disk

texts = st.text(min_size=1)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
moments = st.integers(0, 2**40) | st.floats(0, 1e12)
urls = st.none() | texts
unknown = st.dictionaries(
    st.text().filter(lambda key: key not in {*ANON, *OAUTH}), json_values.filter(lambda value: value is not None)
)
anonymous = st.builds(
    AnonymousCredentials, token=texts, anonymous_id=texts, arkor_cloud_api_url=urls, org_slug=texts, extra=unknown
)
accounts = st.builds(
    OAuthCredentials,
    access_token=texts,
    refresh_token=texts,
    expires_at=moments,
    auth0_domain=texts,
    audience=texts,
    client_id=texts,
    arkor_cloud_api_url=urls,
    extra=unknown,
)


@contextmanager
def scratch() -> Iterator[Path]:
    """Give the place of an identity in a folder of its own."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder) / "credentials.json"


@settings(max_examples=50)
@given(anonymous | accounts)
def test_what_is_written_is_read(credentials: Credentials) -> None:
    """Every field and every unknown key, whatever characters they have."""
    with scratch() as path:
        write_credentials(credentials, path)
        assert read_credentials(path) == credentials


@settings(max_examples=50)
@given(st.sampled_from([ANON, OAUTH]), unknown)
@example(ANON, {"extra": {"a": 1}})
@example(OAUTH, {"token": "of somebody else's mode"})
def test_a_file_is_rewritten_with_the_same_json(body: dict[str, Any], more: dict[str, Any]) -> None:
    """Reading and writing changes nothing, whatever keys another client has put in."""
    with scratch() as path:
        store({**more, **body}, path)
        credentials = read_credentials(path)
        assert credentials is not None
        write_credentials(credentials, path)
        assert json.loads(path.read_bytes()) == {**more, **body}


@settings(max_examples=150)
@given(st.binary() | json_values.map(lambda value: json.dumps(value).encode()))
@example(b'{"mode": "anon", "token": "a", "anonymousId": "b", "orgSlug": "c"}')
@example(b"\xef\xbb\xbf{}")
@example(b"9" * 5000)
def test_no_bytes_on_the_disk_are_lost_or_break_reading(content: bytes) -> None:
    """They are an identity, which stays, or they are kept beside it; nothing is ever deleted."""
    with scratch() as path:
        store(content, path)
        found = read_credentials(path)
        kept = path if found is not None else path.with_name("credentials.json.bad")
        assert kept.read_bytes() == content
        assert sorted(file.name for file in path.parent.iterdir() if file.suffix != ".lock") == [kept.name]


# Two at once, and disks that refuse


def test_a_login_that_replaced_a_bad_file_meanwhile_is_not_moved_aside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between reading bad bytes and moving them away another process may have mended the file."""
    path, reads = store(b"{"), []
    read = module._content

    def mend_after_the_first(file: Path) -> bytes | None:
        reads.append(read(file))
        if len(reads) == 1:
            store(ANON)
        return reads[-1]

    monkeypatch.setattr(module, "_content", mend_after_the_first)
    assert read_credentials() is not None
    assert json.loads(path.read_bytes()) == ANON
    assert not path.with_name("credentials.json.bad").exists()


def test_the_lock_keeps_threads_apart_and_lies_beside_the_file() -> None:
    """One lock for each identity."""
    entered = threading.Event()

    def enter() -> None:
        with held(credentials_path()):
            entered.set()

    thread = threading.Thread(target=enter)
    with held(credentials_path()), held(credentials_path("other")):
        thread.start()
        assert not entered.wait(0.1)
        assert credentials_path().with_suffix(".lock").exists()
    thread.join(10)
    assert entered.is_set()


def test_writers_and_readers_at_once_never_see_half_a_file() -> None:
    """Each reads one of the identities that were written, whole."""
    write = (
        "import sys; from arkor.auth.credentials import *\n"
        "for n in range(60): write_credentials(AnonymousCredentials("
        "token=sys.argv[1] * 500, anonymous_id=sys.argv[1], org_slug='o'))"
    )
    store(ANON)
    writers = [subprocess.Popen([sys.executable, "-c", write, letter]) for letter in "ab"]
    seen = set()

    def is_done() -> bool:
        credentials = read_credentials()
        assert isinstance(credentials, AnonymousCredentials)
        seen.add((credentials.anonymous_id, credentials.token))
        return all(writer.poll() is not None for writer in writers)

    eventually(is_done, "both have written")
    assert [writer.returncode for writer in writers] == [0, 0]
    assert seen <= {("id-1", "secret-token"), ("a", "a" * 500), ("b", "b" * 500)}
    assert [file.name for file in credentials_path().parent.iterdir()] == ["credentials.json"]


def test_a_full_disk_leaves_the_old_login_whole() -> None:
    """The error names the file, and nothing half stays beside it."""
    path = store(ANON)
    with largest_file(10), pytest.raises(CredentialsError, match="nothing was changed"):
        write_credentials(AnonymousCredentials(token="new", anonymous_id="y", org_slug="z"))
    assert json.loads(path.read_bytes()) == ANON
    assert [file.name for file in path.parent.iterdir()] == [path.name]


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_read_only_folder_leaves_the_old_login_whole() -> None:
    """It can still be read."""
    path = store(ANON)
    path.parent.chmod(0o500)
    try:
        with pytest.raises(CredentialsError, match="Permission denied"):
            write_credentials(AnonymousCredentials(token="new", anonymous_id="y", org_slug="z"))
        assert json.loads(path.read_bytes()) == ANON
        assert read_credentials() is not None
    finally:
        path.parent.chmod(0o700)


@pytest.mark.parametrize("umask", [0o000, 0o077, 0o177])
def test_the_umask_changes_nothing(umask: int) -> None:
    """Neither more open than 0600 nor closed to its owner."""
    credentials_path().parent.mkdir()
    before = os.umask(umask)
    try:
        write_credentials(AnonymousCredentials(token="new", anonymous_id="y", org_slug="z"))
    finally:
        os.umask(before)
    assert stat.S_IMODE(credentials_path().stat().st_mode) == 0o600


def test_a_bad_file_that_is_gone_before_it_is_moved_is_no_identity(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client without the lock was quicker."""
    path = store(b"{")
    monkeypatch.setattr(module, "_parsed", lambda _: path.unlink(missing_ok=True))
    assert read_held(path) is None
