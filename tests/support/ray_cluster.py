"""A real Ray cluster on this machine, on ports of its own; each node is a ``ray start`` with a session of its own."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psutil
import requests

from tests.support.auth0 import free_ports
from tests.support.eventually import eventually
from tests.support.needed import need

START_TIMEOUT_S = 60.0
IS_WANTED = "ARKOR_TEST_RAY" in os.environ  # set by make test-ray: then a missing Ray is a failure
QUICK_TO_NOTICE = {  # Ray's settings of how soon its head notices that a node is gone
    "RAY_health_check_initial_delay_ms": "1000",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "3000",
    "RAY_health_check_failure_threshold": "3",
}


def require_ray() -> None:
    """Skip a test where Ray is not installed, or fail it where Ray is wanted."""
    is_there = importlib.util.find_spec("ray") is not None
    need(is_there, "Ray is not installed: make test-ray installs it", is_wanted=IS_WANTED)


class RayNode:
    """One node of a cluster; the first one is the head.

    Args:
        arguments: of ``ray start``.
        folder: for its logs and sockets.
        environment: of its processes, and so of the jobs on it.
    """

    def __init__(self, arguments: list[str], folder: Path, environment: Mapping[str, str]) -> None:
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--disable-usage-stats", *arguments]
        ports = [f"--{name}={free_port()}" for name in ("dashboard-agent-listen-port", "dashboard-agent-grpc-port")]
        place = Path(sys.executable).parent
        with (folder / "ray.log").open("ab") as log:
            self.process = subprocess.Popen(
                [*command, *ports, "--node-ip-address=127.0.0.1"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                cwd=folder,
                env={**os.environ, "PATH": f"{place}:{os.environ['PATH']}", "RAY_AUTH_MODE": "disabled", **environment},
            )

    def processes(self) -> list[psutil.Process]:
        """Return everything that runs on it, the jobs included."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, ProcessLookupError):
                if os.getsid(process.pid) == self.process.pid:
                    found += [process, *process.children(recursive=True)]
        return found

    def kill(self) -> None:
        """Kill -9 all of it at once, as if the machine were switched off."""
        while found := self.processes():
            for process in found:
                with contextlib.suppress(psutil.Error):
                    process.send_signal(signal.SIGKILL)
            self.process.wait(START_TIMEOUT_S)
            psutil.wait_procs(found, timeout=5)


class RayCluster:
    """A head with room for jobs, and further nodes.

    Args:
        environment: of all processes.
        cpus: of the head.
    """

    def __init__(self, environment: Mapping[str, str], cpus: int = 8) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="ray-"))  # short: sockets lie below it
        self._environment = environment
        self._gcs, dashboard = free_port(), free_port()
        self.address = f"http://127.0.0.1:{dashboard}"
        head = ["--head", f"--port={self._gcs}", f"--dashboard-port={dashboard}", f"--num-cpus={cpus}"]
        head += [f"--temp-dir={self.folder}", f"--ray-client-server-port={free_port()}"]
        self.nodes = [RayNode(head, self.folder, environment)]

    def wait_ready(self) -> None:
        """Wait until the head takes jobs."""
        eventually(self._is_ready, "the Ray head takes jobs", START_TIMEOUT_S)

    def add_node(self, cpus: int, environment: Mapping[str, str] | None = None) -> RayNode:
        """Start a further node, and return before it has joined."""
        arguments = [f"--address=127.0.0.1:{self._gcs}", f"--num-cpus={cpus}"]
        node = RayNode(arguments, self.folder, {**self._environment, **(environment or {})})
        self.nodes.append(node)
        return node

    def close(self) -> None:
        """Leave no process and no file."""
        for node in reversed(self.nodes):
            node.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _is_ready(self) -> bool:
        assert self.nodes[0].process.poll() is None, (self.folder / "ray.log").read_text()
        try:
            answer = requests.post(f"{self.address}/api/jobs/unknown/stop", timeout=5)
            healthy = requests.get(f"{self.address}/api/jobs/", timeout=5)
        except requests.RequestException:
            return False
        return answer.status_code in {401, 404} and healthy.status_code in {200, 401}


@contextmanager
def ray_cluster(environment: Mapping[str, str], cpus: int = 8) -> Iterator[RayCluster]:
    """Run a cluster inside the block."""
    cluster = RayCluster(environment, cpus)
    try:
        cluster.wait_ready()
        yield cluster
    finally:
        cluster.close()


def free_port() -> int:
    """Return a port that nothing listens on now."""
    return free_ports(1)[0]
