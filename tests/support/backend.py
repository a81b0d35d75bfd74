"""A real backend process on a free port, with a data folder and a HOME of its own, and a plain HTTP client for it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import attrs
import psutil
import requests

from arkor.backend.jobs import checkpoints
from arkor.system.files import file_lock
from arkor.version import __version__
from tests.support import scripted_worker
from tests.support.databases import database_url
from tests.support.eventually import eventually
from tests.support.tiny_model import write_tiny_model

ROOT = Path(__file__).parents[2]
TIMEOUT_S = 15.0
FOUR_STEPS = [  # what a scripted job of four steps tells that saves each second one: event types and steps
    ("training.started", None),
    ("training.log", 1),
    ("training.log", 2),
    ("checkpoint.saved", 2),
    ("training.log", 3),
    ("training.log", 4),
    ("checkpoint.saved", 4),
    ("training.completed", None),
]
CLIENT_HEADERS = {"X-Arkor-Client": f"arkor/{__version__}"}

# Patiences short enough for tests, long enough for two busy cores.
QUICK = {"ping": 0.2, "lease": 3.0, "first-lease": 10.0, "cancel-grace": 1.0, "stop-grace": 3.0}


@contextmanager
def own_backend(home: Path, *, has_model: bool = False) -> Iterator[BackendProcess]:
    """Run a backend with scripted workers inside the block, where the user of a HOME has one of their own.

    Args:
        home: the user's HOME.
        has_model: whether a stand-in for the model smollm2-135m is in place.
    """
    backend = BackendProcess(home / ".arkor" / "local")
    if has_model:
        write_tiny_model(backend.home / ".arkor" / "models" / "smollm2-135m")
    backend.start()
    try:
        yield backend
    finally:
        backend.close()


class BackendProcess:
    """``python -m arkor.backend`` with scripted workers and a scripted chat process.

    Args:
        folder: gets ``data``, ``home``, ``server.json`` and ``backend.log``.
        beside: another backend, whose database it shares; None for one of its own.
        options: further command line options, without the dashes: ``{"idle-exit": 1.0}``; a flag has True.
    """

    def __init__(self, folder: Path, *, beside: BackendProcess | None = None, **options: Any) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.home = folder / "home"
        self.server_file = folder / "server.json"
        self.log_path = folder / "backend.log"
        self.home.mkdir(parents=True, exist_ok=True)
        self.database: str | None = database_url(self.data) if beside is None else beside.database
        self._options: dict[str, Any] = dict(QUICK)
        self.change(**options)
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> BackendProcess:
        """Start it, and return when it answers."""
        self.launch()
        eventually(self._is_ready, "the backend is ready", TIMEOUT_S)
        return self

    def launch(self) -> subprocess.Popen[bytes]:
        """Start it without waiting."""
        command = [sys.executable, "-m", "arkor.backend", "--data", str(self.data)]
        options = {
            "server-file": self.server_file,
            "model-root": "/",
            "worker": "tests.support.scripted_worker",
            "models": "tests.support.scripted_models",
            "chat": "tests.support.scripted_chat",
            "preview": "tests.support.scripted_preview",
            "evaluation": "tests.support.scripted_evaluation",
            "export": "tests.support.scripted_export",
            "import": "tests.support.scripted_import",
            **self._options,
        }
        for name, value in options.items():
            command += [f"--{name}"] if value is True else [f"--{name}", str(value)]
        environment = {
            **os.environ,
            "HOME": str(self.home),
            "PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH")))),
            "HF_HUB_OFFLINE": "1",
        }
        if self.database is not None:
            environment["ARKOR_DATABASE"] = self.database
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                command, env=environment, cwd=self.home, stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )
        return self.process

    @property
    def url(self) -> str:
        """Its address, as its server file says."""
        return str(json.loads(self.server_file.read_bytes())["url"])

    @property
    def log(self) -> str:
        """What it has logged so far."""
        return self.log_path.read_text()

    def lock(self) -> AbstractContextManager[None]:
        """Hold the lock without which an idle backend does not end."""
        return file_lock(self.server_file.parent / "lock")

    def client(self) -> Client:
        """Return a client with a new identity and a project of its own."""
        return Client.introduce(self.url)

    def client_as(self, client: Client) -> Client:
        """Return the same identity and project at the address that is now this backend's."""
        return Client(self.url, client.token, client.scope["orgSlug"], client.scope["projectSlug"])

    def change(self, **options: Any) -> None:
        """Change command line options for the next start."""
        self._options.update({name.replace("_", "-"): value for name, value in options.items()})

    def job_dir(self, job_id: str) -> Path:
        """Return the folder of a job."""
        return self.data / "jobs" / job_id

    def worker_pid(self, job_id: str, attempt: int = 1) -> int:
        """Return the process id of an attempt's worker, once it runs."""
        path = self.job_dir(job_id) / f"pid-{attempt}"
        eventually(path.exists, f"attempt {attempt} of {job_id} runs")
        return int(path.read_text())

    def allow(self, job_id: str, step: int) -> None:
        """Let a gated job go on up to and including a step."""
        eventually(self.job_dir(job_id).is_dir, f"{job_id} has a folder")
        scripted_worker.allow(self.job_dir(job_id), step)

    def checkpoint(self, job_id: str) -> int | None:
        """Return the step of a job's last whole checkpoint, or None."""
        found = checkpoints.latest_complete(self.job_dir(job_id) / "checkpoints")
        return None if found is None else checkpoints.step_of(found)

    def wait_settled(self, job_id: str) -> None:
        """Wait until the scheduler has let go of a job's worker."""
        spec = self.job_dir(job_id) / "spec.json"
        eventually(lambda: not spec.exists(), f"{job_id} is settled")

    def kill(self) -> None:
        """Kill -9 it; its workers stay."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(TIMEOUT_S)

    def stop(self) -> int:
        """Ask it to stop, and return its exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(TIMEOUT_S)

    def close(self) -> None:
        """Leave no process behind."""
        if self.process is not None and self.process.poll() is None:
            try:
                self.stop()
            except subprocess.TimeoutExpired:
                self.kill()
        for path in self.data.glob("jobs/*/*pid*"):
            end_process(int(path.read_text()), str(self.data))

    def _is_ready(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, f"the backend ended:\n{self.log}"
        try:
            body = json.loads(self.server_file.read_bytes())
        except (FileNotFoundError, ValueError):
            return False
        if not isinstance(body, dict) or body.get("pid") != self.process.pid:
            return False
        return requests.get(f"{body['url']}/healthz", timeout=TIMEOUT_S).status_code == 200


def end_process(pid: int, mark: str) -> None:
    """Kill a process that a test left behind, if it is still the one: its command line or its parent's has the mark."""
    try:
        process = psutil.Process(pid)
        if mark in " ".join(process.cmdline()) or "signal.pause" in " ".join(process.cmdline()):
            process.kill()
    except psutil.NoSuchProcess:
        pass


def is_running(pid: int) -> bool:
    """Whether a process is there and has not ended."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@attrs.frozen
class Frame:
    """One frame of an event stream."""

    event: str
    data: dict[str, Any]
    id: int | None = None

    @classmethod
    def parse(cls, block: bytes) -> Frame:
        """Read a frame's lines."""
        fields = dict(line.split(": ", 1) for line in block.decode().splitlines())
        return cls(fields["event"], json.loads(fields["data"]), int(fields["id"]) if "id" in fields else None)


class Stream:
    """An open event stream: iterate over its frames, pings included; who iterates again goes on after the last one."""

    def __init__(self, response: requests.Response) -> None:
        self.response = response
        self._rest = b""
        self._read: deque[Frame] = deque()

    def __iter__(self) -> Iterator[Frame]:
        while True:
            while self._read:
                yield self._read.popleft()
            chunk = self.response.raw.read1(65536)
            if not chunk:
                return
            *blocks, self._rest = (self._rest + chunk).split(b"\n\n")
            self._read.extend(map(Frame.parse, blocks))

    def events(self) -> list[Frame]:
        """Read to the end; return what is neither a ping nor the end."""
        frames = [frame for frame in self if frame.event != "ping"]
        assert frames[-1].event == "end", frames
        return frames[:-1]

    def until(self, event: str) -> list[Frame]:
        """Read up to and including the first frame of a kind."""
        seen: list[Frame] = []
        for frame in self:
            seen.append(frame)
            if frame.event == event:
                return seen
        raise AssertionError(f"the stream ended before {event}: {seen}")

    def close(self) -> None:
        """Leave."""
        self.response.close()


class Client:
    """One identity in one project, over plain HTTP."""

    def __init__(self, url: str, token: str, org: str, project: str) -> None:
        self.url = url
        self.token = token
        self.scope = {"orgSlug": org, "projectSlug": project}
        self._headers = {**CLIENT_HEADERS, "Authorization": f"Bearer {token}"}

    @classmethod
    def introduce(cls, url: str) -> Client:
        """Make an identity and a project."""
        answer = requests.post(
            f"{url}/v1/auth/anonymous", json={"kind": "cli"}, headers=CLIENT_HEADERS, timeout=TIMEOUT_S
        )
        assert answer.status_code == 200, answer.text
        client = cls(url, answer.json()["token"], answer.json()["personalOrg"]["slug"], "tests")
        made = client.request("POST", "/v1/projects", json={"name": "Tests", "slug": "tests"})
        assert made.status_code == 201, made.text
        return client

    def request(self, method: str, path: str, **arguments: Any) -> requests.Response:
        """Send a request with the token, the client header and the scope."""
        headers = {**self._headers, **arguments.pop("headers", {})}
        arguments = {"params": self.scope, "timeout": TIMEOUT_S, **arguments}
        return requests.request(method, self.url + path, headers=headers, **arguments)

    def get(self, path: str, **arguments: Any) -> requests.Response:
        """GET."""
        return self.request("GET", path, **arguments)

    def submit(self, name: str, config: dict[str, Any], **arguments: Any) -> requests.Response:
        """Ask for a job."""
        return self.request("POST", "/v1/jobs", json={"name": name, "config": config}, **arguments)

    def job(self, job_id: str) -> dict[str, Any]:
        """Read a job."""
        answer = self.get(f"/v1/jobs/{job_id}")
        assert answer.status_code == 200, answer.text
        job: dict[str, Any] = answer.json()["job"]
        return job

    def cancel(self, job_id: str) -> requests.Response:
        """Cancel a job."""
        return self.request("POST", f"/v1/jobs/{job_id}/cancel")

    def wait_for(self, job_id: str, status: str) -> dict[str, Any]:
        """Wait until a job has a status, and return it."""
        eventually(lambda: self.job(job_id)["status"] == status, f"{job_id} is {status}")
        return self.job(job_id)

    def open_stream(self, job_id: str, last_event_id: int | None = None) -> Stream:
        """Open a job's event stream."""
        headers = {"Accept": "text/event-stream", "Accept-Encoding": "identity"}
        if last_event_id is not None:
            headers["Last-Event-ID"] = str(last_event_id)
        response = self.get(f"/v1/jobs/{job_id}/events/stream", headers=headers, stream=True)
        assert response.status_code == 200, response.text
        return Stream(response)

    def events(self, job_id: str) -> list[Frame]:
        """Follow a job to its end; return all its events."""
        return self.open_stream(job_id).events()

    def report(self, job_id: str, token: str, body: Any) -> requests.Response:
        """Report as a worker would."""
        return self.request(
            "POST", f"/internal/jobs/{job_id}/events", json=body, headers={"Authorization": f"Bearer {token}"}
        )


def in_parallel(count: int, call: Any) -> list[Any]:
    """Call something from several threads at the same moment; return the results."""
    barrier, results = threading.Barrier(count), []

    def run() -> None:
        barrier.wait(TIMEOUT_S)
        results.append(call())

    threads = [threading.Thread(target=run) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(TIMEOUT_S)
    assert len(results) == count
    return results
