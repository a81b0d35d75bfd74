"""Logging in and out as the library does it: what takes whose place, and what stays when it fails."""

from __future__ import annotations

import json
import stat
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

import pytest
import requests

from arkor.auth.credentials import (
    AnonymousCredentials,
    OAuthCredentials,
    credentials_path,
    held,
    read_credentials,
    write_credentials,
)
from arkor.auth.login import log_in_anonymously, log_in_with_account, log_out
from arkor.auth.oauth import OAuthConfig, request_oauth_config
from arkor.errors import ArkorError, CredentialsError
from tests.support.auth0 import TOKEN, Auth0
from tests.support.cloud import Cloud
from tests.support.contract import Answer
from tests.support.eventually import eventually

OLD = AnonymousCredentials(token="old", anonymous_id="old-id", arkor_cloud_api_url="https://x", org_slug="old-org")


@pytest.fixture
def config(cloud: Cloud, auth0: Auth0) -> OAuthConfig:
    """How accounts log in."""
    found = request_oauth_config(cloud.url)
    assert found is not None
    return found


def click(auth0: Auth0, allow: str = "yes") -> Callable[[str], None]:
    """Return a user who opens the login page in a browser without JavaScript and clicks on a button."""
    pages: list[requests.Response] = []

    def browse(url: str) -> None:
        with requests.Session() as browser:
            browser.verify = str(auth0.authority)
            page = browser.get(url, timeout=10)
            assert page.status_code == 200, page.text
            query = page.text.partition('name="query" value="')[2].partition('"')[0].replace("&quot;", '"')
            form = {"query": query.replace("&amp;", "&"), "allow": allow}
            pages.append(browser.post(f"https://{auth0.domain}/decision", data=form, timeout=10))

    return lambda url: threading.Thread(target=browse, args=(url,), daemon=True).start()


def test_an_account_logs_in(cloud: Cloud, auth0: Auth0, config: OAuthConfig) -> None:
    """The whole way, with PKCE; the login says for which backend it is, and is private."""
    credentials = log_in_with_account(cloud.url, None, config, show=click(auth0), timeout_s=20)
    assert read_credentials() == credentials
    assert stat.S_IMODE(credentials_path().stat().st_mode) == 0o600
    body = json.loads(credentials_path().read_bytes())
    assert body.pop("expiresAt") > 0
    assert body == {
        "mode": "oauth",
        "accessToken": "secret-access-1",
        "refreshToken": "secret-refresh-1",
        "auth0Domain": auth0.domain,
        "audience": config.audience,
        "clientId": config.client_id,
        "arkorCloudApiUrl": cloud.url,
    }


def test_an_account_takes_the_place_of_what_was_there(cloud: Cloud, auth0: Auth0, config: OAuthConfig) -> None:
    """In the file that was asked for, and in no other."""
    write_credentials(OLD)
    write_credentials(OLD, credentials_path("other"))
    log_in_with_account(cloud.url, "other", config, show=click(auth0), timeout_s=20)
    assert read_credentials() == OLD
    assert isinstance(read_credentials(credentials_path("other")), OAuthCredentials)


def test_a_user_who_says_no_changes_nothing(cloud: Cloud, auth0: Auth0, config: OAuthConfig) -> None:
    """The reason is the provider's."""
    write_credentials(OLD)
    with pytest.raises(CredentialsError, match="access_denied: User did not authorize the request"):
        log_in_with_account(cloud.url, None, config, show=click(auth0, allow=""), timeout_s=20)
    assert read_credentials() == OLD


@pytest.mark.parametrize(
    "answer",
    [Answer(status=500), Answer(status=403, body={"error": "invalid_grant"}), Answer(body={"access_token": "a"})],
)
def test_an_exchange_that_fails_changes_nothing(
    cloud: Cloud, auth0: Auth0, config: OAuthConfig, answer: Answer
) -> None:
    """Whoever was logged in still is."""
    write_credentials(OLD)
    auth0.answer("POST", TOKEN, answer)
    with pytest.raises(ArkorError):
        log_in_with_account(cloud.url, None, config, show=click(auth0), timeout_s=20)
    assert read_credentials() == OLD


def test_a_user_who_never_comes_changes_nothing(cloud: Cloud, config: OAuthConfig) -> None:
    """The wait has an end."""
    with pytest.raises(CredentialsError, match="Nobody logged in"):
        log_in_with_account(cloud.url, None, config, show=lambda _: None, timeout_s=0.1)
    assert read_credentials() is None


def test_a_file_that_cannot_be_read_is_not_overwritten(cloud: Cloud, auth0: Auth0, config: OAuthConfig) -> None:
    """Neither by an account nor by an anonymous identity; it may hold a login."""
    credentials_path().mkdir(parents=True)
    for log_in in (
        lambda: log_in_anonymously(cloud.url, None),
        lambda: log_in_with_account(cloud.url, None, config, show=click(auth0), timeout_s=20),
    ):
        with pytest.raises(CredentialsError, match="not overwritten"):
            log_in()
    assert credentials_path().is_dir()


def test_a_new_anonymous_identity_takes_the_place_of_the_old_one(cloud: Cloud) -> None:
    """Once the backend has given it."""
    write_credentials(OLD)
    cloud.answer("POST", "/v1/auth/anonymous", Answer(status=403, body={"error": "closed"}))
    with pytest.raises(ArkorError, match="closed"):
        log_in_anonymously(cloud.url, None)
    assert read_credentials() == OLD
    fresh = log_in_anonymously(cloud.url, None)
    assert fresh.anonymous_id == "id-1"
    assert read_credentials() == fresh


def test_logging_out_removes_one_identity() -> None:
    """That of the backend in question; where there is none it says so."""
    write_credentials(OLD)
    write_credentials(OLD, credentials_path("other"))
    assert log_out("other") == OLD
    assert log_out("other") is None
    assert log_out("never-seen") is None
    assert read_credentials() == OLD
    assert log_out(None) == OLD
    assert read_credentials() is None


def test_logging_out_waits_for_a_refresh_that_is_under_way() -> None:
    """Its new tokens would bring the login back."""
    write_credentials(OLD)
    with ThreadPoolExecutor() as pool:
        with held(credentials_path()):
            leaving = pool.submit(log_out, None)
            assert leaving in wait([leaving], 0.1).not_done
            write_credentials(OLD)
        eventually(leaving.done, "it has logged out")
    assert read_credentials() is None


def test_a_login_that_cannot_be_removed_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the file and the reason."""

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    write_credentials(OLD)
    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.raises(CredentialsError, match=r"cannot be removed \(Permission denied\)"):
        log_out(None)
