"""An account's token: renewed in time or when it is refused, once for everybody, without ever losing the login."""

from __future__ import annotations

import io
import json
import logging
import stat
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from arkor.auth import refresh
from arkor.auth.credentials import credentials_path, held, write_credentials
from arkor.auth.identity import identity_for
from arkor.client.client import CloudApiClient
from arkor.errors import Aborted, AuthenticationError, ConnectionFailed, CredentialsError, WaitTimeout
from arkor.http.abort import AbortScope, Deadline
from arkor.http.transport import Transport
from tests.support.auth0 import ORG, TOKEN, Auth0
from tests.support.cloud import Cloud
from tests.support.contract import Answer
from tests.support.eventually import eventually
from tests.support.full_disk import largest_file

ME = "/v1/me"
SOON, OVER = 30, -10
AWAY = Answer(status=503)
REFUSED = Answer(status=401, body={"error": "Token expired"})


@pytest.fixture
def file(cloud: Cloud) -> Path:
    """Where the account's login is kept."""
    path = credentials_path(f"127.0.0.1_{cloud.port}")
    path.parent.mkdir(parents=True)
    return path


@pytest.fixture
def log_in(cloud: Cloud, auth0: Auth0, file: Path) -> Iterator[Callable[..., CloudApiClient]]:
    """Stores a login that expires in so many seconds, and returns a client that uses it."""
    clients = []

    def store(expires_in: float = 86400, **more: Any) -> CloudApiClient:
        file.write_text(json.dumps({**auth0.login(expires_in=expires_in), **more}))
        clients.append(CloudApiClient(cloud.url, identity=identity_for(cloud.url)))
        return clients[-1]

    yield store
    for client in clients:
        client.close()


def stored(file: Path) -> dict[str, Any]:
    """Return what the file holds."""
    body: dict[str, Any] = json.loads(file.read_bytes())
    return body


def sent(cloud: Cloud) -> list[str]:
    """Return the tokens that the backend got, in order."""
    return [item.headers.get("authorization", "").removeprefix("Bearer secret-") for item in cloud.requests]


# In time


def test_a_token_that_is_good_is_used_as_it_is(
    cloud: Cloud, auth0: Auth0, log_in: Callable[..., CloudApiClient], file: Path
) -> None:
    """Without a request, and without a look at the disk."""
    client = log_in(expires_in=90)
    file.unlink()
    client.me()
    assert (auth0.requests, sent(cloud)) == ([], ["access-1"])


@pytest.mark.parametrize("expires_in", [SOON, OVER])
def test_a_token_that_is_about_to_expire_is_renewed_first(
    cloud: Cloud, auth0: Auth0, log_in: Callable[..., CloudApiClient], file: Path, expires_in: float
) -> None:
    """The backend sees the new one alone; it is stored privately, with the keys of other clients."""
    client = log_in(expires_in, newKey={"a": 1})
    before = stored(file)
    client.me()
    client.me()
    assert sent(cloud) == ["access-2", "access-2"]
    assert len(auth0.renewals) == 1
    now = stored(file)
    assert now.pop("expiresAt") > time.time() + 86000
    assert now == {
        **{key: value for key, value in before.items() if key != "expiresAt"},
        "accessToken": "secret-access-2",
        "refreshToken": "secret-refresh-2",
    }
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_the_refresh_token_that_rotated_is_used_next(
    auth0: Auth0, log_in: Callable[..., CloudApiClient], file: Path
) -> None:
    """Each is good once; one that does not rotate is kept."""
    auth0.lifetime_s = SOON
    client = log_in(OVER)
    client.me()
    client.me()
    auth0.rotates = False
    client.me()
    client.me()
    used = [form["refresh_token"] for form in auth0.renewals]
    assert used == ["secret-refresh-1", "secret-refresh-2", "secret-refresh-3", "secret-refresh-3"]
    assert stored(file)["refreshToken"] == "secret-refresh-3"


def test_an_identity_hands_out_the_token_that_is_valid_now(log_in: Callable[..., CloudApiClient]) -> None:
    """For those who make requests of their own; neither it nor the client ever shows one."""
    identity = log_in(OVER).identity
    assert identity.token == "secret-access-2"
    assert "secret" not in f"{identity!r} {identity}"


@pytest.mark.parametrize("failure", [AWAY, Answer(cut=0), Answer(status=403, body={"error": "invalid_grant"})])
def test_a_refresh_that_fails_in_time_fails_no_request(
    cloud: Cloud, auth0: Auth0, log_in: Callable[..., CloudApiClient], failure: Answer
) -> None:
    """The token is still good; the next request tries again."""
    client = log_in(SOON)
    auth0.answer("POST", TOKEN, failure)
    client.me()
    client.me()
    assert sent(cloud) == ["access-1", "access-2"]


def test_a_provider_that_is_away_is_waited_for_no_longer_than_the_token_lasts(
    cloud: Cloud, auth0: Auth0, log_in: Callable[..., CloudApiClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then the backend does not get the old one: it is a lost connection, which is not remembered."""
    monkeypatch.setattr("arkor.http.transport.pause", lambda _: None)
    client = log_in(OVER)
    with auth0.away(), pytest.raises(ConnectionFailed, match=auth0.domain) as raised:
        client.me()
    assert raised.value.sent is False
    assert cloud.requests == []
    client.me()
    assert sent(cloud) == ["access-2"]


def test_a_refused_refresh_says_to_log_in_again(
    cloud: Cloud, auth0: Auth0, log_in: Callable[..., CloudApiClient], file: Path
) -> None:
    """With the provider's reason; the file stays, and a new login helps at once."""
    client = log_in(OVER)
    before = stored(file)
    auth0.revoke()
    with pytest.raises(CredentialsError) as raised:
        client.me()
    assert str(raised.value) == (
        f"The login cannot be renewed: {auth0.domain} refused it (invalid_grant: Unknown or invalid refresh token ….). "
        "Log in again with: arkor login --oauth"
    )
    assert (cloud.requests, stored(file)) == ([], before)
    log_in()
    client.me()
    assert sent(cloud) == ["access-2"]


# Refused by the backend


def test_a_refused_token_is_renewed_and_the_request_repeated_once(
    cloud: Cloud, auth0: Auth0, log_in: Callable[..., CloudApiClient]
) -> None:
    """Whatever the clock says: a 401 was not done."""
    client = log_in()
    cloud.expire("secret-access-1")
    client.me()
    assert sent(cloud) == ["access-1", "access-2"]
    assert len(auth0.renewals) == 1


def test_a_post_is_repeated_with_the_same_body(cloud: Cloud, log_in: Callable[..., CloudApiClient]) -> None:
    """Creating twice what was refused once creates it once."""
    client = log_in()
    cloud.expire("secret-access-1")
    client.create_project(ORG, name="n", slug="s")
    first, second = cloud.calls("POST", "/v1/projects")
    assert first.body == second.body
    assert [project.slug for project in client.list_projects(ORG)] == ["s"]


def test_a_file_is_sent_again_from_where_it_began(cloud: Cloud, log_in: Callable[..., CloudApiClient]) -> None:
    """Not from where the refused request has left it."""
    transport = Transport(cloud.url, log_in().identity.tokens)
    cloud.answer("PUT", "/v1/thing", REFUSED, Answer())
    content = io.BytesIO(b"header, then the body")
    content.seek(8)
    transport.send("PUT", "/v1/thing", data=content)
    assert [item.body for item in cloud.requests] == [b"then the body"] * 2
    transport.close()


def test_a_body_that_can_be_sent_only_once_is_not_repeated(
    cloud: Cloud, auth0: Auth0, log_in: Callable[..., CloudApiClient]
) -> None:
    """Half of it would be worse than the error."""
    transport = Transport(cloud.url, log_in().identity.tokens)
    cloud.answer("PUT", "/v1/thing", REFUSED)
    with pytest.raises(AuthenticationError, match="Token expired"):
        transport.send("PUT", "/v1/thing", data=iter([b"a", b"b"]))
    assert (len(cloud.requests), auth0.requests) == (1, [])
    transport.close()


def test_a_token_that_is_refused_again_is_an_error(
    cloud: Cloud, auth0: Auth0, log_in: Callable[..., CloudApiClient]
) -> None:
    """In the backend's words, after one refresh."""
    client = log_in()
    cloud.answer("GET", ME, REFUSED, REFUSED)
    with pytest.raises(AuthenticationError, match="Token expired"):
        client.me()
    assert (len(cloud.requests), len(auth0.renewals)) == (2, 1)


def test_a_refused_token_that_cannot_be_renewed_says_to_log_in_again(
    cloud: Cloud, auth0: Auth0, log_in: Callable[..., CloudApiClient]
) -> None:
    """As an AuthenticationError, for it began with a 401."""
    client = log_in()
    cloud.expire("secret-access-1")
    auth0.revoke()
    with pytest.raises(AuthenticationError, match="Log in again with: arkor login --oauth") as raised:
        client.me()
    assert raised.value.status == 401
    assert "secret" not in str(raised.value)
    assert len(cloud.requests) == 1


def test_a_provider_that_is_away_at_a_401_is_a_lost_connection(
    cloud: Cloud, auth0: Auth0, log_in: Callable[..., CloudApiClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It comes and goes: the same call tries again, as it does with a backend that is away."""
    monkeypatch.setattr("arkor.http.transport.pause", lambda _: None)
    client = log_in()
    cloud.expire("secret-access-1")
    auth0.answer("POST", TOKEN, AWAY)
    client.create_project(ORG, name="n", slug="s")
    assert sent(cloud) == ["access-1", "access-1", "access-2"]


@pytest.mark.parametrize("token", ["an-anonymous-one", None])
def test_a_fixed_token_that_is_refused_is_an_error_at_once(cloud: Cloud, token: str | None) -> None:
    """There is none in its place."""
    client = CloudApiClient(cloud.url, token=token)
    with pytest.raises(AuthenticationError):
        client.me()
    assert len(cloud.requests) == 1
    client.close()


def test_a_401_of_another_host_renews_nothing(
    cloud: Cloud, auth0: Auth0, log_in: Callable[..., CloudApiClient]
) -> None:
    """It never saw the token: the redirect has dropped it."""
    client = log_in()
    with Cloud() as other:
        cloud.answer("GET", ME, Answer(status=307, headers={"Location": f"{other.url}{ME}"}))
        with pytest.raises(AuthenticationError):
            client.me()
        assert [item.headers.get("authorization") for item in other.requests] == [None]
    assert auth0.requests == []


# Together with others


def test_what_somebody_else_renewed_is_used(cloud: Cloud, auth0: Auth0, log_in: Callable[..., CloudApiClient]) -> None:
    """The provider is asked once, whoever notices first."""
    one = log_in(SOON)
    other = CloudApiClient(cloud.url, identity=identity_for(cloud.url))
    one.me()
    other.me()
    cloud.expire("secret-access-2")
    other.me()
    one.me()
    assert sent(cloud) == ["access-2", "access-2", "access-2", "access-3", "access-2", "access-3"]
    assert len(auth0.renewals) == 2
    other.close()


def test_many_threads_renew_once(cloud: Cloud, auth0: Auth0, log_in: Callable[..., CloudApiClient]) -> None:
    """With one client and with several, in time and after a 401."""
    clients = [log_in(SOON)]
    clients += [CloudApiClient(cloud.url, identity=identity_for(cloud.url)) for _ in range(2)]
    for renewals in (1, 2):
        with ThreadPoolExecutor(12) as pool:
            for done in [pool.submit(clients[n % 3].me) for n in range(24)]:
                done.result(30)
        assert len(auth0.renewals) == renewals
        cloud.expire(f"secret-access-{renewals + 1}")
    for client in clients[1:]:
        client.close()


def test_a_login_that_another_client_renewed_without_the_lock_is_used(
    cloud: Cloud, auth0: Auth0, log_in: Callable[..., CloudApiClient], file: Path
) -> None:
    """Its refresh token was worthless by then; the file has a new one."""
    client = log_in(OVER)
    gate = threading.Event()
    auth0.answer("POST", TOKEN, Answer(status=403, body={"error": "invalid_grant"}, gate=gate))
    with ThreadPoolExecutor() as pool:
        asking = pool.submit(client.me)
        eventually(lambda: auth0.requests, "the refresh is under way")
        file.write_text(json.dumps(auth0.login()))
        gate.set()
        asking.result(10)
    assert sent(cloud) == ["access-2"]


def test_a_login_that_another_client_put_there_meanwhile_is_not_overwritten(
    auth0: Auth0, log_in: Callable[..., CloudApiClient], file: Path
) -> None:
    """Somebody has just logged in: that login survives."""
    client = log_in(OVER)
    gate = threading.Event()
    tokens = {"access_token": "secret-access-1", "refresh_token": "secret-refresh-1", "expires_in": 1000}
    auth0.answer("POST", TOKEN, Answer(body=tokens, gate=gate))
    fresh = {**auth0.login(), "clientId": "another-one"}
    with ThreadPoolExecutor() as pool:
        asking = pool.submit(client.me)
        eventually(lambda: auth0.requests, "the refresh is under way")
        file.write_text(json.dumps(fresh))
        gate.set()
        asking.result(10)
    assert stored(file) == fresh


@pytest.mark.parametrize("now", ["gone", "anonymous", "elsewhere", "bad"])
def test_a_login_that_is_not_there_any_more_is_not_renewed(
    cloud: Cloud, auth0: Auth0, log_in: Callable[..., CloudApiClient], file: Path, now: str
) -> None:
    """Who logged out meant it; a token of somebody else, or for somewhere else, is not sent in its place."""
    client = log_in(OVER)
    bodies: dict[str, Any] = {
        "anonymous": {"mode": "anon", "token": "secret", "anonymousId": "i", "orgSlug": "o"},
        "elsewhere": {**auth0.login(), "arkorCloudApiUrl": "https://elsewhere.example.com"},
        "bad": {},
    }
    file.unlink() if now == "gone" else file.write_text(json.dumps(bodies[now]))
    with pytest.raises(CredentialsError):
        client.me()
    assert (cloud.requests, auth0.requests) == ([], [])


# Nothing is lost


def test_without_room_for_a_new_login_the_old_one_is_not_given_away(
    cloud: Cloud, auth0: Auth0, log_in: Callable[..., CloudApiClient], file: Path
) -> None:
    """The old refresh token would be worthless, and the new one nowhere; with room again all goes on."""
    client = log_in(OVER)
    before = stored(file)
    with largest_file(0), pytest.raises(CredentialsError, match=f"{file} cannot be written"):
        client.me()
    assert (auth0.requests, stored(file)) == ([], before)
    client.me()
    assert sent(cloud) == ["access-2"]


def test_without_room_a_token_that_is_still_good_is_used(cloud: Cloud, log_in: Callable[..., CloudApiClient]) -> None:
    """Up to its last second."""
    client = log_in(SOON)
    with largest_file(0):
        client.me()
    assert sent(cloud) == ["access-1"]


def test_a_new_login_that_cannot_be_written_is_used_all_the_same(
    cloud: Cloud,
    auth0: Auth0,
    log_in: Callable[..., CloudApiClient],
    file: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """With a warning; it is written at the next occasion, and the stale file is not believed meanwhile."""
    auth0.lifetime_s = SOON
    client, writes = log_in(OVER), []

    def fail_once(*arguments: Any) -> None:
        writes.append(arguments)
        if len(writes) == 2:
            raise CredentialsError("No space left on device")
        write_credentials(*arguments)

    monkeypatch.setattr(refresh, "write_credentials", fail_once)
    client.me()
    assert "No space left on device" in caplog.text
    assert stored(file)["refreshToken"] == "secret-refresh-1"
    client.me()
    assert [form["refresh_token"] for form in auth0.renewals] == ["secret-refresh-1", "secret-refresh-2"]
    assert stored(file)["refreshToken"] == "secret-refresh-3"
    assert sent(cloud) == ["access-2", "access-3"]


def test_an_abort_does_not_break_a_refresh_off(auth0: Auth0, log_in: Callable[..., CloudApiClient], file: Path) -> None:
    """The new refresh token would be lost, and the login with it: it is stored first, and the abort felt after that."""
    client, stop, gate = log_in(OVER), threading.Event(), threading.Event()
    tokens = {"access_token": "secret-new", "refresh_token": "secret-rotated", "expires_in": 1000}
    auth0.answer("POST", TOKEN, Answer(body=tokens, gate=gate))

    def ask() -> None:
        with AbortScope(stop) as scope, scope.active():
            client.me()

    with ThreadPoolExecutor() as pool:
        asking = pool.submit(ask)
        eventually(lambda: auth0.requests, "the refresh is under way")
        stop.set()
        eventually(lambda: "arkor-abort" not in {thread.name for thread in threading.enumerate()}, "the abort was felt")
        gate.set()
        with pytest.raises(Aborted):
            asking.result(10)
    assert stored(file)["refreshToken"] == "secret-rotated"


def test_a_deadline_ends_waiting_for_somebody_elses_refresh(log_in: Callable[..., CloudApiClient], file: Path) -> None:
    """The lock is waited for no longer than the caller wants to."""
    client = log_in(OVER)
    with held(file), AbortScope(None, Deadline(0.05)) as scope, scope.active(), pytest.raises(WaitTimeout):
        client.me()


def test_no_token_reaches_the_log(
    cloud: Cloud, auth0: Auth0, log_in: Callable[..., CloudApiClient], caplog: pytest.LogCaptureFixture
) -> None:
    """Not at any level, whatever happens."""
    with caplog.at_level(logging.DEBUG):
        client = log_in(SOON)
        auth0.answer("POST", TOKEN, AWAY)
        client.me()
        client.me()
        cloud.expire("secret-access-2")
        auth0.revoke()
        with pytest.raises(AuthenticationError):
            client.me()
    assert "was renewed" in caplog.text
    assert "secret" not in caplog.text
