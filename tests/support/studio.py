"""A real ``arkor dev`` on a free port, and plain HTTP to it."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil
import requests

from tests.support.eventually import eventually

TIMEOUT_S = 30.0
TOKEN = re.compile(r'<meta name="arkor-studio-token" content="([^"]+)">')


def write_entry(code: str = "", *, name: str = "studio-run", project: Path | None = None) -> Path:
    """Write the entry of a project, by default the working directory, and return it.

    Args:
        code: runs when it is imported, before there is a trainer.
        name: the trainer's.
        project: the project's root.
    """
    entry = (project or Path.cwd()) / "src" / "arkor" / "index.py"
    entry.parent.mkdir(parents=True, exist_ok=True)
    entry.write_text(
        f"import arkor\n{code}\n"
        f"trainer = arkor.create_trainer(name={name!r}, model='base', dataset=arkor.HuggingFaceDataset('a/b'))\n",
        encoding="utf-8",
    )
    return entry


class StudioProcess:
    """``arkor dev --port 0`` in the environment of the test. Use it as a context manager.

    Args:
        options: further options of the command.
        project: its working directory; by default that of the test.
        environment: variables beside those of the test.

    Attributes:
        url: its address, without the last slash.
        port: its port on 127.0.0.1.
        token: what its API asks for.
    """

    def __init__(
        self, *options: str, project: Path | None = None, environment: Mapping[str, str] | None = None
    ) -> None:
        self._shown = ""
        ports = () if "--port" in options else ("--port", "0")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "arkor.cli", "dev", *ports, *options],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=project,
            env={**os.environ, "PYTHONWARNINGS": "error", **(environment or {})},
        )
        self._reader = threading.Thread(target=self._read, name="studio-output", daemon=True)
        self._reader.start()
        self.url = eventually(self._announced, "Studio tells its address")
        self.port = int(self.url.rpartition(":")[2])
        page = requests.get(f"{self.url}/", timeout=TIMEOUT_S).text
        match = TOKEN.search(page)
        assert match is not None, page
        self.token = match[1]

    def __enter__(self) -> StudioProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def shown(self) -> str:
        """What it has printed so far, standard error included."""
        return self._shown

    def request(self, method: str, path: str, **arguments: Any) -> requests.Response:
        """Send a request with the token."""
        headers = {"X-Arkor-Studio-Token": self.token, **arguments.pop("headers", {})}
        arguments.setdefault("timeout", TIMEOUT_S)
        return requests.request(method, self.url + path, headers=headers, **arguments)

    def get(self, path: str, **arguments: Any) -> requests.Response:
        """GET."""
        return self.request("GET", path, **arguments)

    def post(self, path: str, json: Any = None, **arguments: Any) -> requests.Response:
        """POST a JSON body."""
        return self.request("POST", path, json={} if json is None else json, **arguments)

    def raw(self, request: str) -> bytes:
        """Send these bytes, and return all that comes until the connection ends or nothing comes any more."""
        with socket.create_connection(("127.0.0.1", self.port), TIMEOUT_S) as connection:
            connection.sendall(request.encode("latin-1"))
            received = b""
            while data := connection.recv(65536):
                received += data
            return received

    def children(self) -> list[psutil.Process]:
        """Return its child processes, and theirs, which still run."""
        return [child for child in psutil.Process(self.process.pid).children(recursive=True) if child.is_running()]

    def end(self, number: int = signal.SIGTERM) -> int:
        """Send it a signal, and return its exit code."""
        self.process.send_signal(number)
        code = self.process.wait(TIMEOUT_S)
        self._reader.join(TIMEOUT_S)
        return code

    def kill(self) -> None:
        """Kill -9 it."""
        self.process.kill()
        self.process.wait(TIMEOUT_S)

    def close(self) -> None:
        """Leave no process behind."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(TIMEOUT_S)
        self._reader.join(TIMEOUT_S)

    def _announced(self) -> str:
        assert self.process.poll() is None, f"it has ended: {self._shown}"
        match = re.search(r"^Studio: (http://\S+)/\n", self._shown, re.MULTILINE)
        return match[1] if match else ""

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as out:
            while data := os.read(out.fileno(), 65536):
                self._shown += data.decode()
