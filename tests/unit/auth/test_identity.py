"""Which identity goes to which backend, and how a new one is obtained."""

from __future__ import annotations

import json
import logging
import re
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from arkor.auth import identity
from arkor.auth.credentials import (
    AnonymousCredentials,
    Credentials,
    credentials_path,
    read_credentials,
    write_credentials,
)
from arkor.auth.identity import (
    ensure_credentials,
    forget,
    host_for,
    host_key,
    identity_for,
    request_anonymous_token,
    stored_identity,
)
from arkor.errors import CloudApiError, ConfigError, ConnectionFailed, CredentialsError
from tests.support.cloud import Cloud
from tests.support.contract import Answer
from tests.support.eventually import eventually


def login(token: str, url: str | None, path: Path | None = None) -> None:
    """Store an anonymous identity."""
    credentials = AnonymousCredentials(token=token, anonymous_id="id", arkor_cloud_api_url=url, org_slug=f"org-{token}")
    write_credentials(credentials, path)


def stored() -> Credentials:
    """Return the login, which is there."""
    credentials = read_credentials()
    assert credentials is not None
    return credentials


@pytest.mark.parametrize(
    ("url", "key"),
    [
        ("https://api.arkor.ai", "api.arkor.ai"),
        ("https://API.Arkor.ai/", "api.arkor.ai"),
        ("http://127.0.0.1:4747", "127.0.0.1_4747"),
        ("http://[::1]:4747", "[__1]_4747"),
        ("https://user:password@example.com:8443/x", "example.com_8443"),
    ],
)
def test_a_backend_has_a_name_on_disk(url: str, key: str) -> None:
    """Host and port, safe in a file name, without any secret of the URL."""
    assert host_key(url) == key


# Which one


def test_the_login_goes_to_the_host_that_issued_it() -> None:
    """However the URL is written."""
    login("mine", "https://api.example.com")
    found = identity_for("https://API.example.com/")
    assert (found.token, found.host_key, found.org_slug) == ("mine", None, "org-mine")


def test_the_login_goes_to_no_other_host(cloud: Cloud) -> None:
    """Another backend gives an identity of its own, in a file of its own."""
    login("mine", "https://api.example.com")
    found = identity_for(cloud.url)
    assert (found.token, found.host_key) == ("token-1", f"127.0.0.1_{cloud.port}")
    assert all("mine" not in str(item.headers) for item in cloud.requests)
    assert stored().bearer_token == "mine"
    assert identity_for(cloud.url) == found
    assert len(cloud.requests) == 1


def test_an_identity_kept_for_a_host_is_used_for_it() -> None:
    """Without a request."""
    login("mine", "https://api.example.com")
    login("theirs", "https://other.example.com", credentials_path("other.example.com"))
    assert identity_for("https://other.example.com").token == "theirs"
    assert identity_for("https://api.example.com").token == "mine"


def test_an_older_login_goes_where_the_base_url_says() -> None:
    """It does not say who issued it."""
    login("mine", None)
    found = identity_for("https://anywhere.example.com")
    assert (found.token, found.host_key) == ("mine", None)


def test_without_a_login_the_clouds_own_identity_becomes_it(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    """Any other backend's does not."""
    monkeypatch.setattr(identity, "CLOUD_API_URL", cloud.url)
    found = identity_for(cloud.url)
    assert (found.host_key, found.org_slug) == (None, "anon-1")
    stored = json.loads(credentials_path().read_bytes())
    assert stored == {
        "mode": "anon",
        "token": "token-1",
        "anonymousId": "id-1",
        "arkorCloudApiUrl": cloud.url,
        "orgSlug": "anon-1",
    }


def test_the_local_backend_has_one_identity_whatever_its_port(cloud: Cloud) -> None:
    """Its address changes from start to start."""
    found = identity_for(cloud.url, local=True)
    assert found.host_key == "local"
    assert credentials_path("local").is_file()
    assert identity_for("http://127.0.0.1:1", local=True) == found


@pytest.mark.parametrize("local", [False, True])
def test_a_token_in_the_environment_wins_everywhere(local: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """No file is read for it and none is made; the routing is still the host's."""
    login("mine", "https://api.example.com")
    monkeypatch.setenv("ARKOR_TOKEN", "ci-token")
    found = identity_for("https://other.example.com", local=local)
    assert (found.token, found.org_slug) == ("ci-token", None)
    assert found.host_key == ("local" if local else "other.example.com")
    assert identity_for("https://api.example.com").token == "ci-token"
    assert not credentials_path("other.example.com").exists()


def test_a_newline_after_the_token_in_the_environment_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """Secrets are often read from files."""
    monkeypatch.setenv("ARKOR_TOKEN", " ci-token\n")
    assert identity_for("https://api.example.com").token == "ci-token"


def test_an_empty_token_in_the_environment_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """An unset CI secret is empty."""
    login("mine", "https://api.example.com")
    monkeypatch.setenv("ARKOR_TOKEN", "")
    assert identity_for("https://api.example.com").token == "mine"


@pytest.mark.parametrize(
    ("issuer", "asked"),
    [
        ("https://one.example.com", "https://two.example.com"),
        ("https://two.example.com", "http://two.example.com"),
        ("https://two.example.com:8443", "https://two.example.com"),
    ],
)
def test_an_identity_in_the_wrong_file_goes_nowhere(issuer: str, asked: str) -> None:
    """Whoever copied it there: its token is not sent to another host, nor to the same one unencrypted."""
    login("mine", "https://api.example.com")
    login("theirs", issuer, credentials_path("two.example.com"))
    with pytest.raises(CredentialsError, match=re.escape(f"an identity of {issuer}, which is not sent to {asked}")):
        identity_for(asked)
    with pytest.raises(CredentialsError):
        stored_identity(asked)


def test_a_login_that_changes_hosts_meanwhile_goes_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between finding out that the login is for this host and reading its token another one may have logged in."""
    login("mine", "https://api.example.com")
    ensure = identity.ensure_credentials

    def late(*arguments: Any, **named: Any) -> Credentials:
        login("theirs", "https://other.example.com")
        return ensure(*arguments, **named)

    monkeypatch.setattr(identity, "ensure_credentials", late)
    with pytest.raises(CredentialsError, match="which is not sent to"):
        identity_for("https://api.example.com")


def test_what_is_stored_is_found_without_obtaining_anything(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    """None where there is nothing; else who that is, by the same rules."""
    assert stored_identity(cloud.url) is None
    assert stored_identity("local", local=True) is None
    assert cloud.requests == []
    found = identity_for(cloud.url)
    assert stored_identity(cloud.url) == found
    assert isinstance(found.credentials, AnonymousCredentials)
    monkeypatch.setenv("ARKOR_TOKEN", "ci-token")
    bare = stored_identity(cloud.url)
    assert bare is not None
    assert (bare.token, bare.credentials, bare.host_key) == ("ci-token", None, found.host_key)


@pytest.mark.parametrize("url", ["", "nonsense", "http://["])
def test_an_address_that_is_none_leads_to_no_file(url: str) -> None:
    """Least of all to the login, as an empty name would."""
    login("mine", "https://api.example.com")
    for look in (host_for, stored_identity, identity_for):
        with pytest.raises(ConfigError, match="ARKOR_CLOUD_API_URL"):
            look(url)
    assert credentials_path("") != credentials_path()


# Obtaining one


def test_an_anonymous_identity_is_asked_for_as_the_contract_says(cloud: Cloud) -> None:
    """The call of the command line, with the client's name, without a token; nothing is written."""
    token = request_anonymous_token(cloud.url)
    assert (token.token, token.anonymous_id, token.org_slug) == ("token-1", "id-1", "anon-1")
    (call,) = cloud.requests
    assert (call.method, call.path, call.json()) == ("POST", "/v1/auth/anonymous", {"kind": "cli"})
    assert "x-arkor-client" in call.headers
    assert "authorization" not in call.headers
    assert not credentials_path().exists()
    assert "token-1" not in repr(token)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"token": "t", "anonymousId": "a"},
        {"token": "t", "anonymousId": "a", "personalOrg": {"slug": ""}},
        {"token": 3, "anonymousId": "a", "personalOrg": {"slug": "s"}},
        {"token": "t", "anonymousId": "a", "personalOrg": "s"},
    ],
)
def test_an_answer_without_an_identity_is_an_error(cloud: Cloud, body: dict[str, Any]) -> None:
    """And nothing is stored."""
    cloud.answer("POST", "/v1/auth/anonymous", Answer(body=body))
    with pytest.raises(CredentialsError, match=cloud.url):
        ensure_credentials(cloud.url)
    assert not credentials_path().exists()


def test_a_backend_that_refuses_is_told_as_it_is(cloud: Cloud) -> None:
    """A CloudApiError, not a fault of the disk; the next call tries again."""
    cloud.answer("POST", "/v1/auth/anonymous", Answer(status=403, body={"error": "closed"}))
    with pytest.raises(CloudApiError, match="closed"):
        ensure_credentials(cloud.url)
    assert ensure_credentials(cloud.url).bearer_token == "token-1"


def test_a_backend_that_does_not_answer_is_told_as_it_is(cloud: Cloud) -> None:
    """ConnectionFailed is an OSError too, but no fault of the disk."""
    with cloud.away(), pytest.raises(ConnectionFailed):
        ensure_credentials(cloud.url)


@pytest.mark.parametrize("url", ["", "api.arkor.ai", "ftp://example.com", "http://"])
def test_an_address_that_is_none_is_named(url: str) -> None:
    """With where it may come from."""
    with pytest.raises(ConfigError, match="ARKOR_CLOUD_API_URL"):
        ensure_credentials(url)


def test_a_bad_file_is_replaced_by_a_new_identity(cloud: Cloud) -> None:
    """And kept beside it."""
    credentials_path().parent.mkdir(parents=True)
    credentials_path().write_text("{}")
    assert ensure_credentials(cloud.url).bearer_token == "token-1"
    assert credentials_path().with_name("credentials.json.bad").read_text() == "{}"


def test_an_unreadable_login_is_not_replaced(cloud: Cloud) -> None:
    """Nothing is asked for."""
    credentials_path().mkdir(parents=True)
    with pytest.raises(CredentialsError, match="not overwritten"):
        ensure_credentials(cloud.url)
    assert cloud.requests == []


def test_a_home_that_cannot_be_written_is_an_error(cloud: Cloud, home: Path) -> None:
    """One of our own, before anything is asked for."""
    (home / ".arkor").mkdir()
    (home / ".arkor" / "credentials.lock").mkdir()
    with pytest.raises(CredentialsError, match="cannot be written"):
        ensure_credentials(cloud.url)
    assert cloud.requests == []


def test_processes_at_once_end_up_with_one_identity(cloud: Cloud) -> None:
    """The first asks, the others wait for it and read what it stored."""
    gate = threading.Event()
    body = {"token": "the-one", "anonymousId": "id", "personalOrg": {"slug": "org"}}
    cloud.answer("POST", "/v1/auth/anonymous", Answer(body=body, gate=gate))
    code = (
        "import sys; from arkor.auth.identity import ensure_credentials\n"
        "print('ready', flush=True); print(ensure_credentials(sys.argv[1]).bearer_token)"
    )
    processes = [
        subprocess.Popen([sys.executable, "-c", code, cloud.url], stdout=subprocess.PIPE, text=True) for _ in range(3)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    eventually(lambda: cloud.requests, "one of them asks")
    gate.set()
    assert [process.communicate(timeout=20)[0] for process in processes] == ["the-one\n"] * 3
    assert len(cloud.requests) == 1


def test_threads_at_once_end_up_with_one_identity(cloud: Cloud) -> None:
    """The same inside one process."""
    tokens = []
    threads = [
        threading.Thread(target=lambda: tokens.append(ensure_credentials(cloud.url).bearer_token)) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert tokens == ["token-1"] * 8


def test_no_token_reaches_the_log(cloud: Cloud, caplog: pytest.LogCaptureFixture) -> None:
    """Not at any level."""
    with caplog.at_level(logging.DEBUG):
        found = identity_for(cloud.url)
    assert "token-1" not in caplog.text
    assert "token-1" not in repr(found)


def test_forgetting_drops_the_file_of_a_host() -> None:
    """Also where there is none."""
    login("old", "http://127.0.0.1:1", credentials_path("local"))
    forget("local")
    forget("local")
    assert not credentials_path("local").exists()
