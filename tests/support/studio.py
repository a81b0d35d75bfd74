"""A real ``arkor dev`` on a free port, and plain HTTP to it."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
from typing import Any

import psutil
import requests

from tests.support.eventually import eventually

TIMEOUT_S = 30.0
TOKEN = re.compile(r'<meta name="arkor-studio-token" content="([^"]+)">')


class StudioProcess:
    """``arkor dev --port 0`` in the working directory and environment of the test. Use it as a context manager.

    Args:
        options: further options of the command.
        environment: variables beside those of the test.

    Attributes:
        url: its address, without the last slash.
        port: its port on 127.0.0.1.
        token: what its API asks for.
    """

    def __init__(self, *options: str, environment: dict[str, str] | None = None) -> None:
        self._shown = ""
        ports = () if "--port" in options else ("--port", "0")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "arkor.cli", "dev", *ports, *options],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONWARNINGS": "error", **(environment or {})},
        )
        self._reader = threading.Thread(target=self._read, name="studio-output", daemon=True)
        self._reader.start()
        found = eventually(lambda: re.search(r"Studio: (\S+)/\s", self._shown) or self._has_ended(), "Studio is up")
        assert found is not True, self._shown
        self.url = str(found[1])
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
            connection.shutdown(socket.SHUT_WR)
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

    def _has_ended(self) -> bool:
        return self.process.poll() is not None and not self._reader.is_alive()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as out:
            while data := os.read(out.fileno(), 65536):
                self._shown += data.decode()
