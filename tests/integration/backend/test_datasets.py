"""Uploading data sets."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Callable
from typing import Any

import pytest
import requests

from tests.support.backend import BackendProcess, Client


def _rows(count: int) -> bytes:
    return b"".join(json.dumps({"text": f"row {number}"}).encode() + b"\n" for number in range(1, count + 1))


def _put(client: Client, content: bytes, body: bytes | None = None, encoding: str = "") -> requests.Response:
    sha256 = hashlib.sha256(content).hexdigest()
    headers = {"Content-Encoding": encoding} if encoding else {}
    return client.request("PUT", f"/v1/datasets/{sha256}", data=content if body is None else body, headers=headers)


def _files(backend: BackendProcess) -> set[str]:
    return {path.name for path in (backend.data / "datasets").iterdir()}


@pytest.mark.parametrize("encoding", ["", "gzip"])
def test_an_upload_is_kept_under_its_hash(client: Client, shared: BackendProcess, encoding: str) -> None:
    """Plain or compressed, it is the same data set; a second upload changes nothing."""
    content = _rows(3)
    sha256 = hashlib.sha256(content).hexdigest()
    assert client.get(f"/v1/datasets/{sha256}").status_code == 404
    body = gzip.compress(content) if encoding else content
    answers = [_put(client, content, body, encoding) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [201, 200]
    described = {"dataset": {"id": sha256, "rows": 3, "sizeBytes": len(content)}}
    assert answers[0].json() == answers[1].json() == described
    assert client.get(f"/v1/datasets/{sha256}").json() == described
    assert (shared.data / "datasets" / f"{sha256}.jsonl").read_bytes() == content


def test_a_large_upload_comes_through(client: Client) -> None:
    """Larger than any buffer on the way, in several gzip members, without a length."""
    content = _rows(100_000)
    half = len(content) // 2
    body = gzip.compress(content[:half], 1) + gzip.compress(content[half:], 1)
    pieces = (body[at : at + 65536] for at in range(0, len(body), 65536))
    sha256 = hashlib.sha256(content).hexdigest()
    answer = client.request("PUT", f"/v1/datasets/{sha256}", data=pieces, headers={"Content-Encoding": "gzip"})
    assert answer.json() == {"dataset": {"id": sha256, "rows": 100_000, "sizeBytes": len(content)}}


def test_bytes_that_do_not_match_are_400(client: Client, shared: BackendProcess) -> None:
    """Changed, cut, or not gzip at all: nothing is kept."""
    content, before = _rows(4), _files(shared)
    packed = gzip.compress(content)
    assert _put(client, content, _rows(5)).status_code == 400
    assert _put(client, content, content[:-1]).status_code == 400
    for body in (packed[:-4], packed[: len(packed) // 2], content, b"", packed[:-8] + bytes(8)):
        answer = _put(client, content, body, encoding="gzip")
        assert (answer.status_code, list(answer.json())) == (400, ["error"]), body
    assert _files(shared) == before


def test_an_unknown_encoding_is_415(client: Client) -> None:
    """Rather than hashed as it is."""
    assert _put(client, _rows(1), encoding="br").status_code == 415


@pytest.mark.parametrize("name", ["abc", "A" * 64, "..", "%2e%2e%2fspec"])
def test_a_name_that_is_no_hash_is_refused(client: Client, shared: BackendProcess, name: str) -> None:
    """It never becomes a path."""
    before = _files(shared)
    assert client.request("PUT", f"/v1/datasets/{name}", data=_rows(1)).status_code in {400, 404, 405}
    assert _files(shared) == before


def test_bad_rows_are_422_with_their_numbers(client: Client, shared: BackendProcess) -> None:
    """Each with its reason."""
    lines, before = _rows(20).splitlines(), _files(shared)
    lines[16] = b"{broken"
    lines[18] = b'{"text": ""}'
    answer = _put(client, b"\n".join(lines))
    assert answer.status_code == 422
    body = answer.json()
    assert [row["row"] for row in body["rows"]] == [17, 19]
    assert "not JSON" in body["rows"][0]["reason"]
    assert "row 17" in body["error"]
    assert _files(shared) == before


def test_an_upload_without_rows_is_422(client: Client) -> None:
    """There is nothing to train on."""
    assert _put(client, b"\n\n").json() == {"error": "The data set: has no rows", "rows": []}


def test_a_data_set_belongs_to_its_project(shared: BackendProcess, client: Client) -> None:
    """Another project has to show that it has the bytes."""
    content = _rows(7)
    sha256 = _put(client, content).json()["dataset"]["id"]
    other = shared.client()
    assert other.get(f"/v1/datasets/{sha256}").status_code == 404
    assert _put(other, content).status_code == 201
    assert other.get(f"/v1/datasets/{sha256}").status_code == 200


def test_a_job_trains_on_an_upload(client: Client, shared: BackendProcess, config: dict[str, Any]) -> None:
    """Its worker gets the file's path, and that of the held-out rows."""
    sha256, held_out = (_put(client, _rows(count)).json()["dataset"]["id"] for count in (2, 3))
    source, eval_source = ({"type": "dataset", "id": one} for one in (sha256, held_out))
    sources = {"datasetSource": source, "evalDatasetSource": eval_source}
    job_id = client.submit("gated:1", {**config, **sources}).json()["job"]["id"]
    shared.worker_pid(job_id)
    spec = json.loads((shared.job_dir(job_id) / "spec.json").read_text())
    assert spec["datasetPath"] == str(shared.data / "datasets" / f"{sha256}.jsonl")
    assert spec["evalDatasetPath"] == str(shared.data / "datasets" / f"{held_out}.jsonl")
    assert {name: spec["config"][name] for name in sources} == sources
    assert (spec["jobId"], spec["attempt"], spec["name"]) == (job_id, 1, "gated:1")
    assert (spec["backendUrl"], spec["jobDir"]) == (shared.url, str(shared.job_dir(job_id)))
    assert spec["threads"] >= 1
    shared.allow(job_id, 1)
    assert client.events(job_id)[-1].event == "training.completed"


def test_too_large_is_413(start: Callable[..., BackendProcess]) -> None:
    """Also where compression hides it."""
    backend = start(max_dataset_bytes=10_000)
    client = backend.client()
    content = b'{"text": "' + b"x" * 20_000 + b'"}\n'
    for body, encoding in ((content, ""), (gzip.compress(content), "gzip")):
        answer = _put(client, content, body, encoding)
        assert (answer.status_code, list(answer.json())) == (413, ["error"])
    assert _files(backend) == set()
