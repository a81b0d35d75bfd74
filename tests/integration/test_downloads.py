"""Artifacts of the real backend over a bad line, and downloads that are ended from outside."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import arkor
from arkor import Artifact, CloudApiClient, CloudApiError, Scope
from arkor.client import downloads
from tests.support.backend import ROOT, BackendProcess, Client
from tests.support.eventually import eventually
from tests.support.network import Line
from tests.support.shelf import Sending, Shelf, tar
from tests.support.tiny_model import write_tiny_model

TIMEOUT_S = 30.0
WHOLE = {"adapter_config.json", "adapter_model.safetensors"}
LINE_LIMIT = 4000


@pytest.fixture(scope="module")
def backend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BackendProcess]:
    """The real backend."""
    running = BackendProcess(tmp_path_factory.mktemp("backend")).start()
    yield running
    running.close()


@pytest.fixture(scope="module")
def job(backend: BackendProcess, tmp_path_factory: pytest.TempPathFactory) -> tuple[Client, str]:
    """A job that has saved a checkpoint and completed, and who may see it."""
    client = backend.client()
    model = str(write_tiny_model(tmp_path_factory.mktemp("model")))
    config = {"model": model, "datasetSource": {"type": "huggingface", "name": "owner/rows"}, "saveSteps": 2}
    job_id = str(client.submit("complete:3", config).json()["job"]["id"])
    client.wait_for(job_id, "completed")
    return client, job_id


@pytest.fixture
def line(backend: BackendProcess) -> Iterator[Line]:
    """A line to the backend."""
    with Line(backend.url.removeprefix("http://")) as running:
        yield running


@pytest.fixture
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Try again at once."""
    monkeypatch.setattr(downloads, "pause", lambda _: None)


@pytest.mark.usefixtures("no_pauses")
def test_artifacts_of_the_real_backend_arrive_over_a_line_that_is_cut_again_and_again(
    job: tuple[Client, str], line: Line, tmp_path: Path
) -> None:
    """It goes on where it was each time: the backend honours ranges and their condition."""
    (known, job_id), scope = job, Scope(job[0].scope["orgSlug"], job[0].scope["projectSlug"])
    client = CloudApiClient(f"http://{line.address}", token=known.token)
    artifacts = client.list_artifacts(scope, job_id)
    assert [artifact.name for artifact in artifacts] == ["checkpoint-2", "adapter"]
    client.close()  # the next connections are cut
    line.limit = LINE_LIMIT
    told: list[int] = []
    for artifact in artifacts:
        told.clear()
        folder = client.download_artifact(
            scope, job_id, artifact, tmp_path, on_progress=lambda done, _: told.append(done)
        )
        assert told == sorted(told)
        assert told[-1] == artifact.size_bytes
        assert {file.name for file in folder.iterdir()} == WHOLE
    assert line.cuts >= 4
    assert {item.name for item in tmp_path.iterdir()} == {"checkpoint-2", "adapter"}
    client.close()


@pytest.mark.usefixtures("no_pauses")
def test_an_artifact_that_goes_away_in_the_middle_ends_the_download(
    backend: BackendProcess, job: tuple[Client, str], line: Line, tmp_path: Path
) -> None:
    """With what the backend says of it; nothing stays."""
    (known, job_id), scope = job, Scope(job[0].scope["orgSlug"], job[0].scope["projectSlug"])
    client = CloudApiClient(f"http://{line.address}", token=known.token)
    (checkpoint, _) = client.list_artifacts(scope, job_id)
    client.close()
    line.limit = LINE_LIMIT
    file = backend.job_dir(job_id) / "artifacts" / "checkpoint-2.tar"
    aside = file.with_suffix(".aside")
    try:
        with pytest.raises(CloudApiError, match="no longer in the backend's storage") as raised:
            client.download_artifact(
                scope,
                job_id,
                checkpoint,
                tmp_path / "dest",
                on_progress=lambda *_: file.exists() and file.rename(aside),
            )
    finally:
        aside.rename(file)
        client.close()
    assert raised.value.status == 410
    assert list(tmp_path.iterdir()) == []


def test_a_result_downloads_what_its_run_has_made(backend: BackendProcess, project: Path) -> None:
    """Into a folder each, telling how far it is."""
    told: list[tuple[int, int | None]] = []
    trainer = arkor.Trainer(
        name="complete:3",
        model=str(write_tiny_model(project / "model")),
        dataset=arkor.HuggingFaceDataset("owner/rows"),
        save_steps=2,
        backend=backend.url,
    )
    result = trainer.wait(check=True)
    folders = result.download("made/adapters", on_progress=lambda done, total: told.append((done, total)))
    assert {folder.as_posix() for folder in folders} == {"made/adapters/adapter", "made/adapters/checkpoint-2"}
    assert [{file.name for file in folder.iterdir()} for folder in folders] == [WHOLE, WHOLE]
    assert [pair for pair in told if pair[0] == pair[1]] == [(item.size_bytes,) * 2 for item in result.artifacts]


@pytest.mark.parametrize("limit", [None, 1])
def test_a_removed_checkpoint_is_passed_over_if_the_job_limits_them(
    backend: BackendProcess, project: Path, limit: int | None
) -> None:
    """Otherwise somebody else has removed it, and that is an error."""
    trainer = arkor.Trainer(
        name="complete:3",
        model=str(write_tiny_model(project / "model")),
        dataset=arkor.HuggingFaceDataset("owner/rows"),
        save_steps=1,
        save_total_limit=limit,
        backend=backend.url,
    )
    result = trainer.wait(check=True)
    (backend.job_dir(result.job.id) / "artifacts" / "checkpoint-1.tar").unlink()
    if limit is None:
        with pytest.raises(CloudApiError, match="no longer in the backend's storage"):
            result.download("made")
    else:
        assert {folder.name for folder in result.download("made")} == {"adapter", "checkpoint-2", "checkpoint-3"}


# Processes

SCRIPT = """
import sys
from arkor import Artifact, CloudApiClient, Scope
client = CloudApiClient(sys.argv[1], token="secret")
client.download_artifact(
    Scope("o", "p"), "job_1", Artifact(name="adapter"), "dest", on_progress=lambda done, total: print(done, flush=True)
)
"""
FILES = {"model": bytes(range(256)) * 8000, "config": b"{}"}


@pytest.fixture(scope="module", autouse=True)
def _heed_interrupts() -> Iterator[None]:
    """Let Ctrl-C reach the processes also where the tests run in the background, which ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def shelf() -> Iterator[Shelf]:
    """A backend that sends its artifact as a test wants."""
    with Shelf(tar(FILES)) as running:
        yield running


def start(shelf: Shelf) -> subprocess.Popen[str]:
    """Start a download in a process of its own."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error"}
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, shelf.url],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )


def contents(folder: Path) -> dict[str, bytes]:
    """Return the files in a folder."""
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def test_ctrl_c_leaves_nothing_half_done(shelf: Shelf, project: Path) -> None:
    """In the middle of a download: the folder of the last one is whole, and there is no other."""
    old = project / "dest" / "adapter"
    old.mkdir(parents=True)
    (old / "model").write_text("old")
    shelf.script(Sending(cut=100_000, hold=threading.Event()))
    process = start(shelf)
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(signal.SIGINT)
    _, shown = process.communicate(timeout=TIMEOUT_S)
    assert shown.rstrip().endswith("KeyboardInterrupt")
    assert [item.name for item in (project / "dest").iterdir()] == ["adapter"]
    assert contents(old) == {"model": b"old"}


def test_after_a_kill_the_next_download_is_as_any_other(shelf: Shelf, project: Path) -> None:
    """What the kill left is hidden, and in nobody's way."""
    shelf.script(Sending(cut=100_000, hold=threading.Event()))
    process = start(shelf)
    assert process.stdout is not None
    process.stdout.readline()
    process.kill()
    process.communicate(timeout=TIMEOUT_S)
    assert not (project / "dest" / "adapter").exists()
    CloudApiClient(shelf.url, token="secret").download_artifact(
        Scope("o", "p"), "job_1", Artifact(name="adapter"), "dest"
    )
    assert contents(project / "dest" / "adapter") == FILES
    assert [item.name[0] for item in (project / "dest").iterdir() if item.name != "adapter"] == ["."]


def test_processes_that_download_to_the_same_place_at_once_all_succeed(shelf: Shelf, project: Path) -> None:
    """The folder is whole, whoever was last, and alone."""
    gate = threading.Event()
    shelf.script(*[Sending(cut=100_000, hold=gate)] * 2)
    processes = [start(shelf) for _ in range(2)]
    eventually(lambda: len(shelf.requests) == 2, "both have begun")
    gate.set()
    ended: list[Any] = [(process.communicate(timeout=TIMEOUT_S)[1], process.returncode) for process in processes]
    assert ended == [("", 0)] * 2
    assert [item.name for item in (project / "dest").iterdir()] == ["adapter"]
    assert contents(project / "dest" / "adapter") == FILES
