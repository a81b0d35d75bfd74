"""``arkor login``, ``logout`` and ``whoami`` without a terminal: every branch, what it says and how it ends."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest

from arkor.auth.credentials import AnonymousCredentials, credentials_path, read_credentials, write_credentials
from arkor.cli import cli
from arkor.cli.commands import login
from arkor.cli.exits import exit_code
from arkor.client.project import ProjectState, write_state
from arkor.http import transport
from tests.support.auth0 import ORG, Auth0, trusted_auth0
from tests.support.cloud import Cloud
from tests.support.commands import Ended
from tests.support.contract import Answer
from tests.support.logins import be_anonymous, have_account, place, stored

Run = Callable[..., Ended]


@pytest.fixture
def cloud(arkor_cloud: Cloud) -> Cloud:
    """A stand-in that is the default backend."""
    return arkor_cloud


@pytest.fixture
def auth0(cloud: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Auth0]:
    """A stand-in for Auth0 that accounts of ``cloud`` log in at."""
    with trusted_auth0(cloud, tmp_path, monkeypatch) as running:
        yield running


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command in a script."""
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setattr(login, "is_interactive", lambda: False)
    monkeypatch.setattr(transport, "pause", lambda _: None)

    def invoke(*arguments: str) -> Ended:
        code, error = 0, ""
        try:
            cli.main(list(arguments), prog_name="arkor", standalone_mode=False)
        except click.ClickException as exc:
            code, error = exc.exit_code, f"Error: {exc.format_message()}\n"
        except Exception as exc:
            code, error = exit_code(exc), f"Error: {exc}\n"
        out, err = capsys.readouterr()
        return Ended(code, out, err + error)

    return invoke


# login in scripts


@pytest.mark.usefixtures("auth0")
def test_an_anonymous_login_warns_where_there_are_accounts(run: Run, cloud: Cloud) -> None:
    """How the work is lost, and how it is kept."""
    ended = run("login", "--anonymous")
    assert ended.code == 0
    for part in ("on this machine only", str(place(cloud)), "keep a copy", "arkor login --oauth"):
        assert part in ended.err


def test_a_login_whose_backend_does_not_say_whether_it_has_accounts_does_not_warn(run: Run, cloud: Cloud) -> None:
    """It is not known, and the login is good."""
    cloud.answer("GET", "/v1/auth/cli/config", Answer(status=400))
    ended = run("login")
    assert (ended.code, ended.err) == (0, "")


@pytest.mark.parametrize("arguments", [(), ("--anonymous",)])
def test_logging_in_again_changes_nothing(run: Run, cloud: Cloud, arguments: tuple[str, ...]) -> None:
    """It says who is logged in, without a request for another identity."""
    be_anonymous(cloud)
    before = stored(cloud)
    ended = run("login", *arguments)
    assert ended.code == 0
    assert ended.out == f"You are logged in to {cloud.url} anonymously, as anon-7.\nNothing was changed.\n"
    assert stored(cloud) == before
    assert cloud.requests == []


def test_a_script_does_not_replace_an_account_by_accident(run: Run, cloud: Cloud, auth0: Auth0) -> None:
    """A bare login is content with it; asking for an anonymous one needs --force."""
    have_account(cloud, auth0)
    before = stored(cloud)
    ended = run("login")
    assert (ended.code, ended.out.splitlines()[-1]) == (0, "Nothing was changed.")
    ended = run("login", "--anonymous")
    assert ended.code == 2
    assert "replaces the login of your account" in ended.err
    assert "--force" in ended.err
    assert stored(cloud) == before
    assert run("login", "--anonymous", "-f").code == 0
    assert isinstance(stored(cloud), AnonymousCredentials)


def test_a_script_replaces_an_anonymous_identity_only_by_force(run: Run, cloud: Cloud, auth0: Auth0) -> None:
    """It cannot be restored; that is said before anything is done."""
    be_anonymous(cloud)
    before = stored(cloud)
    ended = run("login", "--oauth")
    assert (ended.code, stored(cloud)) == (2, before)
    for part in ("you lose access to its jobs and adapters", "Nothing was changed", "--force"):
        assert part in ended.err
    assert auth0.requests == []
    ended = run("login", "--anonymous", "--force")
    assert ended.code == 0
    assert ended.out.splitlines()[-1] == f"Logged in to {cloud.url} anonymously, as id-2."
    assert stored(cloud) not in (None, before)


@pytest.mark.parametrize("value", ["true", "1", "TRUE"])
@pytest.mark.usefixtures("auth0")
def test_oauth_in_ci_is_refused_with_the_reason(
    run: Run, cloud: Cloud, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    """Nobody is there to log in; the way for CI is named."""
    monkeypatch.setenv("CI", value)
    ended = run("login", "--oauth")
    assert ended.code == 2
    for part in ("CI is set", "ARKOR_TOKEN", "--anonymous"):
        assert part in ended.err
    assert cloud.requests == []


def test_oauth_where_there_are_no_accounts_says_so(run: Run, cloud: Cloud) -> None:
    """And what there is instead."""
    ended = run("login", "--oauth")
    assert ended.code == 2
    assert ended.err == (f"Error: {cloud.url} has no accounts (OAuth). Log in with: arkor login --anonymous\n")


def test_two_ways_at_once_are_refused(run: Run) -> None:
    """One of them is wrong."""
    assert run("login", "--oauth", "--anonymous").code == 2


def test_a_backend_that_is_away_is_told(run: Run, cloud: Cloud) -> None:
    """With exit code 3, and no file."""
    with cloud.away():
        ended = run("login")
    assert (ended.code, stored(cloud)) == (3, None)
    assert "connection refused" in ended.err


# login on a terminal


# logout


def test_logout_removes_an_account_at_once(run: Run, cloud: Cloud, auth0: Auth0) -> None:
    """It can log in again. Other backends' identities stay, and the project's routing does."""
    have_account(cloud, auth0)
    elsewhere = AnonymousCredentials(token="t", anonymous_id="a", arkor_cloud_api_url="https://x.example", org_slug="o")
    write_credentials(elsewhere)
    write_state(ProjectState("o", "p", "i"))
    ended = run("logout")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out == f"Logged out of {cloud.url}; {place(cloud)} was removed.\n"
    assert (stored(cloud), read_credentials()) == (None, elsewhere)
    assert Path(".arkor/state.json").exists()


def test_logout_of_nobody_says_so(run: Run, cloud: Cloud) -> None:
    """Nothing to do is no error."""
    ended = run("logout")
    assert (ended.code, ended.out) == (0, f"You are not logged in to {cloud.url}; nothing was removed.\n")


def test_logout_never_takes_the_login_for_an_address_that_is_none(
    run: Run, cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An empty setting is a mistake that shows."""
    identity = AnonymousCredentials(token="t", anonymous_id="a", arkor_cloud_api_url="https://x.example", org_slug="o")
    write_credentials(identity)
    monkeypatch.setenv("ARKOR_CLOUD_API_URL", "")
    ended = run("logout", "-f")
    assert ended.code == 2
    assert "ARKOR_CLOUD_API_URL" in ended.err
    assert read_credentials() == identity


def test_the_local_identity_is_removed_without_its_backend(run: Run, home: Path) -> None:
    """Nothing is started for it."""
    identity = AnonymousCredentials(token="t", anonymous_id="a", org_slug="o")
    write_credentials(identity, credentials_path("local"))
    ended = run("logout", "--local", "-f")
    assert (ended.code, ended.out.splitlines()[-1]) == (
        0,
        f"Logged out of the backend on this machine; {credentials_path('local')} was removed.",
    )
    assert not (home / ".arkor" / "local").exists()


@pytest.mark.parametrize("arguments", [("login",), ("logout", "-f")])
def test_a_token_in_the_environment_stays_and_wins(
    run: Run, cloud: Cloud, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    """Whoever logs in or out is told."""
    be_anonymous(cloud)
    monkeypatch.setenv("ARKOR_TOKEN", "secret-ci")
    ended = run(*arguments)
    assert ended.code == 0
    assert "ARKOR_TOKEN is set. It takes precedence over stored identities and is not changed." in ended.err
    assert "secret" not in ended.out + ended.err


# whoami


def test_whoami_says_who_an_anonymous_user_is(run: Run, cloud: Cloud) -> None:
    """As the backend sees it, with the project of the folder."""
    be_anonymous(cloud)
    write_state(ProjectState("anon-org", "my-bot", "project_7"), host=f"127.0.0.1_{cloud.port}")
    ended = run("whoami")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out == (
        f"Backend:       {cloud.url}\n"
        "Logged in as:  anon-7, anonymously\n"
        "Organisations: anon-org\n"
        "Project:       my-bot of anon-org\n"
    )


def test_whoami_says_who_an_account_is(run: Run, cloud: Cloud, auth0: Auth0) -> None:
    """A token that has expired is renewed for it; a name cannot play with the terminal."""
    have_account(cloud, auth0, expiresAt=1)
    orgs = [{"slug": "one"}, {"slug": "two\x1b[2J"}, "odd"]
    cloud.answer("GET", "/v1/me", Answer(body={"user": {"id": "u", "email": "me@example.com\x07"}, "orgs": orgs}))
    ended = run("whoami")
    assert ended.out == (
        f"Backend:       {cloud.url}\n"
        "Logged in as:  me@example.com, with an account\n"
        "Organisations: one, two [2J\n"
        "Project:       none in this folder yet\n"
    )
    assert cloud.requests[-1].headers["authorization"] == "Bearer secret-access-2"


def test_whoami_says_that_a_token_is_the_environments(run: Run, cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is stored."""
    be_anonymous(cloud)
    cloud.know("secret-ci", ORG)
    monkeypatch.setenv("ARKOR_TOKEN", "secret-ci")
    ended = run("whoami")
    assert ended.code == 0
    assert "user_1, by the token in ARKOR_TOKEN" in ended.out
    assert "secret" not in ended.out + ended.err


def test_whoami_of_the_local_backend_starts_nothing_for_nobody(run: Run, home: Path) -> None:
    """There is nothing to ask it."""
    ended = run("whoami", "--local")
    assert ended.code == 3
    assert ended.err.endswith("Log in with: arkor login --local\n")
    assert not (home / ".arkor" / "local").exists()


def test_whoami_exits_3_without_an_answer(run: Run, cloud: Cloud) -> None:
    """It could not find out."""
    be_anonymous(cloud)
    with cloud.away():
        ended = run("whoami")
    assert (ended.code, ended.out) == (3, "")
    assert "connection refused" in ended.err


def test_whoami_exits_3_where_the_token_is_refused(
    run: Run, cloud: Cloud, auth0: Auth0, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And says where that token is, and what to do."""
    be_anonymous(cloud)
    cloud.expire("secret-token")
    ended = run("whoami")
    assert (ended.code, ended.out) == (3, "")
    for part in (str(place(cloud)), "Unknown token", "arkor login --anonymous --force"):
        assert part in ended.err
    monkeypatch.setenv("ARKOR_TOKEN", "secret-wrong")
    ended = run("whoami")
    assert ended.code == 3
    assert "the token of ARKOR_TOKEN" in ended.err
    monkeypatch.delenv("ARKOR_TOKEN")
    have_account(cloud, auth0)
    auth0.revoke()
    cloud.expire("secret-access-1")
    ended = run("whoami")
    assert ended.code == 3
    assert ended.err.count("arkor login --oauth") == 1
    assert "secret" not in ended.err


def test_whoami_tells_of_a_routing_that_cannot_be_read(run: Run, cloud: Cloud) -> None:
    """Who somebody is does not depend on it."""
    be_anonymous(cloud)
    Path(f".arkor/hosts/127.0.0.1_{cloud.port}/state.json").mkdir(parents=True)
    ended = run("whoami")
    assert ended.code == 0
    assert "Warning: " in ended.err
    assert "none in this folder yet" in ended.out


def test_the_login_is_the_default_backends(run: Run, cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a setting, the file that all Arkor clients share says which backend there is, and keeps the login."""
    monkeypatch.delenv("ARKOR_CLOUD_API_URL")
    cloud.know("t", "o")
    write_credentials(AnonymousCredentials(token="t", anonymous_id="old", arkor_cloud_api_url=cloud.url, org_slug="o"))
    assert f"Backend:       {cloud.url}" in run("whoami").out
    assert run("login", "--anonymous", "--force").code == 0
    found = read_credentials()
    assert isinstance(found, AnonymousCredentials)
    assert (found.anonymous_id, found.arkor_cloud_api_url) == ("id-2", cloud.url)
    assert not place(cloud).exists()
