"""Previews over HTTP: what is refused, what is answered, and that no process outlives its client."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Any

import psutil
import pytest
import requests

from tests.support.backend import BackendProcess, Client, is_running
from tests.support.eventually import eventually

ROWS = b'{"text": "a row"}\n' * 4
SHA256 = hashlib.sha256(ROWS).hexdigest()
TOKEN = "a token that nobody sees"


@pytest.fixture
def config(model: str) -> dict[str, Any]:
    """The least that a preview needs."""
    return {"model": model, "datasetSource": {"type": "dataset", "id": SHA256}}


@pytest.fixture
def client(client: Client) -> Client:
    """A client whose project has the rows."""
    return with_rows(client)


def with_rows(client: Client) -> Client:
    """Upload the rows."""
    assert client.request("PUT", f"/v1/datasets/{SHA256}", data=ROWS).status_code == 201
    return client


def ask(client: Client, config: dict[str, Any], **body: Any) -> requests.Response:
    """Ask for a preview; the answer's body is unread."""
    return client.request("POST", "/v1/previews", json={"config": config, **body}, stream=True)


def behaving(config: dict[str, Any], how: str) -> dict[str, Any]:
    """Return a config for which the scripted process behaves in some way."""
    return {**config, "chatTemplateKwargs": {"behaves": how}}


def held(backend: BackendProcess, count: int = 1) -> list[int]:
    """Wait until so many previews are being made, and return their process ids."""
    folder = backend.data / "previews"
    eventually(lambda: len(list(folder.glob("*/pid"))) == count, f"{count} previews are being made")
    return [int(file.read_text()) for file in folder.glob("*/pid")]


def test_rows_are_summed_up(client: Client, config: dict[str, Any]) -> None:
    """With the settings of the job."""
    answer = ask(client, {**config, "maxLength": 12})
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "application/json")
    said = answer.json()["summary"]
    assert said["longestRows"] == [{"row": 4, "tokens": 20}, {"row": 1, "tokens": 10}]
    assert said["longerRows"] == [{"maxLength": 12, "rows": 1}]
    assert said["receipt"]["maxLength"] == 12


@pytest.mark.parametrize("row", [0, 3])
def test_a_row_is_shown(client: Client, config: dict[str, Any], row: int) -> None:
    """0 stands for the first one."""
    said = ask(client, config, row=row).json()["preview"]
    assert said["row"] == (row or 1)
    assert said["examples"][0]["tokens"][2] == {"id": 2, "text": "hel", "counted": True}


def test_rows_around_a_row_come_with_it(client: Client, config: dict[str, Any]) -> None:
    """As many as are wanted."""
    said = ask(client, config, row=3, around=2, isHeldOut=False).json()
    assert [row["row"] for row in said["around"]] == [4, 5]
    assert said["preview"]["next"] == {"row": 4, "isHeldOut": False}


def test_rows_are_searched(client: Client, config: dict[str, Any]) -> None:
    """With defaults for what is not given."""
    (hit,) = ask(client, config, search={"text": "refund"}).json()["hits"]
    assert json.loads(hit["after"]) == {"text": "refund", "is_held_out": None, "offset": 0, "limit": 20}
    (hit,) = ask(client, config, search={"isHeldOut": True, "offset": 40, "limit": 100}).json()["hits"]
    assert json.loads(hit["after"]) == {"text": "", "is_held_out": True, "offset": 40, "limit": 100}


def test_what_is_found_out_late_is_in_the_answer(client: Client, config: dict[str, Any]) -> None:
    """The headers are sent before the rows are read: the status of a refusal is in its body."""
    refused, crashed = (ask(client, behaving(config, how)).json() for how in ("refuse", "crash"))
    assert refused["status"] == 422
    assert refused["rows"] == [{"row": 3, "reason": "scripted"}]
    assert crashed["status"] == 500
    assert "the process that does it ended with exit code 7; the backend's log says more" in crashed["error"]


@pytest.mark.parametrize(
    ("change", "status", "says"),
    [
        ({"config": None}, 422, "config: must be an object"),
        ({"row": "x"}, 400, "row: must be a whole number, 0 or more, not 'x'."),
        ({"row": -1}, 400, "row: must be a whole number"),
        ({"row": 1, "around": 21}, 400, "around: must be a whole number, 0 to 20, not 21."),
        ({"row": 1, "isHeldOut": 1}, 400, "isHeldOut: must be true or false, not 1."),
        ({"search": "x"}, 400, "search: must be an object, with a text of at most 200 characters."),
        ({"search": {"text": "x" * 201}}, 400, "search: must be an object"),
        ({"search": {"limit": 101}}, 400, "limit: must be a whole number, 1 to 100, not 101."),
        ({"search": {"isHeldOut": "yes"}}, 400, "isHeldOut: must be true or false"),
        ({"config": {"maxLength": 3}}, 422, "max_length: must be a whole number, 8 to 10000000, not 3"),
        ({"config": {"datasetSource": {"type": "dataset", "id": "0" * 64}}}, 422, "this project has no data set"),
        ({"config": {"model": "smollm2-135m"}}, 409, "run `arkor models pull smollm2-135m`"),
        ({"config": {"model": "/nowhere"}}, 404, "does not exist on this machine"),
    ],
    ids=range(13),
)
def test_what_cannot_be_shown_is_refused(
    client: Client, config: dict[str, Any], change: dict[str, Any], status: int, says: str
) -> None:
    """Before anything is started: settings as for a job, and a model that is not there with the way to get it."""
    body = {"config": config, **change}
    if isinstance(body["config"], dict):
        body["config"] = {**config, **body["config"]}
    answer = client.request("POST", "/v1/previews", json=body)
    assert (answer.status_code, says in answer.json()["error"]) == (status, True), answer.text


@pytest.fixture
def patient(start: Callable[..., BackendProcess]) -> BackendProcess:
    """A backend of the test's own, which makes one preview at a time."""
    return start(preview_cap=1)


def test_a_preview_ends_with_its_client(patient: BackendProcess, config: dict[str, Any]) -> None:
    """It gives signs of life until then; its process, its folder and its place are free soon after."""
    client = with_rows(patient.client())
    with ask(client, behaving(config, "hold")) as answer:
        assert answer.raw.read1(1) == b"\n"
        (pid,) = held(patient)
        busy = ask(client, config)
        assert (busy.status_code, busy.headers["Retry-After"]) == (503, "2")
        assert busy.json()["error"] == "All 1 previews of this backend are taken."
    eventually(lambda: not is_running(pid), "its process has ended")
    eventually(lambda: list((patient.data / "previews").iterdir()) == [], "its folder is gone")
    assert "summary" in ask(client, config).json()


def test_a_preview_that_takes_too_long_is_given_up(
    start: Callable[..., BackendProcess], config: dict[str, Any]
) -> None:
    """The client is told."""
    backend = start(preview_limit=0.5)
    said = ask(with_rows(backend.client()), behaving(config, "hold")).json()
    assert said == {"status": 500, "error": "The rows were not looked through within 0.5 s: check a part of them."}


def test_a_preview_ends_with_the_backend(patient: BackendProcess, config: dict[str, Any]) -> None:
    """In good order, and the client is told so."""
    with ask(with_rows(patient.client()), behaving(config, "hold")) as answer:
        (pid,) = held(patient)
        patient.stop()
        assert json.loads(answer.content) == {"status": 503, "error": "The backend is stopping."}
    assert not is_running(pid)


def test_a_preview_does_not_outlive_a_backend_that_is_killed(patient: BackendProcess, config: dict[str, Any]) -> None:
    """And the next backend removes what it left."""
    client = with_rows(patient.client())
    with ask(client, behaving(config, "hold")):
        (pid,) = held(patient)
        patient.kill()
    eventually(lambda: not is_running(pid), "its process has ended")
    assert list((patient.data / "previews").iterdir()) != []
    patient.start()
    assert not (patient.data / "previews").exists()


def test_the_token_of_a_data_set_is_not_shown_to_other_users(patient: BackendProcess, config: dict[str, Any]) -> None:
    """It is neither on the command line nor in a file."""
    source = {"type": "blob", "url": "https://example.com/rows.jsonl", "token": TOKEN}
    with ask(patient.client(), behaving({**config, "datasetSource": source}, "hold")):
        (pid,) = held(patient)
        process = psutil.Process(pid)
        assert TOKEN not in " ".join([*process.cmdline(), *process.environ().values()])
        files = [file for file in patient.data.rglob("*") if file.is_file()]
        assert [file for file in files if TOKEN.encode() in file.read_bytes()] == []


def test_another_project_sees_nothing(shared: BackendProcess, client: Client, config: dict[str, Any]) -> None:
    """Its rows are not there."""
    answer = ask(shared.client(), config)
    assert (answer.status_code, SHA256[:8] in answer.json()["error"]) == (422, True)
