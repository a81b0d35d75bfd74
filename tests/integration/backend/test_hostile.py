"""Bodies that are meant to do harm: refused soon, in little memory, and before anybody else notices."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import socket
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import psutil
import pytest

from arkor.backend.app import create_app
from arkor.backend.backend import Backend
from arkor.backend.routes.bodies import DEFAULT_MAX_BYTES, MAX_BYTES, WITHOUT_TOKEN
from arkor.backend.settings import Settings
from tests.support.backend import TIMEOUT_S, BackendProcess, Client
from tests.support.eventually import eventually

MIB = 1024**2
FILES = frozenset({"datasets.upload", "imports.create"})  # they may be very large
MANY_ROWS = b'{"text": "a row"}\n' * 10_000


@pytest.fixture(scope="module")
def routes(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, str, str]]:
    """Every route: its endpoint, a method, and a path."""
    backend = Backend(Settings(data=tmp_path_factory.mktemp("routes")), "http://127.0.0.1:1")
    rules = list(create_app(backend).url_map.iter_rules())
    backend.close()
    return [
        (rule.endpoint, method, re.sub("<[^>]*>", "x", rule.rule))
        for rule in rules
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"})
    ]


def told(
    url: str, method: str, path: str, *headers: str, client: str = "X-Arkor-Client: arkor/0"
) -> tuple[int, dict[str, Any]]:
    """Send a head that announces a body, and no body; return the answer."""
    address = urlsplit(url)
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", client, *headers, "", ""]
    with socket.create_connection((address.hostname or "", address.port or 0), TIMEOUT_S) as asking:
        asking.sendall("\r\n".join(lines).encode())
        with asking.makefile("rb") as file:
            answer = file.read()
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"Connection: close" in head
    return int(head.split()[1]), json.loads(body)


def test_no_route_reads_the_body_of_a_stranger(shared: BackendProcess, routes: list[tuple[str, str, str]]) -> None:
    """Without a token that this backend issued, the answer is a 401 before a byte of the body has come."""
    for token in ([], ["Authorization: Bearer wrong"]):
        for endpoint, method, path in routes:
            if endpoint not in WITHOUT_TOKEN:
                status, body = told(shared.url, method, path, *token, "Content-Length: 60000000000")
                assert (status, list(body)) == (401, ["error"]), endpoint


def test_every_route_has_a_limit(shared: BackendProcess, client: Client, routes: list[tuple[str, str, str]]) -> None:
    """A body that is announced as larger is refused before a byte of it has come, and the limit is named."""
    token = f"Authorization: Bearer {client.token}"
    assert MAX_BYTES.keys() <= {endpoint for endpoint, _, _ in routes}
    assert {endpoint for endpoint, _, _ in routes} >= WITHOUT_TOKEN
    for endpoint, method, path in routes:
        limit = 4 * 1024**3 if endpoint in FILES else MAX_BYTES.get(endpoint, DEFAULT_MAX_BYTES)
        if endpoint != "internal.report":  # an attempt's token is needed
            status, body = told(shared.url, method, path, token, f"Content-Length: {limit + 1}")
            assert (status, body["error"].split(": ")[1]) == (413, f"at most {limit} bytes."), endpoint


def test_a_foreign_page_and_a_wrong_path_are_refused_before_the_body(shared: BackendProcess) -> None:
    """As they are without one."""
    length = "Content-Length: 1000"
    assert told(shared.url, "POST", "/nothing", length)[0] == 404
    assert told(shared.url, "PATCH", "/v1/jobs", length)[0] == 405
    assert told(shared.url, "POST", "/v1/jobs", length, client="X-Other: x")[0] == 426


@pytest.mark.parametrize("field", ["metadata", "messages", "tools"])
def test_json_of_very_many_values_is_refused(client: Client, field: str) -> None:
    """In whatever field: it would take thirty times its size."""
    body = b'{"%b": [' % field.encode() + b"[]," * 60_000 + b"[]]}"
    answer = client.request("POST", "/v1/inference/chat", data=body)
    assert (answer.status_code, answer.json()) == (400, {"error": "The body has more than 20000 values."})


@pytest.mark.parametrize("path", ["/v1/auth/anonymous", "/v1/projects", "/v1/jobs", "/v1/inference/chat"])
def test_json_that_is_nested_very_deeply_is_400(client: Client, path: str) -> None:
    """The parser gives up on it."""
    assert client.request("POST", path, data=b'{"a":' * 10_000).status_code == 400


def put(client: Client, content: bytes, **arguments: Any) -> Any:
    """Upload a data set."""
    sha256 = hashlib.sha256(content).hexdigest()
    return client.request("PUT", f"/v1/datasets/{sha256}", **{"data": content, **arguments})


def test_gzip_that_grows_too_much_is_413(client: Client) -> None:
    """A hundredfold is not what rows are; it is given up at 16 MiB, not at the largest size of a data set."""
    packed = gzip.compress(b'{"text": [' + b"[]," * (6 * MIB) + b"[]]}\n", 6)
    answer = put(client, b"", data=packed, headers={"Content-Encoding": "gzip"})
    expected = "The data set is more than 100 times as large as its gzip data: send it uncompressed."
    assert (answer.status_code, answer.json()) == (413, {"error": expected})
    few = b'{"text": "a row"}\n' * (2 * MIB // 18)
    assert put(client, few, data=gzip.compress(few), headers={"Content-Encoding": "gzip"}).status_code == 201


def test_a_hostile_row_costs_the_server_nothing(client: Client, shared: BackendProcess) -> None:
    """It is checked elsewhere: the server's memory stays as it is, and the row is named."""
    assert shared.process is not None
    server = psutil.Process(shared.process.pid)
    before = server.memory_info().rss
    for row in (b'{"text": [' + b"[]," * MIB + b"[]]}\n", b" " * (17 * MIB)):
        answer = put(client, MANY_ROWS + row)
        assert answer.status_code == 422
        assert [item["row"] for item in answer.json()["rows"]] == [10_001]
    assert server.memory_info().rss - before < 30 * MIB


def test_rows_that_are_checked_elsewhere_get_the_same_answers(client: Client, shared: BackendProcess) -> None:
    """Good ones and bad ones."""
    answer = put(client, MANY_ROWS)
    assert (answer.status_code, answer.json()["dataset"]["rows"]) == (201, 10_000)
    answer = put(client, MANY_ROWS + b"{broken\n")
    (row,) = answer.json()["rows"]
    assert (answer.status_code, row["row"]) == (422, 10_001)
    assert answer.json()["error"] == (f"The data set: 1 row cannot be trained on\n  row 10001: {row['reason']}")
    assert not list((shared.data / "datasets").glob(".upload.*"))


def test_a_backend_that_stops_waits_for_no_check(start: Callable[..., BackendProcess]) -> None:
    """The check ends with it, and leaves no process."""
    backend = start()
    client = backend.client()
    assert backend.process is not None
    server = psutil.Process(backend.process.pid)
    content = b"x\n" * (20 * MIB)
    with socket.create_connection(("127.0.0.1", urlsplit(backend.url).port or 0), TIMEOUT_S) as sending:
        path = f"/v1/datasets/{hashlib.sha256(content).hexdigest()}?orgSlug={client.scope['orgSlug']}&projectSlug=tests"
        lines = [f"PUT {path} HTTP/1.1", "Host: localhost", "X-Arkor-Client: arkor/0"]
        lines += [f"Authorization: Bearer {client.token}", f"Content-Length: {len(content)}", "", ""]
        sending.sendall("\r\n".join(lines).encode() + content)
        check = eventually(server.children, "the rows are being checked")[0]
        assert backend.stop() == 0
    assert not check.is_running()
