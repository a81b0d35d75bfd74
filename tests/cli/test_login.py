"""``arkor login``, ``logout`` and ``whoami`` in real processes: on terminals, in scripts, with a browser."""

from __future__ import annotations

import json
import re
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from arkor.client.project import ProjectState, write_state
from tests.support.auth0 import Auth0, trusted_auth0
from tests.support.cloud import Cloud
from tests.support.commands import Command, run
from tests.support.contract import Answer
from tests.support.logins import be_anonymous, have_account, place, stored
from tests.support.terminal import Terminal

# What BROWSER names: it opens the login page, and clicks on "Authorize".
BROWSER = """\
import html, re, sys, requests
with requests.Session() as browser:
    browser.trust_env, browser.verify = False, {authority!r}
    query = re.search('name="query" value="([^"]*)"', browser.get(sys.argv[1], timeout=10).text).group(1)
    browser.post("https://{domain}/decision", data={{"query": html.unescape(query), "allow": "yes"}}, timeout=10)
"""


@pytest.fixture
def cloud(arkor_cloud: Cloud) -> Cloud:
    """A stand-in that is the default backend."""
    return arkor_cloud


@pytest.fixture
def auth0(cloud: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Auth0]:
    """A stand-in for Auth0 that accounts of ``cloud`` log in at, with a user in front of a browser."""
    with trusted_auth0(cloud, tmp_path, monkeypatch) as running:
        script = tmp_path / "browser.py"
        script.write_text(BROWSER.format(authority=str(running.authority), domain=running.domain))
        monkeypatch.setenv("BROWSER", f"{sys.executable} {script} %s")
        yield running


@pytest.fixture(autouse=True)
def _not_in_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)


# login in scripts


def test_login_in_a_script_is_anonymous(cloud: Cloud) -> None:
    """Without a question; where there are no accounts there is nothing to warn of."""
    ended = run("login")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out == f"Logged in to {cloud.url} anonymously, as id-1.\n"
    assert stat.S_IMODE(place(cloud).stat().st_mode) == 0o600
    assert "token-1" not in ended.out


def test_oauth_opens_the_browser_and_logs_in(cloud: Cloud, auth0: Auth0) -> None:
    """The address is printed as well; nothing secret is."""
    ended = run("login", "--oauth")
    assert (ended.code, ended.err) == (0, "")
    assert f"https://{auth0.domain}/authorize?" in ended.out
    assert ended.out.endswith(f"Logged in to {cloud.url} with an account.\n")
    assert "secret" not in ended.out
    assert json.loads(place(cloud).read_bytes())["accessToken"] == "secret-access-1"


def test_an_account_may_log_in_again_without_a_question(cloud: Cloud, auth0: Auth0) -> None:
    """Nothing is lost by it, and somebody is at the browser."""
    have_account(cloud, auth0)
    ended = run("login", "--oauth")
    assert ended.code == 0
    assert ended.out.startswith(f"You are logged in to {cloud.url} with an account.\n")
    assert json.loads(place(cloud).read_bytes())["accessToken"] == "secret-access-2"


@pytest.mark.usefixtures("auth0")
def test_oauth_without_a_browser_tells_how_to_reach_the_port(cloud: Cloud) -> None:
    """Nothing is opened; Ctrl-C ends it, and nothing was changed."""
    command = Command("login", "--oauth", "--no-browser")
    assert command.process.stdout is not None
    lines = iter(command.process.stdout.readline, "")
    assert any(re.search(r"ssh -L (\d+):127\.0\.0\.1:\1 ", line) for line in lines)
    assert any("Ctrl-C" in line for line in lines)
    ended = command.interrupt()
    assert ended.code == 130
    assert "nothing was changed" in ended.err
    assert stored(cloud) is None


def test_the_providers_refusal_is_told(cloud: Cloud, auth0: Auth0) -> None:
    """In one harmless line."""
    auth0.answer("POST", "/oauth/token", Answer(status=403, body={"error": "\x1b[31minvalid_grant\n"}))
    ended = run("login", "--oauth")
    assert ended.code == 3
    assert ended.err == f"Error: {auth0.domain} refused it ([31minvalid_grant).\n"
    assert stored(cloud) is None


# login on a terminal


@pytest.mark.usefixtures("auth0")
@pytest.mark.parametrize(("answer", "mode"), [("", "anon"), ("1", "anon"), ("2", "oauth")])
def test_login_on_a_terminal_asks(cloud: Cloud, answer: str, mode: str) -> None:
    """Anonymous is what Return means."""
    with Terminal("login") as terminal:
        terminal.expect("[1]: ")
        terminal.type(answer)
        code, seen = terminal.end()
    assert code == 0, seen
    found = stored(cloud)
    assert found is not None
    assert found.mode == mode
    assert "secret" not in seen


def test_login_on_a_terminal_does_not_ask_where_there_is_no_choice(cloud: Cloud) -> None:
    """No accounts, no question."""
    with Terminal("login") as terminal:
        assert terminal.end() == (0, f"Logged in to {cloud.url} anonymously, as id-1.\n")


@pytest.mark.usefixtures("auth0")
def test_replacing_an_anonymous_identity_is_asked_on_a_terminal(cloud: Cloud) -> None:
    """No is the default, and changes nothing."""
    be_anonymous(cloud)
    before = stored(cloud)
    with Terminal("login", "--oauth") as terminal:
        terminal.expect("you lose access to its jobs and adapters")
        terminal.expect("Go on? [y/N]")
        terminal.type("")
        code, seen = terminal.end()
    assert code == 130
    assert seen.endswith("Nothing was changed.\n")
    assert stored(cloud) == before
    with Terminal("login", "--oauth") as terminal:
        terminal.expect("Go on? [y/N]")
        terminal.type("y")
        assert terminal.end()[0] == 0
    assert stored(cloud) != before


# logout


def test_logout_of_an_anonymous_identity_needs_force_in_a_script(cloud: Cloud) -> None:
    """It says what is lost, and removes nothing without."""
    be_anonymous(cloud)
    ended = run("logout")
    assert ended.code == 2
    assert "you lose access to its jobs and adapters" in ended.err
    assert "--force" in ended.err
    assert stored(cloud) is not None
    assert run("logout", "-f").code == 0
    assert stored(cloud) is None


def test_logout_of_an_anonymous_identity_asks_on_a_terminal(cloud: Cloud) -> None:
    """No is the default."""
    be_anonymous(cloud)
    for answer, code in (("", 130), ("y", 0)):
        with Terminal("logout") as terminal:
            assert "anon-7" in terminal.expect("Go on? [y/N]")
            assert stored(cloud) is not None
            terminal.type(answer)
            assert terminal.end()[0] == code
    assert stored(cloud) is None


# whoami


def test_whoami_as_json(cloud: Cloud) -> None:
    """For scripts: the same, and the backend's own words."""
    be_anonymous(cloud)
    write_state(ProjectState("anon-org", "my-bot", "project_7"), host=f"127.0.0.1_{cloud.port}")
    ended = run("whoami", "--json")
    assert ended.code == 0
    assert json.loads(ended.out) == {
        "backend": cloud.url,
        "mode": "anon",
        "source": str(place(cloud)),
        "anonymousId": "anon-7",
        "user": {"id": "user_1"},
        "orgs": [{"id": "org_1", "slug": "anon-org", "name": "Anonymous"}],
        "project": {"orgSlug": "anon-org", "projectSlug": "my-bot", "projectId": "project_7"},
    }
    assert "secret" not in ended.out


@pytest.mark.parametrize("flags", [(), ("--json",)])
def test_whoami_exits_3_where_nobody_is_logged_in(cloud: Cloud, flags: tuple[str, ...]) -> None:
    """It makes no identity; it says how to get one."""
    ended = run("whoami", *flags)
    assert (ended.code, ended.out) == (3, "")
    assert ended.err == (
        f"Error: You are not logged in to {cloud.url}. Log in with: arkor login\n"
        "For the backend on this machine, add --local.\n"
    )
    assert (cloud.requests, stored(cloud)) == ([], None)


def test_whoami_of_a_login_in_a_file_that_is_bad(cloud: Cloud) -> None:
    """It is kept beside, which is said."""
    place(cloud).parent.mkdir(parents=True)
    place(cloud).write_text("{}")
    ended = run("whoami")
    assert ended.code == 3
    assert f"{place(cloud).name}.bad" in ended.err
