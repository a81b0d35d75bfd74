"""``arkor server backup`` and ``restore``: of a backend that runs, trains and answers meanwhile."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from arkor.backend.backups import making
from arkor.backend.backups.__main__ import main
from arkor.backend.jobs.checkpoints import latest_complete
from tests.support.backend import BackendProcess, Client
from tests.support.commands import Ended, run
from tests.support.eventually import eventually
from tests.support.tiny_model import write_tiny_model

ROWS = b'{"text": "a row of this test"}\n' * 4
SHA256 = hashlib.sha256(ROWS).hexdigest()


@pytest.fixture
def config(tmp_path: Path) -> dict[str, Any]:
    """A job with uploaded rows."""
    model = str(write_tiny_model(tmp_path / "model"))
    return {"model": model, "datasetSource": {"type": "dataset", "id": SHA256}, "saveSteps": 2}


@pytest.fixture
def prepare(tmp_path: Path) -> Iterator[Callable[..., BackendProcess]]:
    """Make a backend that is not started yet."""
    made: list[BackendProcess] = []

    def make(name: str, **options: Any) -> BackendProcess:
        made.append(BackendProcess(tmp_path / name, **options))
        return made[-1]

    yield make
    for backend in made:
        backend.close()


@pytest.fixture
def server(prepare: Callable[..., BackendProcess]) -> BackendProcess:
    """A backend that runs."""
    return prepare("server", max_parallel=2).start()


def completed(backend: BackendProcess, client: Client, config: dict[str, Any]) -> str:
    """Train a job to its end."""
    assert client.request("PUT", f"/v1/datasets/{SHA256}", data=ROWS).status_code in {200, 201}
    job_id = str(client.submit("complete:4", config).json()["job"]["id"])
    client.wait_for(job_id, "completed")
    backend.wait_settled(job_id)
    return job_id


def backed_up(backend: BackendProcess, target: Path, *options: str) -> Ended:
    """Back up a backend."""
    return run("server", "backup", str(target), "--data", str(backend.data), *options)


def restored(source: Path, data: Path) -> Ended:
    """Restore a backup."""
    return run("server", "restore", str(source), "--data", str(data))


def files_in(folder: Path) -> set[str]:
    """Return the names of all files of a folder."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_a_server_goes_on_from_its_backup(
    server: BackendProcess, prepare: Callable[..., BackendProcess], config: dict[str, Any], tmp_path: Path
) -> None:
    """With the same identities, rows and artifacts; the job that was training continues from its checkpoint."""
    client = server.client()
    done = completed(server, client, config)
    running = client.submit("gated:6", config).json()["job"]["id"]
    server.allow(running, 4)
    eventually(lambda: server.checkpoint(running) == 4, "a checkpoint is saved")
    eventually(lambda: client.job(running)["progress"]["step"] == 4, "its log is stored")
    ended = backed_up(server, tmp_path / "backup")
    assert ended.code == 0, ended.err
    assert f"Backed up {server.data} to {tmp_path / 'backup'}: the database, 1 data set, 5 artifacts, " in ended.out
    assert not [name for name in files_in(tmp_path / "backup") if "spec.json" in name]  # it holds a token
    assert (tmp_path / "backup").stat().st_mode & 0o777 == 0o700
    server.kill()
    other = prepare("other")
    ended = restored(tmp_path / "backup", other.data)
    assert ended.code == 0, ended.err
    assert f"Restored {other.data} as it was on 2" in ended.out
    assert ": the database, 1 data set, 5 artifacts, " in ended.out
    found = latest_complete(other.job_dir(running) / "checkpoints")
    assert found is not None
    assert found.name == "checkpoint-4"
    other.start()
    again = other.client_as(client)
    assert again.job(done)["status"] == "completed"
    for item in again.get(f"/v1/jobs/{done}/artifacts").json()["artifacts"]:
        content = again.get(f"/v1/jobs/{done}/artifacts/{item['name']}").content
        assert hashlib.sha256(content).hexdigest() == item["sha256"]
    assert again.get(f"/v1/datasets/{SHA256}").json()["dataset"]["rows"] == 4
    other.allow(running, 6)
    events = again.events(running)
    assert [event.data["step"] for event in events if event.event == "training.log"] == [1, 2, 3, 4, 5, 6]
    assert again.job(running)["status"] == "completed"


def test_a_folder_with_something_in_it_is_refused(
    server: BackendProcess, config: dict[str, Any], tmp_path: Path
) -> None:
    """For a backup and for a restore; one in use has its own words."""
    completed(server, server.client(), config)
    assert backed_up(server, tmp_path / "backup").code == 0
    again = backed_up(server, tmp_path / "backup")
    assert (again.code, "is not empty: name a new folder" in again.err) == (2, True)
    used = restored(tmp_path / "backup", server.data)
    assert (used.code, f"A backend is using {server.data}" in used.err) == (2, True)
    server.stop()
    before = files_in(server.data)
    full = restored(tmp_path / "backup", server.data)
    assert (full.code, f"{server.data} is not empty" in full.err) == (2, True)
    assert files_in(server.data) == before


def test_a_backup_that_was_changed_is_not_restored(
    server: BackendProcess, config: dict[str, Any], tmp_path: Path
) -> None:
    """Nor one that is not complete; no data folder appears."""
    completed(server, server.client(), config)
    backup = tmp_path / "backup"
    assert backed_up(server, backup).code == 0
    rows = backup / "datasets" / f"{SHA256}.jsonl"
    for change, reason in (
        (lambda: rows.write_bytes(ROWS[:-2] + b"x\n"), "was changed since the backup was made"),
        (rows.unlink, "is missing in the backup"),
        ((backup / "backup.json").unlink, "has no complete backup"),
    ):
        change()
        ended = restored(backup, tmp_path / "new" / "data")
        assert (ended.code, reason in ended.err) == (2, True), ended.err
        assert not list(tmp_path.glob("new/*"))


def test_a_path_that_leads_out_is_not_restored(server: BackendProcess, config: dict[str, Any], tmp_path: Path) -> None:
    """Somebody else may have made the backup."""
    completed(server, server.client(), config)
    backup = tmp_path / "backup"
    assert backed_up(server, backup).code == 0
    manifest = json.loads((backup / "backup.json").read_bytes())
    manifest["files"]["../../evil"] = manifest["files"][f"datasets/{SHA256}.jsonl"]
    (backup / "backup.json").write_text(json.dumps(manifest))
    ended = restored(backup, tmp_path / "new" / "data")
    assert (ended.code, "which is outside of it" in ended.err) == (2, True)


def test_there_is_nothing_to_back_up(tmp_path: Path) -> None:
    """Another folder was meant; files in S3 have a backup of their own."""
    ended = run("server", "backup", str(tmp_path / "backup"), "--data", str(tmp_path))
    assert (ended.code, "has no database" in ended.err) == (2, True)
    ended = run("server", "backup", str(tmp_path / "backup"), "--data", str(tmp_path), "--storage", "s3://bucket")
    assert (ended.code, "The files are in S3" in ended.err) == (2, True)
    (tmp_path / "server.id").write_text("server_a")  # as one with a PostgreSQL database has it
    ended = run("server", "backup", str(tmp_path / "backup"), "--data", str(tmp_path))
    assert (ended.code, "PostgreSQL: back that up with pg_dump" in ended.err) == (2, True)
    assert not (tmp_path / "backup").exists()


def test_files_of_another_storage_are_backed_up(
    prepare: Callable[..., BackendProcess], config: dict[str, Any], tmp_path: Path
) -> None:
    """They come into the data folder of the restored server."""
    shared = tmp_path / "shared"
    backend = prepare("server", storage=shared).start()
    client = backend.client()
    job_id = completed(backend, client, config)
    ended = backed_up(backend, tmp_path / "backup", "--storage", str(shared))
    assert (ended.code, "1 data set, 3 artifacts" in ended.out, ended.err) == (0, True, "")
    other = prepare("other")
    assert restored(tmp_path / "backup", other.data).code == 0
    other.start()
    again = other.client_as(client)
    assert again.get(f"/v1/jobs/{job_id}/artifacts/adapter").status_code == 200


def test_what_is_deleted_meanwhile_is_not_in_the_backup(
    server: BackendProcess, config: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database is copied once more; what was gone before is named."""
    client = server.client()
    deleted, kept = (completed(server, client, config) for _ in range(2))
    (server.job_dir(kept) / "artifacts" / "checkpoint-2.tar").unlink()
    copy, looks = making._Backup._copy_database, list[int]()

    def copy_then_delete(backup: Any) -> None:
        copy(backup)
        looks.append(1)
        if len(looks) == 1:
            assert client.request("DELETE", f"/v1/jobs/{deleted}").status_code == 204

    monkeypatch.setattr(making._Backup, "_copy_database", copy_then_delete)
    ended = CliRunner().invoke(main, ["backup", "--data", str(server.data), str(tmp_path / "backup")])
    assert ended.exit_code == 0, ended.output
    assert len(looks) == 2
    assert f"Not there any more: jobs/{kept}/artifacts/checkpoint-2.tar" in ended.output
    assert not [name for name in files_in(tmp_path / "backup") if deleted in name]
