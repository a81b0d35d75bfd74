"""The login with an account as a person does it: a real command, a real browser, a click."""

from __future__ import annotations

import json
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from arkor.auth.credentials import AnonymousCredentials, credentials_path, read_credentials, write_credentials
from tests.support.auth0 import ORG, Auth0, trusted_auth0
from tests.support.cloud import Cloud
from tests.support.commands import Command, run

TIMEOUT_S = 20.0


@pytest.fixture
def auth0(cloud: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Auth0]:
    """A stand-in for Auth0; the user's login is an anonymous one of the backend that its accounts are for."""
    monkeypatch.delenv("CI", raising=False)
    login = AnonymousCredentials(token="t", anonymous_id="old", arkor_cloud_api_url=cloud.url, org_slug="o")
    write_credentials(login)
    with trusted_auth0(cloud, tmp_path, monkeypatch) as running:
        yield running


@contextmanager
def logging_in() -> Iterator[tuple[Command, str]]:
    """Start a login, and give it with the address that it prints."""
    command = Command("login", "--oauth", "--no-browser", "--force")
    with command.process as process:
        assert process.stdout is not None
        try:
            yield command, next(line.strip() for line in process.stdout if "/authorize?" in line)
        finally:
            process.kill()


def click(browser: webdriver.Chrome, url: str, button: str) -> str:
    """Click on a button of the login page, and return the text of the page that comes then."""
    browser.get(url)
    browser.find_element(By.ID, button).click()
    WebDriverWait(browser, TIMEOUT_S).until(lambda _: "/callback" in browser.current_url)
    return browser.find_element(By.TAG_NAME, "body").text


def test_somebody_logs_in_with_an_account(chromium: webdriver.Chrome, cloud: Cloud, auth0: Auth0) -> None:
    """From the command over the login page back to the terminal; afterwards they are who they are."""
    with logging_in() as (command, url):
        page = click(chromium, url, "authorize")
        ended = command.end()
    assert "You are logged in" in page
    assert "Go back to the terminal" in page
    assert [entry["message"] for entry in chromium.get_log("browser")] == []  # type: ignore[no-untyped-call]
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.splitlines()[-1] == f"Logged in to {cloud.url} with an account."
    assert "secret" not in ended.out + page
    assert stat.S_IMODE(credentials_path().stat().st_mode) == 0o600
    kept = json.loads(credentials_path().read_bytes())
    assert (kept["mode"], kept["accessToken"], kept["auth0Domain"]) == ("oauth", "secret-access-1", auth0.domain)
    assert f"Organisations: {ORG}\n" in run("whoami").out


@pytest.mark.usefixtures("auth0")
def test_somebody_says_no(chromium: webdriver.Chrome) -> None:
    """The browser and the terminal say so; whoever was logged in still is."""
    before = read_credentials()
    with logging_in() as (command, url):
        page = click(chromium, url, "deny")
        ended = command.end()
    assert ended.code == 3
    assert re.search("refused .access_denied: User did not authorize the request", ended.err)
    assert ended.err.removeprefix("Error: ").strip() in page
    assert read_credentials() == before
