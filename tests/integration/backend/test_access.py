"""Who is let in, and what they see."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
import requests

from arkor.protocol.proof import CHALLENGE_HEADER, attempt_secret, new_challenge, proof_of, secret_of
from arkor.version import __version__
from tests.support.backend import CLIENT_HEADERS, TIMEOUT_S, BackendProcess, Client
from tests.support.eventually import eventually


def _get(shared: BackendProcess, path: str, **headers: str) -> requests.Response:
    return requests.get(shared.url + path, headers=headers, timeout=TIMEOUT_S)


def test_healthz_needs_nothing(shared: BackendProcess) -> None:
    """Anything on this machine can see that the backend is there."""
    answer = _get(shared, "/healthz")
    assert (answer.status_code, answer.json()["status"]) == (200, "ok")
    assert "Server" not in answer.headers


def test_capabilities_name_the_features(shared: BackendProcess) -> None:
    """A client learns what it may use before it has an identity."""
    answer = _get(shared, "/v1/capabilities", **CLIENT_HEADERS)
    assert answer.json() == {
        "backend": "arkor-local",
        "version": __version__,
        "features": [
            "datasets",
            "artifacts",
            "idempotent-jobs",
            "models",
            "cancelled-event",
            "inference",
            "delete-jobs",
            "stored-events",
            "figure-columns",
            "pages",
            "completions",
            "eval-dataset",
            "previews",
            "columns",
            "row-search",
            "best-checkpoint",
            "best-metric",
            "base-adapter",
            "pause-jobs",
            "resume-jobs",
            "evaluations",
            "logprobs",
            "best-score",
            "exports",
            "import",
            "full-determinism",
            "devices",
            "samples",
        ],
        "chat": {"engine": "transformers", "reason": "it was chosen"},
    }


@pytest.mark.parametrize("path", ["/v1/capabilities", "/v1/jobs", "/internal/jobs/x/events", "/nothing"])
def test_a_request_without_the_client_header_is_426(shared: BackendProcess, path: str) -> None:
    """A web page cannot add that header, so it cannot do anything here."""
    answer = _get(shared, path)
    assert answer.status_code == 426
    assert set(answer.json()) == {"error", "currentVersion", "supportedRange", "upgrade"}
    assert answer.json()["error"] == "sdk_version_unsupported"


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example:80", "127.0.0.2"])
@pytest.mark.parametrize("path", ["/healthz", "/v1/capabilities"])
def test_a_foreign_host_is_refused(shared: BackendProcess, host: str, path: str) -> None:
    """A name that was made to point at this machine opens nothing."""
    answer = _get(shared, path, **CLIENT_HEADERS, Host=host)
    assert (answer.status_code, list(answer.json())) == (403, ["error"])


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "127.0.0.1", "[::1]:8080"])
def test_every_loopback_host_is_served(shared: BackendProcess, host: str) -> None:
    """Whatever this machine calls itself."""
    assert _get(shared, "/v1/capabilities", **CLIENT_HEADERS, Host=host).status_code == 200


def test_a_backend_answers_to_the_address_that_workers_are_told(
    start: Callable[..., BackendProcess], config: dict[str, Any]
) -> None:
    """Here one of a proxy that does TLS; a part of the name is not enough."""
    backend = start(advertise_url="https://trainer.example/")
    seen = {
        host: _get(backend, "/v1/capabilities", **CLIENT_HEADERS, Host=host).status_code
        for host in ("trainer.example", "TRAINER.example:443", "127.0.0.1", "trainer.example:80", "example", "x:y")
    }
    assert seen == {
        "trainer.example": 200,
        "TRAINER.example:443": 200,
        "127.0.0.1": 200,
        "trainer.example:80": 403,
        "example": 403,
        "x:y": 403,
    }
    client = backend.client()
    job_id = client.submit("gated:1", config).json()["job"]["id"]
    spec = backend.job_dir(job_id) / "spec.json"
    eventually(spec.exists, "the worker is started")
    told = json.loads(spec.read_bytes())
    assert told["backendUrl"] == "https://trainer.example"
    challenge = new_challenge()
    headers = {CHALLENGE_HEADER: challenge}
    answer = client.get(f"/internal/jobs/{job_id}/events", params={"attempt": 1}, headers=headers).json()
    assert answer == {"proof": proof_of(attempt_secret(secret_of(told["token"]), 443), challenge)}


def test_a_backend_that_listens_on_all_addresses_needs_one_to_tell(prepare: Callable[..., BackendProcess]) -> None:
    """Workers cannot connect to 0.0.0.0."""
    backend = prepare(host="0.0.0.0")
    assert backend.launch().wait(TIMEOUT_S) == 3
    assert "name an address with --advertise-url" in backend.log


@pytest.mark.parametrize("url", ["trainer:4747", "ftp://trainer", "http://", "http://me:secret@trainer", "http://x:y"])
def test_an_address_that_is_none_is_refused(prepare: Callable[..., BackendProcess], url: str) -> None:
    """Also one with a password, which would be shown."""
    backend = prepare(advertise_url=url)
    assert backend.launch().wait(TIMEOUT_S) == 2
    assert "give an address such as http://10.0.0.5:4747" in " ".join(backend.log.split())


@pytest.mark.parametrize("authorization", ["", "Bearer", "Bearer ", "Bearer wrong", "Basic d3Jvbmc="])
def test_a_wrong_token_is_401(shared: BackendProcess, authorization: str) -> None:
    """No token, another scheme, or a token that was never issued."""
    answer = _get(shared, "/v1/me", **CLIENT_HEADERS, Authorization=authorization)
    assert answer.status_code == 401
    assert "wrong" not in answer.text


def test_an_anonymous_identity_has_its_own_org(shared: BackendProcess) -> None:
    """Two identities share nothing."""
    made = [
        requests.post(
            f"{shared.url}/v1/auth/anonymous", json={"kind": "cli"}, headers=CLIENT_HEADERS, timeout=TIMEOUT_S
        ).json()
        for _ in range(2)
    ]
    for identity in made:
        assert set(identity) == {"token", "anonymousId", "kind", "personalOrg"}
        assert identity["kind"] == "cli"
        assert len(identity["token"]) >= 43
        me = _get(shared, "/v1/me", **CLIENT_HEADERS, Authorization=f"Bearer {identity['token']}").json()
        assert me["orgs"] == [identity["personalOrg"]]
        assert me["user"]["id"] == identity["anonymousId"]
    assert made[0]["personalOrg"]["slug"] != made[1]["personalOrg"]["slug"]


def test_there_is_no_oauth_here(client: Client) -> None:
    """The CLI's login learns that it has nowhere to go."""
    assert client.get("/v1/auth/cli/config").json() == {
        "auth0Domain": None,
        "clientId": None,
        "audience": None,
        "callbackPorts": [],
    }


def test_projects_are_made_once_and_listed(client: Client) -> None:
    """A second one with the slug is a 409, and the list finds the first."""
    again = client.request("POST", "/v1/projects", json={"name": "Other", "slug": "tests"})
    assert again.status_code == 409
    listed = client.get("/v1/projects").json()
    assert listed["org"]["slug"] == client.scope["orgSlug"]
    assert [(item["slug"], item["name"]) for item in listed["projects"]] == [("tests", "Tests")]
    assert set(listed["projects"][0]) == {"id", "slug", "name", "orgId"}


@pytest.mark.parametrize("slug", [None, "", "Big", "a b", "-a", "a-", "a/b", "x" * 41, 3])
def test_a_slug_that_cannot_be_one_is_422(client: Client, slug: Any) -> None:
    """It says what a slug is."""
    answer = client.request("POST", "/v1/projects", json={"name": "N", "slug": slug})
    assert answer.status_code == 422
    assert answer.json()["error"].startswith("slug: ")


@pytest.mark.parametrize("absent", ["orgSlug", "projectSlug"])
def test_an_absent_scope_is_named(client: Client, absent: str) -> None:
    """A request without its scope is refused by the parameter's name."""
    scope = {name: value for name, value in client.scope.items() if name != absent}
    answer = client.get("/v1/jobs", params=scope)
    assert answer.status_code == 400
    assert absent in answer.json()["error"]


def test_an_unknown_project_is_404(client: Client) -> None:
    """The organisation is right, the project is not."""
    assert client.get("/v1/jobs", params={**client.scope, "projectSlug": "other"}).status_code == 404


def test_nothing_of_another_org_can_be_seen_or_changed(
    shared: BackendProcess, client: Client, config: dict[str, Any]
) -> None:
    """Neither under the other's scope, nor under one's own with the other's ids."""
    job_id = client.submit("complete:1", config).json()["job"]["id"]
    client.events(job_id)
    stranger = shared.client()
    paths = [
        ("GET", f"/v1/jobs/{job_id}"),
        ("POST", f"/v1/jobs/{job_id}/cancel"),
        ("GET", f"/v1/jobs/{job_id}/events/stream"),
        ("GET", f"/v1/jobs/{job_id}/artifacts"),
        ("GET", f"/v1/jobs/{job_id}/artifacts/adapter"),
    ]
    for method, path in paths:
        assert stranger.request(method, path, params=client.scope).status_code == 403
        assert stranger.request(method, path).status_code == 404
    assert stranger.get("/v1/jobs").json() == {"jobs": []}


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/nothing", 404), ("DELETE", "/v1/jobs", 405)])
def test_what_is_not_there_is_said_in_json(client: Client, method: str, path: str, status: int) -> None:
    """An unknown path and a method that a path lacks."""
    answer = client.request(method, path)
    assert (answer.status_code, list(answer.json())) == (status, ["error"])


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"\xff", b'"text"'])
def test_a_body_that_is_no_object_is_400(client: Client, body: bytes) -> None:
    """Whatever is sent, the answer is JSON."""
    answer = client.request("POST", "/v1/jobs", data=body)
    assert (answer.status_code, list(answer.json())) == (400, ["error"])


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"[" * 5000, "The body is nested more than 100 levels deep."),
        (b'{"name": ' + b"9" * 5000 + b"}", "The body holds a number of thousands of digits."),
        (rb'{"name": "\ud83d"}', "name: holds half a character (a lone surrogate)."),
        (b'{"slug": "s", "name": "\xed\xa0\xbd"}', "The body is not JSON: it is not UTF-8."),
        (rb'{"config": {"optim": ["\ud83d"]}}', "config.optim[0]: holds half a character (a lone surrogate)."),
        (
            rb'{"messages": [{}, {"content": "\ud83d"}]}',
            "messages[1].content: holds half a character (a lone surrogate).",
        ),
    ],
)
@pytest.mark.parametrize("path", ["/v1/auth/anonymous", "/v1/projects", "/v1/jobs", "/v1/inference/chat"])
def test_a_body_that_nothing_could_keep_is_400(client: Client, path: str, body: bytes, error: str) -> None:
    """The place is named, whatever the call."""
    answer = client.request("POST", path, data=body)
    assert (answer.status_code, answer.json()) == (400, {"error": error})


def test_a_body_that_is_too_large_is_413(client: Client) -> None:
    """Also this refusal is JSON."""
    answer = client.request("POST", "/v1/jobs", data=b" " * (16 * 1024**2 + 1))
    assert (answer.status_code, list(answer.json())) == (413, ["error"])
