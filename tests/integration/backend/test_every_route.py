"""Every route of the backend, as its route table has it: a stranger learns nothing, and no request breaks it.

A new route is covered by itself; one that takes a body is covered best with a good one in ``_GOOD_BODIES``.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
import operator
from collections.abc import Iterator, Mapping
from typing import Any

import attrs
import pytest
import requests
from flask import Flask
from hypothesis import HealthCheck, given, settings, strategies as st
from werkzeug.routing import Rule

from arkor.backend.routes import BLUEPRINTS
from tests.support.backend import CLIENT_HEADERS, BackendProcess, Client

PATIENCE_S = 10.0
_ROWS = b'{"text": "a row that its owner alone sees"}\n'
_SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large]  # on a busy machine
_WITH_BODY = frozenset({"POST", "PUT", "PATCH"})
_DEEP, _LONG_NUMBER = "@deep@", "@long@"
_RAW = {f'"{_DEEP}"': "[" * 2000 + "]" * 2000, f'"{_LONG_NUMBER}"': "9" * 5000}  # what json.dumps cannot write

# Of each endpoint a body that it takes, for the mutations to begin with. "<model>" and the like are filled in.
_GOOD_BODIES: dict[str, Any] = {
    "auth.anonymous": {"kind": "cli"},
    "projects.create": {"name": "Mine", "slug": "mine"},
    "jobs.create": {
        "name": "queued",
        "config": {
            "model": "<model>",
            "datasetSource": {"type": "dataset", "id": "<sha256>"},
            "datasetFormat": {"type": "text"},
            "datasetSplit": {"evalFraction": 0.5, "seed": 1},
            "maxSteps": 2,
            "learningRate": 1e-4,
            "loraR": 8,
            "seed": 7,
            "dryRun": True,
        },
    },
    "inference.chat": {
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "x"}]},
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [{"id": "1", "function": {"name": "f", "arguments": "{}"}}],
            },
            {"role": "tool", "tool_call_id": "1", "content": "y"},
        ],
        "adapter": {"kind": "checkpoint", "jobId": "<job_id>", "step": 1},
        "stream": False,
        "temperature": 0.5,
        "topP": 0.9,
        "maxTokens": 5,
        "seed": 3,
        "toolChoice": "auto",
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}],
    },
    "inference.complete": {
        "prompt": "say:a",
        "adapter": {"kind": "final", "jobId": "<job_id>"},
        "stream": False,
        "temperature": 0.5,
        "maxTokens": 5,
        "responseFormat": {"type": "json_object"},
    },
    "previews.create": {
        "config": {"model": "<model>", "datasetSource": {"type": "dataset", "id": "<sha256>"}, "maxLength": 8},
        "row": 1,
        "isHeldOut": False,
        "around": 1,
        "search": {"text": "a", "offset": 0, "limit": 5},
    },
    "internal.report": {
        "attempt": 1,
        "events": [
            {"seq": 1, "type": "training.log", "timestamp": "2026-01-01T00:00:00Z", "step": 1, "loss": 0.5},
            {
                "seq": 2,
                "type": "checkpoint.saved",
                "step": 1,
                "artifacts": [{"name": "a", "kind": "adapter", "step": 1, "sizeBytes": 1, "sha256": "0" * 64}],
            },
        ],
    },
}
# Of the same endpoint, one that asks in another way.
_CONSTRAINED = {
    "messages": [{"role": "user", "content": "x"}],
    "baseModel": "<model>",
    "stream": False,
    "responseFormat": {
        "type": "json_schema",
        "json_schema": {"strict": True, "schema": {"type": "object", "additionalProperties": False, "properties": {}}},
    },
}
_CHOICE = {**_CONSTRAINED, "responseFormat": None, "structuredOutputs": {"choice": ["a", "b"]}}

_SCALARS: tuple[Any, ...] = (
    *(None, True, -1, 0, 0.5, 1e308, float("nan"), 2**63, 10**30, 10**400, _LONG_NUMBER),
    *("", " ", "x" * 256, "x" * 5000, "\ud83d", "a\0b", "é\r\n"),
    *("~nosuchuser/x", "/" + "x" * 300, "/dev/zero", "../.."),
    *([], {}, [[]], [None], {"": 1}, {"\ud83d": 1}, _DEEP),
)
_ODD = st.recursive(
    st.sampled_from(_SCALARS) | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=4,
)
_IDS = st.sampled_from(
    ["x" * 300, "~nosuchuser", "%00", "%ff", "%ed%a0%80", ".", "%2e%2e", "-1", "1" * 5000, "%0a", "é"]
)
_HEADERS = st.dictionaries(
    st.sampled_from(["Last-Event-ID", "Idempotency-Key", "Range", "If-Range", "Content-Encoding", "X-Arkor-Challenge"]),
    st.sampled_from(["", "x" * 300, "1" * 30, "\xff", "gzip", "bytes=0-0", "bytes=9999999999999999999999-", "-1"]),
    max_size=2,
)
_QUERIES = st.dictionaries(
    st.sampled_from(["after", "figures", "columns", "orgSlug", "projectSlug"]),
    st.sampled_from(["", "true", "1" * 30, "-1", "a,b", "step,loss," * 50, "x" * 300, "\0", "é"]),
    max_size=2,
)


def _rules() -> list[Rule]:
    app = Flask("routes", static_folder=None)
    for blueprint in BLUEPRINTS:
        app.register_blueprint(blueprint)
    return sorted(app.url_map.iter_rules(), key=lambda rule: (rule.rule, rule.endpoint))


ROUTES = [
    pytest.param(method, rule, id=f"{method} {rule.rule}")
    for rule in _rules()
    for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"})
]
BODY_ROUTES = [route for route in ROUTES if route.values[0] in _WITH_BODY]


@attrs.frozen
class House:
    """A backend with somebody's things in it, one of each kind, and a job that keeps all later ones waiting.

    Attributes:
        owner: whose they are.
        stranger: somebody else, with a project.
        session: keeps connections open, which is quicker.
        known: a value for each variable of a route, and for what stands in angles in a good body.
        secrets: everything that names a thing of the owner's.
        worker: the running job's id and its attempt's token.
    """

    owner: Client
    stranger: Client
    session: requests.Session
    known: Mapping[str, str]
    secrets: tuple[str, ...]
    worker: tuple[str, str]

    def path(self, rule: Rule, **values: str) -> str:
        """Return a route's path with values for its variables, percent-encoded where that is needed."""
        path = rule.rule
        for name in rule.arguments:
            path = path.replace(f"<{name}>", values.get(name, self.known.get(name, "x")))
        assert "<" not in path, f"{rule.rule}: a variable with a converter needs a line here"
        return path

    def good(self, body: Any) -> Any:
        """Return a good body with what stands in angles filled in."""
        text = json.dumps(body)
        for name, value in self.known.items():
            text = text.replace(f"<{name}>", value)
        return json.loads(text)

    def ask(self, client: Client, method: str, path: str, **arguments: Any) -> requests.Response:
        """Send a request, under the client's own scope unless there is another; the answer's body is unread."""
        headers = {**CLIENT_HEADERS, "Authorization": f"Bearer {client.token}", **arguments.pop("headers", {})}
        arguments = {"params": client.scope, **arguments}
        url = client.url + path
        return self.session.request(method, url, headers=headers, timeout=PATIENCE_S, stream=True, **arguments)

    def ask_fit(self, method: str, rule: Rule, path: str, what: Any, *, taken: bool = False, **arguments: Any) -> None:
        """Ask as whoever may, and check that the answer is one that the protocol has.

        Args:
            method: the HTTP method.
            rule: the route.
            path: its path.
            what: what to show in an error.
            taken: whether it has to be a success.
            arguments: of the request.

        Raises:
            AssertionError: it is a 5xx, or an error that is not one line of JSON.
        """
        if rule.endpoint.startswith("internal."):
            arguments["headers"] = {"Authorization": f"Bearer {self.worker[1]}", **arguments.get("headers", {})}
        answer = self.ask(self.owner, method, path, **arguments)
        text = _text(answer)
        assert answer.status_code < 500, f"{answer.status_code} {text[:500]}\nfor {what!r:.500}"
        assert answer.ok or not taken, (text, what)
        if answer.status_code >= 400:
            error = json.loads(text)["error"]
            assert len(error.splitlines()) == 1, (error, what)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory, model: str) -> Iterator[House]:
    """A backend of this file's own: what is thrown at it stays there."""
    backend = BackendProcess(tmp_path_factory.mktemp("house"), first_lease=60, lease=60, ping=5.0).start()
    try:
        with requests.Session() as session:
            yield _house(backend, model, session)
    finally:
        backend.close()


def _house(backend: BackendProcess, model: str, session: requests.Session) -> House:
    owner, sha256 = backend.client(), hashlib.sha256(_ROWS).hexdigest()
    assert owner.request("PUT", f"/v1/datasets/{sha256}", data=_ROWS).status_code == 201
    config = {"model": model, "datasetSource": {"type": "dataset", "id": sha256}, "saveSteps": 1}
    job_id = owner.submit("complete:2", config).json()["job"]["id"]
    owner.events(job_id)
    running = owner.submit("gated:1", config).json()["job"]["id"]
    backend.worker_pid(running)
    spec = json.loads((backend.job_dir(running) / "spec.json").read_text())
    project = owner.get("/v1/projects").json()["projects"][0]
    artifacts = owner.get(f"/v1/jobs/{job_id}/artifacts").json()["artifacts"]
    secrets = [job_id, running, sha256, project["id"], project["orgId"], owner.scope["orgSlug"], owner.token]
    secrets += [owner.get("/v1/me").json()["user"]["id"], spec["token"], _ROWS.decode().strip()]
    secrets += [artifact["sha256"] for artifact in artifacts]
    known = {"job_id": job_id, "sha256": sha256, "name": artifacts[-1]["name"], "model": model}
    return House(owner, backend.client(), session, known, tuple(secrets), (running, spec["token"]))


def _text(answer: requests.Response) -> str:
    """Return an answer's body; of an event stream, which may have no end, nothing."""
    with answer:
        return "" if answer.headers.get("Content-Type", "").startswith("text/event-stream") else answer.text


def _good(house: House, rule: Rule) -> tuple[str, list[Any]]:
    """Return where a route is asked, and bodies that it takes; any other route takes an empty object."""
    bodies = [_GOOD_BODIES.get(rule.endpoint, {})]
    bodies += [_CONSTRAINED, _CHOICE] if rule.endpoint == "inference.chat" else []
    path = house.path(rule, job_id=house.worker[0]) if rule.endpoint.startswith("internal.") else house.path(rule)
    return path, [house.good(body) for body in bodies]


def test_the_good_bodies_are_good(house: House) -> None:
    """Each is of a route that there is, and is taken as it stands: what is odd is refused for itself."""
    rules = {rule.endpoint: rule for rule in _rules()}
    for endpoint in _GOOD_BODIES:
        rule = rules[endpoint]
        (method,) = _WITH_BODY & (rule.methods or set())
        path, bodies = _good(house, rule)
        for body in bodies:
            house.ask_fit(method, rule, path, body, json=body, taken=True)


@pytest.mark.parametrize(("method", "rule"), ROUTES)
def test_a_stranger_learns_nothing_by_a_route(house: House, method: str, rule: Rule) -> None:
    """With any id of the owner's as any variable, under the own scope, the owner's, and a mix of both."""
    mine, theirs = house.stranger.scope, house.owner.scope
    # Without a filling a variable has the owner's own value.
    asking: list[tuple[dict[str, str], dict[str, str]]] = [
        ({}, scope) for scope in (mine, theirs, {**mine, "orgSlug": theirs["orgSlug"]}, {})
    ]
    ids = [secret for secret in house.secrets if "{" not in secret]
    asking += [({name: one}, scope) for name in rule.arguments for one in ids for scope in (mine, theirs)]
    for filling, scope in asking:
        path = house.path(rule, **filling)
        answer = house.ask(house.stranger, method, path, params=scope)
        text, asked = _text(answer), f"{path} {scope}"
        assert answer.status_code < 500, (text, asked)
        if rule.arguments and not rule.rule.startswith("/v1/models"):  # models are everybody's
            assert answer.status_code in {400, 401, 403, 404}, (text, asked)
        assert not [secret for secret in house.secrets if secret in text and secret not in asked], (text, asked)


@pytest.mark.parametrize(("method", "rule"), BODY_ROUTES)
def test_a_stranger_learns_nothing_by_a_body(house: House, method: str, rule: Rule) -> None:
    """With any id of the owner's in any place of a good body; where an id belongs, the answer is a refusal."""
    good = house.good(_GOOD_BODIES.get(rule.endpoint, {}))
    leaves = [place for place in _places(good) if place and not isinstance(_at(good, place), (dict, list))]
    for place, secret in itertools.product(leaves, house.secrets):
        body = _replaced(good, place, secret)
        answer = house.ask(house.stranger, method, house.path(rule), json=body)
        text, asked = _text(answer), json.dumps(body) + house.path(rule)
        assert answer.status_code < 500, (text, asked)
        if str(place[-1]).lower().endswith("id"):
            assert answer.status_code >= 400, (text, asked)
        assert not [one for one in house.secrets if one in text and one not in asked], (text, asked)


def _places(value: Any, place: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the place of every value in a JSON value, its own first."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [place, *itertools.chain.from_iterable(_places(item, (*place, key)) for key, item in items)]


def _at(value: Any, place: tuple[Any, ...]) -> Any:
    return functools.reduce(operator.getitem, place, value)


def _replaced(value: Any, place: tuple[Any, ...], new: Any) -> Any:
    """Return a JSON value with another value in one place."""
    if not place:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[place[0]] = _replaced(value[place[0]], place[1:], new)
    return copy


def _written(body: Any) -> bytes:
    """Return a body as it is sent."""
    text = json.dumps(body)
    for mark, raw in _RAW.items():
        text = text.replace(mark, raw)
    return text.encode()


def _bodies(good: list[Any]) -> st.SearchStrategy[bytes]:
    """Make bodies out of good ones: with something odd in one place or two, or beside the rest, or of odd bytes."""

    @st.composite
    def mutated(draw: st.DrawFn) -> bytes:
        body = draw(st.sampled_from(good))
        for _ in range(draw(st.integers(1, 2))):
            place, odd = draw(st.sampled_from(_places(body))), draw(_ODD)
            body = _replaced(body, place, odd)
        if isinstance(body, dict) and draw(st.booleans()):
            body = {**body, draw(st.text(max_size=3) | st.just("extra")): draw(_ODD)}
        return _written(body)

    raw = st.sampled_from([b"", b"[]", b'{"name": "\xed\xa0\xbd"}', b"\xff\xfe{\0}\0", b'{"a":' * 2000])
    return st.one_of(mutated(), mutated(), mutated(), raw, st.binary(max_size=50))


@pytest.mark.parametrize(("method", "rule"), BODY_ROUTES)
def test_no_value_breaks_a_route(house: House, method: str, rule: Rule) -> None:
    """Each odd value in each place of a good body: an answer in time that is no 5xx."""
    path, good = _good(house, rule)
    bodies = {place: body for body in reversed(good) for place in _places(body)}  # one for each place
    for (place, body), odd in itertools.product(bodies.items(), _SCALARS):
        sent = _written(_replaced(body, place, odd))
        house.ask_fit(method, rule, path, sent, data=sent)


@pytest.mark.parametrize(("method", "rule"), BODY_ROUTES)
def test_no_body_breaks_a_route(house: House, method: str, rule: Rule) -> None:
    """Several odd values at a time, unknown fields, other texts than JSON: an answer in time that is no 5xx."""
    path, good = _good(house, rule)

    @settings(max_examples=20 * len(good), derandomize=True, database=None, suppress_health_check=_SLOW)
    @given(_bodies(good))
    def check(body: bytes) -> None:
        house.ask_fit(method, rule, path, body, data=body)

    check()


@pytest.mark.parametrize(("method", "rule"), ROUTES)
def test_no_address_breaks_a_route(house: House, method: str, rule: Rule) -> None:
    """Odd ids in its path, odd queries and odd headers."""

    @settings(max_examples=10, derandomize=True, database=None, suppress_health_check=_SLOW)
    @given(st.dictionaries(st.sampled_from([*rule.arguments, "none"]), _IDS), _QUERIES, _HEADERS)
    def check(values: dict[str, str], query: dict[str, str], headers: dict[str, str]) -> None:
        if method == "DELETE" and not set(values) & rule.arguments:
            return  # what is deleted is missed by the other tests
        params = {**house.owner.scope, **query}
        encoded = {name: value.encode("latin-1") for name, value in headers.items()}
        what = (values, query, headers)
        house.ask_fit(method, rule, house.path(rule, **values), what, params=params, headers=encoded)

    check()
