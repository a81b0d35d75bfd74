"""Deployments and their keys over HTTP, and what becomes of them where a backend has none."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from arkor import (
    AdapterRef,
    CloudApiClient,
    CloudApiError,
    Conflict,
    NotFound,
    Scope,
    ServerError,
    UnsupportedByBackend,
)
from arkor.errors import ConfigError, ConnectionFailed
from arkor.http import transport
from tests.support.cloud import Cloud
from tests.support.contract import Answer

SCOPE = Scope("org", "my project")
ENDPOINTS, ONE, KEYS, KEY = "/v1/endpoints", "/v1/endpoints/*", "/v1/endpoints/*/keys", "/v1/endpoints/*/keys/*"
BUSY, GONE = Answer(status=503, headers={"Retry-After": "0"}), Answer(cut=0)


@pytest.fixture
def client(cloud: Cloud) -> Iterator[CloudApiClient]:
    """A client that the stand-in knows."""
    cloud.know("secret", "org")
    one = CloudApiClient(cloud.url, token="secret")
    yield one
    one.close()


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "pause", lambda _: None)


def test_a_deployment_from_its_beginning_to_its_end(cloud: Cloud, client: CloudApiClient) -> None:
    """Each call as the contract has it, in the project's scope."""
    made = client.create_deployment(SCOPE, slug="support", target=AdapterRef("final", "job_1"))
    assert (made.slug, made.auth_mode, made.enabled) == ("support", "fixed_api_key", True)
    assert client.get_deployment(SCOPE, made.id) == made
    assert client.list_deployments(SCOPE) == [made]
    changed = client.update_deployment(SCOPE, made.id, enabled=False, target="smollm2-135m", custom_domain=None)
    assert (changed.enabled, changed.target.base_model) == (False, "smollm2-135m")
    client.delete_deployment(SCOPE, made.id)
    assert client.list_deployments(SCOPE) == []
    assert [(item.method, item.path) for item in cloud.requests] == [
        ("POST", ENDPOINTS),
        ("GET", f"{ENDPOINTS}/{made.id}"),
        ("GET", ENDPOINTS),
        ("PATCH", f"{ENDPOINTS}/{made.id}"),
        ("DELETE", f"{ENDPOINTS}/{made.id}"),
        ("GET", ENDPOINTS),
    ]
    assert {tuple(item.query.items()) for item in cloud.requests} == {
        (("orgSlug", "org"), ("projectSlug", "my project"))
    }


def test_only_what_was_given_travels(cloud: Cloud, client: CloudApiClient) -> None:
    """On creation as on change."""
    made = client.create_deployment(
        SCOPE, slug="ab", target="m", auth_mode="none", run_retention_mode="days", run_retention_days=3
    )
    client.update_deployment(SCOPE, made.id, run_retention_mode="disabled")
    assert [item.json() for item in cloud.requests] == [
        {
            "slug": "ab",
            "target": {"kind": "base_model", "baseModel": "m"},
            "authMode": "none",
            "runRetentionMode": "days",
            "runRetentionDays": 3,
        },
        {"runRetentionMode": "disabled"},
    ]


def test_a_key_is_shown_once(cloud: Cloud, client: CloudApiClient, caplog: pytest.LogCaptureFixture) -> None:
    """When it is made; neither in the list, nor in a log."""
    caplog.set_level(logging.DEBUG)
    made = client.create_deployment(SCOPE, slug="support", target="m")
    key = client.create_deployment_key(SCOPE, made.id, label="production")
    assert (key.plaintext, key.label) == ("ark_live_abcd1234", "production")
    cloud.deployments.keys[made.id][key.id]["plaintext"] = key.plaintext  # a backend that shows too much
    (listed,) = client.list_deployment_keys(SCOPE, made.id)
    assert (listed.id, listed.prefix, listed.enabled) == (key.id, "ark_live_abcd", True)
    assert not hasattr(listed, "plaintext")
    assert key.plaintext not in f"{listed!r}{listed.extra}{caplog.text}"
    client.delete_deployment_key(SCOPE, made.id, key.id)
    assert client.list_deployment_keys(SCOPE, made.id) == []


def test_a_slug_that_is_taken_is_named(cloud: Cloud, client: CloudApiClient) -> None:
    """On creation, and where a change asks for it; another conflict stays as it is."""
    client.create_deployment(SCOPE, slug="support", target="m")
    with pytest.raises(Conflict, match="The slug 'support' cannot be had: Deployment slug is already taken"):
        client.create_deployment(SCOPE, slug="support", target="m")
    conflict = Answer(status=409, body={"error": "It is being changed"})
    cloud.answer("PATCH", ONE, conflict, conflict)
    with pytest.raises(Conflict, match="The slug 'other' cannot be had: It is being changed"):
        client.update_deployment(SCOPE, "dep_1", slug="other")
    with pytest.raises(Conflict, match=r"^It is being changed$"):
        client.update_deployment(SCOPE, "dep_1", enabled=True)


Call = Callable[[CloudApiClient], Any]
CREATE: Call = lambda client: client.create_deployment(SCOPE, slug="ab", target="m")  # noqa: E731
LIST: Call = lambda client: client.list_deployments(SCOPE)  # noqa: E731


@pytest.mark.parametrize("status", [404, 405, 501])
@pytest.mark.parametrize(("method", "call"), [("GET", LIST), ("POST", CREATE)], ids=["list", "create"])
def test_a_backend_without_deployments_is_told_as_such(
    cloud: Cloud, client: CloudApiClient, status: int, method: str, call: Call
) -> None:
    """By the name of the feature, with who has it and what the backend said."""
    cloud.answer(method, ENDPOINTS, Answer(status=status, body={"error": "What?"}))
    with pytest.raises(UnsupportedByBackend) as raised:
        call(client)
    assert raised.value.feature == "deployments"
    assert str(raised.value) == (
        f"{cloud.url} does not support deployments. Arkor Cloud does. (The backend answered {status}: What?)"
    )


@pytest.mark.parametrize("call", [LIST, CREATE], ids=["list", "create"])
def test_other_failures_are_what_they_are(cloud: Cloud, client: CloudApiClient, call: Call) -> None:
    """A backend that fails may well have deployments."""
    for method in ("GET", "POST"):
        cloud.answer(method, ENDPOINTS, *[Answer(status=500)] * 3)
    with pytest.raises(ServerError):
        call(client)


@pytest.mark.parametrize(
    "call",
    [
        lambda client: client.get_deployment(SCOPE, "dep_9"),
        lambda client: client.update_deployment(SCOPE, "dep_9", enabled=True),
        lambda client: client.delete_deployment(SCOPE, "dep_9"),
        lambda client: client.list_deployment_keys(SCOPE, "dep_9"),
        lambda client: client.create_deployment_key(SCOPE, "dep_9", label="a"),
        lambda client: client.delete_deployment_key(SCOPE, "dep_9", "key_9"),
    ],
    ids=range(6),
)
def test_a_deployment_that_is_not_there_is_not_found(client: CloudApiClient, call: Call) -> None:
    """Which says nothing about the feature."""
    with pytest.raises(NotFound, match="No such deployment"):
        call(client)


@pytest.mark.parametrize(
    "call",
    [
        lambda client: client.create_deployment(SCOPE, slug="-", target="m"),
        lambda client: client.create_deployment(SCOPE, slug="ab", target=""),
        lambda client: client.update_deployment(SCOPE, "dep_1"),
        lambda client: client.create_deployment_key(SCOPE, "dep_1", label=""),
        lambda client: client.delete_deployment_key(SCOPE, "dep_1", ".."),
        lambda client: client.delete_deployment(SCOPE, ""),
    ],
    ids=range(6),
)
def test_what_is_wrong_is_found_before_anything_is_sent(cloud: Cloud, client: CloudApiClient, call: Call) -> None:
    """A key whose id is ``..`` would be the deployment itself."""
    with pytest.raises(ConfigError):
        call(client)
    assert cloud.requests == []


@pytest.mark.parametrize("lost", [GONE, Answer(status=502)], ids=["cut", "502"])
def test_a_deletion_whose_answer_was_lost_is_done(cloud: Cloud, client: CloudApiClient, lost: Answer) -> None:
    """That it is gone on the second look is what was asked for."""
    cloud.answer("DELETE", ONE, lost, Answer(status=404))
    client.delete_deployment(SCOPE, "dep_1")
    assert len(cloud.calls("DELETE", ONE)) == 2
    cloud.answer("DELETE", KEY, BUSY, lost, BUSY, Answer(status=204))
    client.delete_deployment_key(SCOPE, "dep_1", "key_1")
    assert len(cloud.calls("DELETE", KEY)) == 4


@pytest.mark.parametrize(("answer", "times"), [(GONE, 4), (BUSY, 3), (Answer(status=403), 1)], ids=range(3))
def test_a_deletion_that_fails_says_so(cloud: Cloud, client: CloudApiClient, answer: Answer, times: int) -> None:
    """With what stands in its way."""
    cloud.answer("DELETE", ONE, *[answer] * 10)
    with pytest.raises((ConnectionFailed, CloudApiError)):
        client.delete_deployment(SCOPE, "dep_1")
    assert len(cloud.calls("DELETE", ONE)) == times


def test_what_makes_something_is_not_repeated_and_a_change_is(cloud: Cloud, client: CloudApiClient) -> None:
    """Two keys are not one key; the same change twice is the same change."""
    for method, path in (("POST", ENDPOINTS), ("POST", KEYS), ("PATCH", ONE)):
        cloud.answer(method, path, *[GONE] * 3)
    for call in (
        CREATE,
        lambda one: one.create_deployment_key(SCOPE, "dep_1", label="a"),
        lambda one: one.update_deployment(SCOPE, "dep_1", enabled=True),
    ):
        with pytest.raises(ConnectionFailed):
            call(client)
    assert [item.method for item in cloud.requests] == ["POST", "POST", "PATCH", "PATCH", "PATCH"]
