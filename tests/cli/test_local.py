"""``--local`` as its users meet it: this user's own backend, with scripted workers in the place of real ones."""

from __future__ import annotations

import json
import os
import re
import signal
import threading
from pathlib import Path

import psutil
import pytest

from arkor.client import local_backend
from arkor.client.client import CloudApiClient
from arkor.errors import ConnectionFailed, LocalBackendError
from tests.support.backend import BackendProcess, is_running
from tests.support.commands import Command, run
from tests.support.eventually import eventually
from tests.support.stranger import stranger
from tests.support.tiny_model import write_tiny_model

ENTRY = """\
from arkor import LocalDataset, create_trainer

trainer = create_trainer(name={name!r}, model={model!r}, dataset=LocalDataset("rows.jsonl"), save_steps={save_steps})
"""


def write_project(project: Path, name: str, save_steps: int | None = None) -> None:
    """Write a project whose job behaves as its name says."""
    model = write_tiny_model(project / "model")
    (project / "src" / "arkor").mkdir(parents=True)
    (project / "src" / "arkor" / "index.py").write_text(
        ENTRY.format(name=name, model=str(model), save_steps=save_steps)
    )
    row = {"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]}
    (project / "rows.jsonl").write_text(f"{json.dumps(row)}\n" * 3)


def started_job(command: Command) -> str:
    """Wait for a command to say which job it started."""
    assert command.process.stdout is not None
    line = command.process.stdout.readline()
    assert line.startswith("Started job "), line
    return line.split()[-1]


def test_start_local_trains_and_says_how_it_ended(backend: BackendProcess, project: Path) -> None:
    """The two lines of every run, and exit code 0."""
    write_project(project, "complete:3")
    ended = run("start", "--local")
    assert ended.code == 0, ended.err
    assert ended.out.splitlines()[-1].endswith("finished with status=completed")


def test_ctrl_c_ends_the_wait_and_attach_goes_on(backend: BackendProcess, project: Path) -> None:
    """The command says that the job goes on and how to follow it; following it works, to the end."""
    write_project(project, "gated:2")
    command = Command("start", "--local")
    job_id = started_job(command)
    backend.allow(job_id, 1)
    ended = command.interrupt()
    assert ended.code == 130
    assert f"Job {job_id} keeps running." in ended.err
    assert f"arkor attach {job_id} --local" in ended.err
    assert f"arkor cancel {job_id} --local" in ended.err
    backend.allow(job_id, 2)
    attached = run("attach", job_id, "--local")
    assert attached.code == 0
    assert "step 2/2  loss 0.5000" in attached.out
    assert f"Job {job_id} finished with status=completed" in attached.out


def test_a_detached_start_prints_the_id_alone(backend: BackendProcess, project: Path) -> None:
    """For scripts; how to follow the job is said on stderr."""
    write_project(project, "gated:1")
    ended = run("start", "--local", "--detach")
    job_id = ended.out.strip()
    assert ended.code == 0
    assert ended.out == f"{job_id}\n"
    assert f"arkor attach {job_id} --local" in ended.err
    assert run("jobs", "-q", "--local").out == f"{job_id}\n"
    assert run("cancel", job_id[:-4], "--local").code == 0


def test_a_start_that_takes_too_long_exits_124_and_the_job_goes_on(backend: BackendProcess, project: Path) -> None:
    """And says how to follow it."""
    write_project(project, "gated:1")
    ended = run("start", "--local", "--timeout", "1s")
    assert ended.code == 124
    assert re.search(r"Error: Not finished after 1 s\. Job job_\w+ goes on: wait again to see its end", ended.err)
    assert "arkor attach job_" in ended.err


def test_ctrl_c_stops_the_job_where_that_is_asked_for(backend: BackendProcess, project: Path) -> None:
    """And says so."""
    write_project(project, "gated:1")
    command = Command("start", "--local", "--on-interrupt", "cancel")
    job_id = started_job(command)
    ended = command.interrupt()
    assert ended.code == 130
    assert f"Asked the backend to stop job {job_id}." in ended.err
    eventually(lambda: "cancelled" in run("jobs", "--local").out, "the job is cancelled")


def test_cancel_stops_the_job_and_its_waiter_exits_1(backend: BackendProcess, project: Path) -> None:
    """``arkor cancel`` from another terminal: the waiting command tells, and exits as for a failed job."""
    write_project(project, "gated:2")
    command = Command("start", "--local")
    job_id = started_job(command)
    assert run("cancel", job_id, "--local").code == 0
    ended = command.end()
    assert ended.code == 1
    assert f"Job {job_id} finished with status=cancelled" in ended.out


def test_a_killed_worker_is_told_with_the_reason_and_the_job_goes_on(backend: BackendProcess, project: Path) -> None:
    """To its end, and exit code 0."""
    write_project(project, "gated:2")
    command = Command("start", "--local")
    job_id = started_job(command)
    os.kill(backend.worker_pid(job_id), signal.SIGKILL)
    backend.allow(job_id, 2)
    ended = command.end()
    assert (ended.code, ended.err) == (0, "")
    assert "Warning: Its worker was killed by signal SIGKILL" in ended.out


def test_a_worker_that_is_killed_over_and_over_fails_the_job(backend: BackendProcess, project: Path) -> None:
    """Exit code 1, and the signal's name."""
    write_project(project, "stumble:-9@1/2")
    ended = run("start", "--local")
    assert ended.code == 1
    assert re.search(r"Error: Gave up after \d lost attempts; .* killed by signal SIGKILL", ended.err)


def test_a_killed_backend_ends_the_wait_with_exit_3(backend: BackendProcess, project: Path) -> None:
    """One clear line, not a hang."""
    write_project(project, "gated:2")
    command = Command("start", "--local")
    job_id = started_job(command)
    backend.worker_pid(job_id)
    backend.kill()
    ended = command.end()
    assert ended.code == 3
    assert "is gone" in ended.err.splitlines()[-1]


def test_a_broken_row_is_named_before_anything_is_sent(backend: BackendProcess, project: Path) -> None:
    """Row 17 of the file, exit code 2, and no job."""
    write_project(project, "complete:1")
    good = (project / "rows.jsonl").read_text().splitlines()[0]
    (project / "rows.jsonl").write_text("\n".join([good] * 16 + ["{broken"] + [good]))
    ended = run("start", "--local")
    assert ended.code == 2
    assert "row 17: is not JSON" in ended.err
    assert not list(backend.data.glob("jobs/*"))


def test_an_unknown_model_is_refused_before_the_job_exists(backend: BackendProcess, project: Path) -> None:
    """One line that names the model, exit code 2, and no job."""
    write_project(project, "complete:1")
    entry = project / "src" / "arkor" / "index.py"
    entry.write_text(ENTRY.format(name="complete:1", model="no-such-model", save_steps=None))
    ended = run("start", "--local")
    assert ended.code == 2
    assert "no-such-model" in ended.err
    assert len(ended.err.strip().splitlines()) == 1
    assert not list(backend.data.glob("jobs/*"))


def test_two_at_once_start_one_backend_which_leaves_by_itself(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Finding or starting is one step; nobody needs the backend any more, so that no process is left."""
    monkeypatch.setattr(local_backend, "IDLE_EXIT_S", 1)
    urls: list[str] = []
    threads = [threading.Thread(target=lambda: urls.append(local_backend.find_or_start())) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(urls) == 2
    assert len(set(urls)) == 1
    server_file = home / ".arkor" / "local" / "server.json"
    pid = json.loads(server_file.read_bytes())["pid"]
    assert psutil.Process(pid).is_running()
    eventually(lambda: not is_running(pid), "the backend left")
    assert not server_file.exists()


def test_a_stranger_on_the_port_never_sees_the_token(
    backend: BackendProcess, home: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The backend was killed and another program took its port: a new one is started elsewhere, and is used."""
    monkeypatch.setattr(local_backend, "IDLE_EXIT_S", 1)
    before = CloudApiClient.connect("local")
    secret = json.loads(backend.server_file.read_bytes())["secret"]
    backend.kill()
    with stranger(int(backend.url.rpartition(":")[2])) as other:
        with pytest.raises(ConnectionFailed):
            before.me()
        with pytest.raises(LocalBackendError, match="is gone"):
            before.check_alive()
        client = CloudApiClient.connect("local")
        assert client.base_url != other.url
        assert client.me()["orgs"]
    assert {path for _, path, _ in other.requests} == {"/healthz"}
    assert not other.saw_a_token
    assert other.url in caplog.text
    body = json.loads(backend.server_file.read_bytes())
    assert body["secret"] != secret
    assert secret not in caplog.text + backend.log
    assert client.identity.token not in caplog.text
    before.close()
    client.close()
    eventually(lambda: not is_running(body["pid"]), "the backend left")


def test_a_killed_backend_that_comes_back_is_proven_again(backend: BackendProcess) -> None:
    """At the same port, with another secret: a client from before goes on with it."""
    client = CloudApiClient.connect("local")
    known = client.me()
    backend.kill()
    backend.start()
    assert client.me() == known
    client.check_alive()
    client.close()


def test_a_backend_that_dies_at_its_start_shows_the_end_of_its_log(home: Path) -> None:
    """The reason is in the error, not only in a file."""
    folder = home / ".arkor" / "local"
    folder.mkdir(parents=True)
    (folder / "data").write_text("a file where the folder should be")
    with pytest.raises(LocalBackendError, match="ended at its start") as caught:
        local_backend.find_or_start()
    assert str(folder / "data") in str(caught.value)
    assert not (folder / "server.json").exists()
