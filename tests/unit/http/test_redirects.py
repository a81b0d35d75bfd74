"""Where a token goes when a backend sends the client somewhere else: nowhere, unless it is the same place."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme

from arkor.client.client import CloudApiClient
from arkor.errors import ArkorError
from arkor.protocol.jobs import Artifact, Scope
from arkor.version import __version__
from tests.support.cloud import Cloud
from tests.support.contract import Answer
from tests.support.network import TlsCloud

SCOPE = Scope("org", "project")
STATUSES = (301, 302, 303, 307, 308)
EVENTS = "/v1/jobs/job_1/events/stream"


@pytest.fixture
def other() -> Iterator[Cloud]:
    """Somebody else's server, where every token is welcome."""
    with Cloud() as running:
        for token in ("secret", "private"):
            running.know(token, "org")
        yield running


@pytest.fixture
def tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cloud]:
    """A backend behind TLS, whose authority is trusted."""
    authority, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1", "localhost").configure_cert(context)
    authority.cert_pem.write_to_path(str(tmp_path / "authority.pem"))
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "authority.pem"))
    with TlsCloud(context) as running:
        running.know("secret", "org")
        yield running


def away(status: int, url: str) -> Answer:
    """Return an answer that leads somewhere else."""
    return Answer(status=status, headers={"Location": url})


def tokens(server: Cloud) -> list[str | None]:
    """Return the Authorization of every request that arrived."""
    return [item.headers.get("authorization") for item in server.requests]


def ask(url: str, token: str | None = "secret") -> None:
    """Ask a backend who this is; what it answers does not matter."""
    client = CloudApiClient(url, token=token)
    try:
        client.me()
    except ArkorError:
        pass
    finally:
        client.close()


@pytest.mark.parametrize("status", STATUSES)
def test_a_token_does_not_follow_to_another_server(cloud: Cloud, other: Cloud, status: int) -> None:
    """Another port is another server; the request itself goes on, and says who is asking."""
    cloud.answer("GET", "/v1/me", away(status, f"{other.url}/v1/me"))
    ask(cloud.url)
    assert (tokens(cloud), tokens(other)) == (["Bearer secret"], [None])
    assert other.requests[0].headers["x-arkor-client"] == f"arkor/{__version__}"
    assert not any("secret" in f"{item.headers}{item.query}" for item in other.requests)


@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("location", ["/v1/other", "other", "?again=1", "//{host}/v1/other"])
def test_a_token_stays_with_its_server(cloud: Cloud, status: int, location: str) -> None:
    """A redirect within it is only another path."""
    cloud.know("secret", "org")
    cloud.answer("GET", "/v1/me", away(status, location.format(host=f"127.0.0.1:{cloud.port}")))
    ask(cloud.url)
    assert tokens(cloud) == ["Bearer secret", "Bearer secret"]


def test_the_same_server_by_another_name_is_another_server(cloud: Cloud) -> None:
    """Nobody can know that it is the same."""
    cloud.answer("GET", "/v1/me", away(307, f"http://localhost:{cloud.port}/v1/me"))
    ask(cloud.url)
    assert tokens(cloud) == ["Bearer secret", None]


@pytest.mark.parametrize("status", STATUSES)
def test_a_token_does_not_leave_tls(tls: Cloud, other: Cloud, status: int) -> None:
    """Nor does it go to another server that has TLS."""
    tls.answer("GET", "/v1/me", away(status, f"{other.url}/v1/me"))
    ask(tls.url)
    assert (tokens(tls), tokens(other)) == (["Bearer secret"], [None])
    other.answer("GET", "/v1/me", away(status, f"{tls.url}/v1/me"))
    ask(other.url)
    assert tokens(tls) == ["Bearer secret", None]


def test_a_token_that_was_dropped_does_not_come_back(cloud: Cloud, other: Cloud) -> None:
    """The way back was chosen by somebody else."""
    cloud.answer("GET", "/v1/me", away(307, f"{other.url}/v1/me"))
    other.answer("GET", "/v1/me", away(307, f"{cloud.url}/v1/other"))
    ask(cloud.url)
    assert (tokens(cloud), tokens(other)) == (["Bearer secret", None], [None])


@pytest.mark.parametrize("token", ["secret", None])
def test_netrc_has_no_word_for_the_other_server(cloud: Cloud, other: Cloud, home: Path, token: str | None) -> None:
    """Nor has a user name in the address that the redirect names."""
    (home / ".netrc").write_text("machine localhost login user password private\ndefault login user password private\n")
    (home / ".netrc").chmod(0o600)
    for location in (f"http://localhost:{other.port}/v1/me", f"http://user:private@127.0.0.1:{other.port}/v1/me"):
        cloud.answer("GET", "/v1/me", away(307, location))
        ask(cloud.url, token)
    assert tokens(other) == [None, None]


@pytest.mark.parametrize(
    ("method", "path", "call"),
    [
        ("POST", "/v1/projects", lambda client: client.create_project("org", name="n", slug="s")),
        ("PATCH", "/v1/endpoints/dep_1", lambda client: client.update_deployment(SCOPE, "dep_1", enabled=True)),
        ("DELETE", "/v1/endpoints/dep_1", lambda client: client.delete_deployment(SCOPE, "dep_1")),
        ("GET", EVENTS, lambda client: client.open_events(SCOPE, "job_1", last_event_id=None, timeout_s=(5, 5))),
        ("POST", "/v1/inference/chat", lambda client: client.chat(SCOPE, base_model="m", messages=[{}])),
        (
            "GET",
            "/v1/jobs/job_1/artifacts/a",
            lambda client: client.download_artifact(SCOPE, "job_1", Artifact(name="a"), "dest"),
        ),
    ],
    ids=["post", "patch", "delete", "events", "chat", "download"],
)
@pytest.mark.parametrize("status", [302, 307])
def test_no_call_hands_its_token_on(
    cloud: Cloud, other: Cloud, method: str, path: str, call: Any, status: int, project: Path
) -> None:
    """Whatever its method."""
    cloud.features = {"artifacts"}
    cloud.know("secret", "org")
    cloud.answer(method, path, away(status, f"{other.url}{path}"))
    client = CloudApiClient(cloud.url, token="secret")
    with pytest.raises(ArkorError):
        call(client)
    client.close()
    assert len(other.requests) >= 1
    assert set(tokens(other)) == {None}
