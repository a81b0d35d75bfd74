"""Rows of this machine on their way into a training, against a real backend."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from arkor import (
    CheckedDataset,
    CloudApiClient,
    DatasetError,
    LocalDataset,
    Trainer,
    UploadedDataset,
    dataset_from,
)
from arkor.backend.training_worker.rows.load import load_rows
from arkor.client.project import ensure_project
from arkor.data.jsonl import DatasetSummary
from arkor.protocol import progress
from arkor.protocol.config import JobConfig
from arkor.protocol.jobs import Scope
from tests.support.attempts import attempt
from tests.support.backend import BackendProcess
from tests.support.tiny_model import write_tiny_model
from tests.support.waiting import Waiting

ROWS = [{"prompt": f"question {number}", "completion": "größer\n😀"} for number in range(300)]


@pytest.fixture(scope="module")
def backend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BackendProcess]:
    """One backend for these tests."""
    running = BackendProcess(tmp_path_factory.mktemp("backend")).start()
    yield running
    running.close()


@pytest.fixture
def client(backend: BackendProcess) -> Iterator[CloudApiClient]:
    """A new identity at that backend."""
    one = CloudApiClient.connect(backend.url)
    yield one
    one.close()


@pytest.fixture
def scope(client: CloudApiClient, project: Path) -> Scope:
    """Its project."""
    return ensure_project(client, project)


@pytest.fixture
def model(tmp_path: Path) -> str:
    """A folder that looks like a model."""
    return str(write_tiny_model(tmp_path / "model"))


def stored(backend: BackendProcess, dataset: UploadedDataset) -> Path:
    """Return the file that the backend keeps of a data set."""
    return backend.data / "datasets" / f"{dataset.id}.jsonl"


def test_csv_arrives_as_the_rows_it_holds(
    backend: BackendProcess, client: CloudApiClient, scope: Scope, project: Path
) -> None:
    """The worker reads the rows of the columns, each with the number of its line in the CSV file."""
    (project / "rows.csv").write_text('id,prompt,completion\n1,"hi\nthere",größer\n\n2,bye,"a, b"\n')
    dataset = client.upload_dataset(scope, LocalDataset("rows.csv"))
    config = JobConfig(model="m", dataset_source=dataset.to_wire())
    loaded = load_rows(attempt(config, project, stored(backend, dataset)))
    assert loaded.train.format == "prompt_completion"
    assert [(item.number, item.row) for item in loaded.train.rows] == [
        (2, {"prompt": "hi\nthere", "completion": "größer"}),
        (5, {"prompt": "bye", "completion": "a, b"}),
    ]


def test_the_same_bytes_are_sent_once(
    backend: BackendProcess, client: CloudApiClient, scope: Scope, project: Path
) -> None:
    """Whether rows come from a file or from memory, and whoever sends them; another project sends its own."""
    told: list[int] = []
    first = client.upload_dataset(scope, dataset_from(ROWS), lambda done, _: told.append(done))
    assert stored(backend, first).read_bytes().count(b"\n") == 300
    assert told[-1] == stored(backend, first).stat().st_size
    told.clear()
    (project / "rows.jsonl").write_bytes(stored(backend, first).read_bytes())
    for dataset in (dataset_from(iter(ROWS)), LocalDataset("rows.jsonl")):
        assert client.upload_dataset(scope, dataset, lambda done, _: told.append(done)) == first
    assert told == []


def test_bad_rows_never_leave_this_machine(client: CloudApiClient, scope: Scope, project: Path) -> None:
    """The client checks what it is given, also without a trainer."""
    (project / "rows.jsonl").write_text('{"text": "a"}\n{"text": "b", "c": "\\ud83d"}\n')
    with pytest.raises(DatasetError, match="row 2: holds half a character") as raised:
        client.upload_dataset(scope, LocalDataset("rows.jsonl"))
    assert raised.value.source == "rows.jsonl"


def test_rows_that_only_the_backend_refuses_are_listed_with_their_numbers(
    client: CloudApiClient, scope: Scope, tmp_path: Path
) -> None:
    """As where its version is newer than ours."""
    content = b'{"text": "a"}\n{"text": ""}\n\n{"messages": []}\n'
    (tmp_path / "rows.jsonl").write_bytes(content)
    summary = DatasetSummary(
        rows=3, format="text", turns=0, max_turns=0, longest_row=1, longest_characters=1, size_bytes=len(content)
    )
    rows = CheckedDataset(
        "rows.jsonl", (tmp_path / "rows.jsonl").open("rb"), hashlib.sha256(content).hexdigest(), summary
    )
    with pytest.raises(DatasetError) as raised:
        client.upload_dataset(scope, rows)
    rows.close()
    assert str(raised.value) == (
        "rows.jsonl: the backend refuses it: The data set: 2 rows cannot be trained on\n"
        "  row 2: text must not be empty\n"
        "  row 4: messages must be a list with at least one message"
    )


def test_a_file_that_changes_while_it_is_sent_is_not_kept(
    backend: BackendProcess,
    client: CloudApiClient,
    scope: Scope,
    project: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The backend has nothing of it, and its next upload works."""
    monkeypatch.setattr(progress, "PERIOD_S", 0.0)
    lines = [json.dumps({"text": f"row {number}"}) for number in range(20_000)]
    (project / "rows.jsonl").write_text("\n".join(lines))
    before = set((backend.data / "datasets").iterdir())

    def write_more(done: int, _: int | None) -> None:
        if not done:
            with (project / "rows.jsonl").open("a") as out:
                out.write('\n{"text": "more"}')

    with pytest.raises(DatasetError, match=r"rows\.jsonl: changed while it was being sent"):
        client.upload_dataset(scope, LocalDataset("rows.jsonl"), write_more)
    assert set((backend.data / "datasets").iterdir()) == before
    dataset = client.upload_dataset(scope, LocalDataset("rows.jsonl"))
    assert stored(backend, dataset).read_bytes() == (project / "rows.jsonl").read_bytes()


def test_several_trainers_train_on_the_same_rows(client: CloudApiClient, model: str) -> None:
    """At the same time, from threads of their own, and again; progress is told where bytes are sent."""
    rows, told = dataset_from(ROWS), list[Any]()
    trainers = [Trainer(name=f"complete:{number}", model=model, dataset=rows, client=client) for number in (1, 2, 3)]
    waits = [Waiting(functools.partial(trainer.start, on_progress=told.append)) for trainer in trainers[:2]]
    jobs = [wait.outcome(15.0) for wait in waits]
    assert {"phase": "uploading", "done": rows.summary.size_bytes, "total": rows.summary.size_bytes} in told
    told.clear()
    jobs.append(trainers[2].start(on_progress=told.append))
    assert told == []
    assert {job.config["datasetSource"]["id"] for job in jobs} == {rows.id}
    for trainer in trainers:
        trainer.wait(check=True)


def test_held_out_rows_are_sent_too(backend: BackendProcess, client: CloudApiClient, model: str, project: Path) -> None:
    """Each set once, and told of as a phase of its own; the worker finds both."""
    (project / "held-out.csv").write_text("instruction,output\nhi,größer\n")
    rows, told = dataset_from(ROWS[:7]), list[Any]()
    trainer = Trainer(
        name="complete:1", model=model, dataset=rows, eval_dataset=LocalDataset("held-out.csv"), client=client
    )
    job = trainer.start(on_progress=told.append)
    ended = [report["phase"] for report in told if report["done"] == report["total"]]
    assert ended == ["reading-eval", "uploading", "uploading-eval"]  # the others were checked before
    assert (job.config["datasetSource"]["id"], "datasetSplit" in job.config) == (rows.id, False)
    held_out = stored(backend, UploadedDataset(job.config["evalDatasetSource"]["id"]))
    assert json.loads(held_out.read_text().strip()) == {"instruction": "hi", "output": "größer"}
    trainer.wait(check=True)
    told.clear()
    Trainer(name="complete:1", model=model, dataset=rows, eval_dataset=rows, client=client).start(
        on_progress=told.append
    )
    assert told == []
