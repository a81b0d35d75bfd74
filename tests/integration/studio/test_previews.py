"""Rows as a model sees them, through Studio: those of a job, and those of the trainer that a run would start."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

pytest.importorskip("plotly")
pytest.importorskip("sqlalchemy")

from arkor.client.client import CloudApiClient
from arkor.client.project import ensure_project
from tests.support.backend import BackendProcess, Client, is_running, own_backend
from tests.support.cloud import Cloud
from tests.support.eventually import eventually
from tests.support.studio import write_entry
from tests.support.studio_server import Served, served
from tests.support.tiny_model import write_tiny_model

ENTRY = """\
import arkor
{code}
trainer = arkor.create_trainer(name="rows", model={model!r}, {settings})
"""
OF_THIS_MACHINE = 'dataset="rows.jsonl"'


@pytest.fixture
def backend(home: Path) -> Iterator[BackendProcess]:
    """A backend with scripted workers where this user's own is looked for."""
    with own_backend(home) as running:
        yield running


@pytest.fixture
def page(backend: BackendProcess) -> Iterator[Served]:
    """Studio's server, with ``--local``."""
    with served(local=True) as one:
        yield one


@pytest.fixture
def model(tmp_path: Path) -> str:
    """A folder that passes for a model."""
    return str(write_tiny_model(tmp_path / "model"))


def write_trainer(model: str, settings: str = OF_THIS_MACHINE, code: str = "") -> None:
    """Write an entry and its rows."""
    Path("rows.jsonl").write_text('{"text": "a row"}\n' * 4)
    entry = Path("src/arkor/index.py")
    entry.parent.mkdir(parents=True, exist_ok=True)
    entry.write_text(ENTRY.format(model=model, settings=settings, code=code))


def drafted(page: Served) -> str:
    """Have a draft made, and return its id."""
    answer = page.post("/api/draft")
    assert answer.status_code == 200, answer.text
    return str(answer.json()["draft"]["id"])


def ask(page: Served, **body: Any) -> requests.Response:
    """Ask for a preview; the answer's body is unread."""
    return page.post("/api/previews", body, stream=True)


def held(backend: BackendProcess) -> int:
    """Wait until a preview is being made, and return its process id."""
    pids = eventually(lambda: list((backend.data / "previews").glob("*/pid")), "a preview is being made")
    return int(pids[0].read_text())


def test_the_rows_of_the_trainer_are_shown_before_a_run(page: Served, model: str) -> None:
    """They are sent to the backend, and no job is made; the settings are those that the job would have."""
    write_trainer(
        model, f'{OF_THIS_MACHINE}, lora={{"max_length": 12}}, chat_template_kwargs={{"behaves": "settings"}}'
    )
    answer = page.post("/api/draft")
    assert answer.status_code == 200, answer.text
    draft = answer.json()["draft"]
    assert (draft["name"], draft["model"]) == ("rows", model)
    assert drafted(page) == draft["id"]
    summary = ask(page, draft=draft["id"]).json()["summary"]
    assert (summary["receipt"]["maxLength"], len(summary["histogram"])) == (12, 2)
    row = ask(page, draft=draft["id"], row=3, around=1).json()
    assert (row["preview"]["row"], "maxLength=12" in row["preview"]["leftOut"]) == (3, True)
    (hit,) = ask(page, draft=draft["id"], search={"text": "a row", "isHeldOut": False}).json()["hits"]
    assert hit["match"] == "a row"
    assert page.get("/api/jobs").json()["jobs"] == []


def test_an_edit_makes_another_draft(page: Served, model: str) -> None:
    """The first one stays for pages that show it."""
    write_trainer(model, f"{OF_THIS_MACHINE}, lora={{'max_length': 12}}")
    first = drafted(page)
    write_trainer(model, f"{OF_THIS_MACHINE}, lora={{'max_length': 30}}")
    second = drafted(page)
    limits = [ask(page, draft=draft).json()["summary"]["receipt"]["maxLength"] for draft in (first, second)]
    assert limits == [12, 30]


def test_the_token_of_a_dataset_stays_in_the_server(page: Served, model: str) -> None:
    """The backend gets it, and the page an id."""
    source = 'dataset=arkor.BlobDataset("https://example.com/x", token="SECRET")'
    write_trainer(model, f'{source}, chat_template_kwargs={{"behaves": "refuse"}}')
    answer = page.post("/api/draft")
    assert "SECRET" not in answer.text
    refused = ask(page, draft=answer.json()["draft"]["id"], row=0).json()
    assert (refused["status"], refused["rows"]) == (422, [{"row": 3, "reason": "scripted"}])


def test_the_rows_of_a_job_are_shown(page: Served, model: str, project: Path) -> None:
    """With its settings, for as long as the backend has the job."""
    ours = CloudApiClient.connect("local")
    scope = ensure_project(ours, project)
    client = Client(ours.base_url, ours.identity.token, scope.org_slug, scope.project_slug)
    ours.close()
    config = {"model": model, "datasetSource": {"type": "huggingface", "name": "a/b"}, "maxLength": 12}
    job_id = client.submit("complete", config).json()["job"]["id"]
    assert ask(page, job=job_id).json()["summary"]["receipt"]["maxLength"] == 12
    assert ask(page, job="job_none", row=0).status_code == 404


@pytest.mark.parametrize(
    ("settings", "code", "status", "says"),
    [
        (OF_THIS_MACHINE, "1 / 0", 400, "ZeroDivisionError"),
        (OF_THIS_MACHINE, "import os; os._exit(3)", 400, "ended the process that imported it (exit code 3)"),
        ('dataset="bad.jsonl"', "", 400, "row 2: text must not be empty"),
        ('dataset="nowhere.jsonl"', "", 400, "nowhere.jsonl"),
        (f"{OF_THIS_MACHINE})\ntrainer = arkor.Trainer.attach('job_1'", "", 400, "The trainer follows job job_1"),
        (f"{OF_THIS_MACHINE})\ntrainer = (None", "", 404, "There is no trainer in src/arkor/index.py yet"),
    ],
    ids=range(6),
)
def test_a_draft_that_cannot_be_made_says_why(
    page: Served, model: str, settings: str, code: str, status: int, says: str
) -> None:
    """The page shows it as it is."""
    Path("bad.jsonl").write_text('{"text": "a"}\n{"text": ""}\n')
    write_trainer(model, settings, code)
    answer = page.post("/api/draft")
    assert (answer.status_code, says in answer.json()["error"]) == (status, True), answer.text


def test_a_model_that_is_not_there_is_told_of(page: Served) -> None:
    """With the command that fetches it; nothing is fetched for a look."""
    write_trainer("smollm2-135m")
    answer = ask(page, draft=drafted(page), row=0)
    assert (answer.status_code, "arkor models pull smollm2-135m" in answer.json()["error"]) == (409, True)


@pytest.mark.parametrize("body", [[], {}, {"job": "a", "draft": "b"}, {"row": 1}])
def test_a_question_is_about_a_job_or_a_draft(page: Served, body: Any) -> None:
    """One of them."""
    assert page.post("/api/previews", body).status_code == 400


def test_a_draft_of_another_launch_is_unknown(page: Served, model: str) -> None:
    """The page is told what to do."""
    write_trainer(model)
    drafted(page)
    answer = ask(page, draft="0" * 16)
    assert (answer.status_code, "load the page again" in answer.json()["error"]) == (404, True)


def test_a_preview_ends_with_the_browser(page: Served, backend: BackendProcess, model: str) -> None:
    """It gives signs of life until then."""
    write_trainer(model, f'{OF_THIS_MACHINE}, chat_template_kwargs={{"behaves": "hold"}}')
    with ask(page, draft=drafted(page)) as answer:
        pid = held(backend)
        assert answer.raw.read1(1) == b"\n"
    eventually(lambda: not is_running(pid), "its process has ended")


def test_a_backend_that_goes_away_is_told_of(page: Served, backend: BackendProcess, model: str) -> None:
    """In the answer that is under way."""
    write_trainer(model, f'{OF_THIS_MACHINE}, chat_template_kwargs={{"behaves": "hold"}}')
    with ask(page, draft=drafted(page)) as answer:
        held(backend)
        backend.kill()
        said = json.loads(answer.content)
    assert (said["status"], "went away" in said["error"]) == (502, True)


def test_the_making_of_a_draft_ends_with_the_browser(page: Served, model: str) -> None:
    """Also while the user's code hangs."""
    tell = "import os, pathlib, threading; pathlib.Path('pid').write_text(str(os.getpid()))"
    write_trainer(model, code=f"{tell}\nthreading.Event().wait()")

    def leave() -> bool:
        with pytest.raises(requests.exceptions.ReadTimeout):
            page.post("/api/draft", timeout=3.0)
        return Path("pid").exists()

    eventually(leave, "the entry is imported", 60.0)
    pid = int(Path("pid").read_text())
    eventually(lambda: not is_running(pid), "the process that imports the entry has ended")


def test_a_backend_that_shows_no_rows_is_named(arkor_cloud: Cloud) -> None:
    """Before anything is sent; the page says what it lacks."""
    write_entry()
    with served() as page:
        answer = page.post("/api/draft")
    assert answer.status_code == 400
    assert "does not support showing rows as a model sees them" in answer.json()["error"]
    assert arkor_cloud.calls("PUT", "/v1/datasets/*") == []
