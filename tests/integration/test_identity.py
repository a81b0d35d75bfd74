"""Identities over time and between processes: waits that outlive tokens, refreshes that happen once, redirects."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from arkor import AuthenticationError, CredentialsError, ProjectState, write_state
from arkor.auth import refresh
from arkor.auth.credentials import credentials_path
from arkor.client.project import read_state
from tests.support.auth0 import ORG, TOKEN, Auth0, trusted_auth0
from tests.support.cloud import Cloud
from tests.support.contract import STREAM, Answer, Stream
from tests.support.events import PLAN, frames
from tests.support.eventually import eventually
from tests.support.waiting import AT_ONCE_S, Told, Waiting, make_trainer

TOLD = [("started", None), ("log", 1), ("log", 2), ("checkpoint", 2), ("log", 3), ("completed", None)]
ONE_AT_A_TIME = [Stream(frames=frames(PLAN)[number : number + 1]) for number in range(len(PLAN) - 1)]
DEADLINE_S = 30.0

# A script that says when it has begun, asks who it is, and says so.
ASK = (
    "import signal, sys; from arkor import CloudApiClient\n"
    "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # ignored by what was started in the background
    "client = CloudApiClient.connect(sys.argv[1]); print('ready', flush=True)\n"
    "print(client.me()['orgs'][0]['slug'], flush=True)"
)


@pytest.fixture
def auth0(cloud: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Auth0]:
    """A stand-in for Auth0 that accounts of ``cloud`` log in at."""
    with trusted_auth0(cloud, tmp_path, monkeypatch) as running:
        yield running


@pytest.fixture
def file(cloud: Cloud) -> Path:
    """Where the account's login is kept; the project of the folder is known."""
    host = f"127.0.0.1_{cloud.port}"
    write_state(ProjectState(ORG, "project", "project_1"), host=host)
    path = credentials_path(host)
    path.parent.mkdir(parents=True)
    return path


@pytest.fixture
def log_in(auth0: Auth0, file: Path) -> Callable[..., None]:
    """Stores a login that expires in so many seconds."""

    def store(expires_in: float = 86400) -> None:
        file.write_text(json.dumps(auth0.login(expires_in=expires_in)))

    return store


def ask(cloud: Cloud) -> subprocess.Popen[str]:
    """Start a script that asks who it is."""
    pipe = subprocess.PIPE
    return subprocess.Popen([sys.executable, "-c", ASK, cloud.url], stdout=pipe, stderr=pipe, text=True)


def ready(process: subprocess.Popen[str]) -> None:
    """Wait until a script has begun."""
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"


def tokens(cloud: Cloud, path: str) -> list[str]:
    """Return the tokens with which event streams or the like were asked for, in order."""
    return [item.headers["authorization"].removeprefix("Bearer secret-") for item in cloud.calls("GET", path)]


# Waits that outlive their tokens


def test_a_wait_survives_a_token_that_is_refused(cloud: Cloud, auth0: Auth0, log_in: Callable[..., None]) -> None:
    """Again and again: each reconnect renews what has expired, and every event comes once."""

    def expire(_: str, __: Any) -> None:
        cloud.expire(f"secret-access-{len(auth0.renewals) + 1}")

    log_in()
    told = Told(expire)
    trainer = make_trainer(cloud, told)
    first, *others = ONE_AT_A_TIME
    cloud.stream(first, *[stream for stream in others for _ in ("refused", "given")])
    assert trainer.wait(DEADLINE_S).status == "completed"
    assert told.names == TOLD
    assert len(auth0.renewals) == len(PLAN) - 1


def test_a_wait_survives_a_token_that_is_about_to_expire(
    cloud: Cloud, auth0: Auth0, log_in: Callable[..., None]
) -> None:
    """It is renewed before the backend has to refuse it."""
    auth0.lifetime_s = 30
    log_in(30)
    told = Told()
    trainer = make_trainer(cloud, told)
    cloud.stream(*ONE_AT_A_TIME)
    assert trainer.wait(DEADLINE_S).status == "completed"
    assert told.names == TOLD
    seen = tokens(cloud, STREAM)
    assert len(set(seen)) == len(seen) == len(PLAN)


def test_a_wait_survives_a_provider_that_is_away(
    cloud: Cloud, auth0: Auth0, log_in: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it survives a backend that is away."""
    monkeypatch.setattr("arkor.http.transport.pause", lambda _: None)
    log_in()
    told = Told(lambda name, _: cloud.expire("secret-access-1") if name == "started" else None)
    trainer = make_trainer(cloud, told)
    cloud.stream(ONE_AT_A_TIME[0])
    auth0.answer("POST", TOKEN, Answer(status=503), Answer(cut=0), Answer(body=b"<html>a hotel's page</html>"))
    assert trainer.wait(DEADLINE_S).status == "completed"
    assert told.names == TOLD
    assert len(auth0.renewals) == 4


@pytest.mark.parametrize(("expires_in", "error"), [(86400, AuthenticationError), (90, CredentialsError)])
def test_a_refused_refresh_ends_a_wait_which_goes_on_after_a_new_login(
    cloud: Cloud,
    auth0: Auth0,
    log_in: Callable[..., None],
    expires_in: float,
    error: type[Exception],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """At once, with what to do; the same trainer continues after the last event that it delivered."""

    def end_of_the_login(name: str, _: Any) -> None:
        if name == "started":
            auth0.revoke()
            cloud.expire("secret-access-1")
            if error is CredentialsError:
                later = time.time() + 100
                monkeypatch.setattr(refresh, "time", SimpleNamespace(time=lambda: later))

    log_in(expires_in)
    told = Told(end_of_the_login)
    trainer = make_trainer(cloud, told)
    cloud.stream(ONE_AT_A_TIME[0])
    with pytest.raises(error, match="Log in again with: arkor login --oauth"):
        trainer.wait(DEADLINE_S)
    log_in()
    assert trainer.wait(DEADLINE_S).status == "completed"
    assert told.names == TOLD


def test_two_trainers_in_two_threads_share_a_login(cloud: Cloud, auth0: Auth0, log_in: Callable[..., None]) -> None:
    """Both see it expire, one renews it, both finish."""
    log_in()
    both_have_begun = threading.Barrier(2, action=lambda: cloud.expire("secret-access-1"))
    told = [Told(lambda name, _: both_have_begun.wait(DEADLINE_S) if name == "started" else None) for _ in range(2)]
    trainers = [make_trainer(cloud, one) for one in told]
    cloud.stream(ONE_AT_A_TIME[0], ONE_AT_A_TIME[0])
    waits = [Waiting(trainer.wait) for trainer in trainers]
    assert [wait.outcome(DEADLINE_S).status for wait in waits] == ["completed"] * 2
    assert [one.names for one in told] == [TOLD, TOLD]
    assert len(auth0.renewals) == 1


# Several processes


def test_ten_processes_refresh_once(cloud: Cloud, auth0: Auth0, log_in: Callable[..., None]) -> None:
    """The first renews the login, the others wait for it and use what it stored."""
    log_in(-1)
    gate = threading.Event()
    body = {"access_token": "secret-new", "refresh_token": "secret-rotated", "expires_in": 1000}
    cloud.know("secret-new", ORG)
    auth0.answer("POST", TOKEN, Answer(body=body, gate=gate))
    processes = [ask(cloud) for _ in range(10)]
    for process in processes:
        ready(process)
    eventually(lambda: auth0.requests, "one of them asks")
    gate.set()
    ended = [process.communicate(timeout=DEADLINE_S) for process in processes]
    assert ended == [(f"{ORG}\n", "")] * 10
    assert len(auth0.renewals) == 1
    assert tokens(cloud, "/v1/me") == ["new"] * 10


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL], ids=lambda how: how.name)
def test_a_process_that_is_ended_in_a_refresh_leaves_a_login(
    cloud: Cloud, auth0: Auth0, log_in: Callable[..., None], file: Path, how: signal.Signals
) -> None:
    """Ctrl-C waits until the new one is stored; after kill -9 the old one is whole, and nobody is locked out."""
    log_in(-1)
    gate = threading.Event()
    tokens = {"access_token": "secret-new", "refresh_token": "secret-rotated", "expires_in": 1000}
    auth0.answer("POST", TOKEN, Answer(body=tokens, gate=gate))
    process = ask(cloud)
    ready(process)
    eventually(lambda: auth0.requests, "the refresh is under way")
    process.send_signal(how)
    if how == signal.SIGKILL:
        process.wait(AT_ONCE_S)
    gate.set()
    _, said = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == -how
    if how == signal.SIGINT:
        assert "KeyboardInterrupt" in said
    assert "secret" not in said
    kept = json.loads(file.read_bytes())
    assert kept["refreshToken"] == ("secret-rotated" if how == signal.SIGINT else "secret-refresh-1")
    assert [item.name for item in file.parent.iterdir() if item.suffix != ".lock"] == [file.name]
    if how == signal.SIGKILL:
        again = ask(cloud)
        assert again.communicate(timeout=DEADLINE_S) == (f"ready\n{ORG}\n", "")


def test_processes_at_once_make_one_project(cloud: Cloud) -> None:
    """The first creates it, the others take it over; the identity is one, too."""
    code = (
        "import sys; from pathlib import Path; from arkor import CloudApiClient\n"
        "from arkor.client.project import ensure_project\n"
        "print(ensure_project(CloudApiClient.connect(sys.argv[1]), Path()).project_slug)"
    )
    pipe = subprocess.PIPE
    processes = [
        subprocess.Popen([sys.executable, "-c", code, cloud.url], stdout=pipe, stderr=pipe, text=True) for _ in range(4)
    ]
    assert [process.communicate(timeout=DEADLINE_S) for process in processes] == [("my-project\n", "")] * 4
    assert len(cloud.calls("POST", "/v1/auth/anonymous")) == 1
    assert read_state(host=f"127.0.0.1_{cloud.port}") == ProjectState("anon-1", "my-project", "project_1")


# Other hosts


def test_no_token_arrives_where_a_redirect_leads(cloud: Cloud, log_in: Callable[..., None]) -> None:
    """Of no call that a training makes: creating the job, following it, asking for it."""
    log_in()
    with Cloud() as other:
        told = Told()
        trainer = make_trainer(cloud, told)
        for method, path in (("POST", "/v1/jobs"), ("GET", STREAM), ("GET", "/v1/jobs/*")):
            there = other.url + path.replace("*", "job_1")
            cloud.answer(method, path, Answer(status=307, headers={"Location": there}))
        other.answer("POST", "/v1/jobs", Answer(status=500))
        with pytest.raises(Exception, match="cloud-api 500"):
            trainer.start()
        trainer.start()
        other.answer("GET", STREAM, Answer(status=500))
        assert trainer.wait(DEADLINE_S).status == "completed"
        assert len(other.requests) == 2
        assert all("authorization" not in item.headers for item in other.requests)
        assert all("secret" not in f"{item.headers} {item.query}" for item in other.requests)
