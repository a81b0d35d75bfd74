"""A backend that a measurement kills and starts again, and the processes that belong to a folder."""

from __future__ import annotations

import contextlib
import json
import os
import random
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import click
import psutil
import requests

sys.path.insert(0, str(Path(__file__).parents[1]))  # for the stand-ins of the tests
from tests.support.processes import processes_of

ROOT = Path(__file__).parents[1]
READY_S = 60.0
PORTS = range(20_000, 30_000)  # below those that a system takes for outgoing connections


class BackendProcess:
    """The backend, on one port and one data folder for all its lives.

    Args:
        folder: gets ``data``, ``home``, ``model``, ``server.json`` and ``backend.log``.
        options: its command line, without the dashes.
    """

    def __init__(self, folder: Path, options: Mapping[str, object]) -> None:
        self.folder = folder
        self._options = options
        self.data = folder / "data"
        self.log = folder / "backend.log"
        self.secrets: dict[str, str] = {}
        self._port = free_port()
        self.url = f"http://127.0.0.1:{self._port}"
        self._server_file = folder / "server.json"
        self._process: subprocess.Popen[bytes] | None = None

    def launch(self) -> None:
        """Start it without waiting."""
        command = [sys.executable, "-m", "arkor.backend", "--data", str(self.data), "--port", str(self._port)]
        command += ["--server-file", str(self._server_file), "--model-root", str(self.folder / "model")]
        command += [word for name, value in self._options.items() for word in (f"--{name}", str(value))]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (Path(__file__).parent, ROOT)))}
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )

    def start(self) -> None:
        """Start it, and return when it answers."""
        self.launch()
        self.await_ready()

    def await_ready(self) -> None:
        """Return when it answers."""
        deadline = time.monotonic() + READY_S
        while not self._is_ready():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise click.ClickException(f"The backend did not start:\n{self.log.read_text()[-3000:]}")
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(0.05)

    def _is_ready(self) -> bool:
        try:
            note = json.loads(self._server_file.read_bytes())
            requests.get(f"{self.url}/healthz", timeout=5).raise_for_status()
        except (OSError, ValueError):
            return False
        self.secrets[note["secret"]] = "a secret of server.json"
        return bool(note["pid"] == self.process.pid)

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """Its present process."""
        assert self._process is not None
        return self._process

    def kill(self) -> None:
        """Kill -9 it; its workers stay."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        """Ask it to stop."""
        self.process.terminate()
        code = self.process.wait(READY_S)
        if code:
            raise click.ClickException(f"The backend was asked to stop, and ended with exit code {code}.")

    def workers(self) -> dict[str, psutil.Process]:
        """Return the workers that run, by their jobs' ids, and learn their tokens."""
        found = {}
        for process in processes_of(self.data):
            with contextlib.suppress(psutil.NoSuchProcess, OSError, ValueError):
                spec = Path(process.cmdline()[-1])
                if spec.name == "spec.json":
                    self.secrets[json.loads(spec.read_bytes())["token"]] = "the token of an attempt"
                    found[spec.parent.name] = process
        return dict(sorted(found.items()))


def free_port() -> int:
    for port in random.sample(PORTS, 100):
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            return port
    raise click.ClickException("No port is free.")
