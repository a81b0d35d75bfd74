"""A whole installation on one machine: ``python cluster.py``.

It starts PostgreSQL, an S3 (moto's server), a Ray cluster of two nodes, and two arkor servers that share all of it. A
job is submitted to the first server and trains on a node of the cluster; the second server has its adapter. Then
everything ends. It needs the extras ``local``, ``postgresql``, ``s3`` and ``ray``, ``pip install 'moto[server]'``, and
PostgreSQL's programs (on Debian: ``apt-get install postgresql``). With ``--stay`` it goes on until Ctrl-C.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

import boto3
import click
import psutil
import requests

from arkor import CloudApiClient, LocalDataset, Trainer
from arkor.client.project import ensure_project

BUCKET = "arkor"
KEYS = {"AWS_ACCESS_KEY_ID": "example", "AWS_SECRET_ACCESS_KEY": "example", "AWS_DEFAULT_REGION": "us-east-1"}
QUESTIONS = Path(__file__).parents[1] / "shop" / "questions.csv"
READY_S = 120.0
CPUS_OF_NODE = 2


class Machine:
    """The processes of the installation; whatever was started ends with the block that it was started in."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment: dict[str, str] = {**os.environ, **KEYS, "RAY_AUTH_MODE": "disabled"}
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Machine:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def run(self, name: str, *command: str, user: str | None = None, **environment: str) -> None:
        """Start a program, whose output goes to a file; it is ended with everything that it has started."""
        with (self.folder / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**self.environment, **environment},
                user=user,
                group=user,
            )
        self._stack.callback(end, process)

    def ready(self, what: str, is_ready: Callable[[], bool]) -> None:
        """Wait until something answers."""
        pause = threading.Event()
        for _ in range(int(READY_S / 0.2)):
            with contextlib.suppress(OSError, ValueError, KeyError):
                if is_ready():
                    click.echo(f"{what} is ready")
                    return
            pause.wait(0.2)
        raise click.ClickException(f"{what} was not ready after {READY_S:.0f} s; the logs are in {self.folder}")

    def postgresql(self) -> str:
        """Start PostgreSQL, and return the address of an empty database."""
        place, port = self.folder / "postgresql", free_port()
        place.mkdir()
        user = None
        if os.geteuid() == 0:  # PostgreSQL does not run as root
            user = "postgres"
            shutil.chown(place, user)
            self.folder.chmod(0o755)
        data = str(place / "data")
        subprocess.run(
            [program("initdb"), "-D", data, "-A", "trust", "-U", "arkor", "-E", "UTF8"],
            check=True,
            capture_output=True,
            cwd=place,
            user=user,
            group=user,
        )
        self.run("postgresql", program("postgres"), "-D", data, "-p", str(port), "-k", str(place), user=user)
        command = [program("createdb"), "-h", "127.0.0.1", "-p", str(port), "-U", "arkor", "arkor"]
        self.ready("PostgreSQL", lambda: subprocess.run(command, capture_output=True, check=False).returncode == 0)
        return f"postgresql+psycopg://arkor@127.0.0.1:{port}/arkor"

    def s3(self) -> str:
        """Start an S3 with an empty bucket, and return the address of a storage in it."""
        port = free_port()
        self.environment["AWS_ENDPOINT_URL"] = url = f"http://127.0.0.1:{port}"
        self.run("s3", sys.executable, "-m", "moto.server", "-p", str(port))
        self.ready("S3", lambda: answers(url))
        boto3.client(
            "s3",
            endpoint_url=url,
            aws_access_key_id=KEYS["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=KEYS["AWS_SECRET_ACCESS_KEY"],
            region_name=KEYS["AWS_DEFAULT_REGION"],
        ).create_bucket(Bucket=BUCKET)
        return f"s3://{BUCKET}/example"

    def ray(self) -> str:
        """Start a head without room for jobs and two nodes, and return the dashboard's address."""
        gcs, dashboard = free_port(), free_port()
        ray = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--disable-usage-stats"]
        place = tempfile.mkdtemp(prefix="ray-")  # short: sockets lie below it
        self._stack.callback(shutil.rmtree, place, ignore_errors=True)
        here = ["--node-ip-address=127.0.0.1"]
        head = ["--head", f"--port={gcs}", f"--dashboard-port={dashboard}", f"--temp-dir={place}", "--num-cpus=0"]
        path = {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
        self.run("ray-head", *ray, *head, *here, f"--ray-client-server-port={free_port()}", *agents(), **path)
        url = f"http://127.0.0.1:{dashboard}"
        self.ready("Ray's head", partial(has_nodes, url, 1))
        for number in (1, 2):
            node = [f"--address=127.0.0.1:{gcs}", f"--num-cpus={CPUS_OF_NODE}"]
            self.run(f"ray-node-{number}", *ray, *node, *here, *agents(), **path)
            self.ready(f"Ray's node {number}", partial(has_nodes, url, 1 + number))
        return url

    def server(self, name: str, database: str, storage: str, ray: str) -> str:
        """Start an arkor server, and return its address."""
        port = free_port()
        options = {"port": port, "data": self.folder / name, "storage": storage, "engine": "ray", "ray-address": ray}
        words = [word for option, value in options.items() for word in (f"--{option}", str(value))]
        self.run(name, sys.executable, "-m", "arkor", "serve", *words, ARKOR_DATABASE=database)
        url = f"http://127.0.0.1:{port}"
        self.ready(f"the {name} server", lambda: answers(f"{url}/readyz"))
        return url


def end(process: subprocess.Popen[bytes]) -> None:
    """Ask a program to end; after some seconds, end it and everything that it has started."""
    started = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(15)
    process.kill()
    process.wait()
    for child in started:
        with contextlib.suppress(psutil.NoSuchProcess):
            child.kill()


def answers(url: str) -> bool:
    """Whether a program answers at an address, and is content."""
    return requests.get(url, timeout=5).ok


def has_nodes(url: str, count: int) -> bool:
    """Whether so many nodes of a Ray cluster are alive."""
    found = requests.get(f"{url}/nodes?view=summary", timeout=5).json()["data"]["summary"]
    return len([node for node in found if node["raylet"].get("state") == "ALIVE"]) == count


def agents() -> list[str]:
    """Return ports of a node's own, as two nodes on one machine need them."""
    return [f"--dashboard-agent-{kind}-port={free_port()}" for kind in ("listen", "grpc")]


def free_port() -> int:
    """Return a port that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def program(name: str) -> str:
    """Return the path of a program of PostgreSQL, which Debian has on nobody's path."""
    found = [Path(name)] if shutil.which(name) else sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    if not found:
        raise click.ClickException(f"{name} is not installed: apt-get install postgresql")
    return str(found[-1])


def train(first: str, second: str, folder: Path, steps: int) -> None:
    """Train on the cluster through the first server, and fetch the adapter from the second one."""
    trainer = Trainer(
        name="shop",
        model="smollm2-135m",
        dataset=LocalDataset(QUESTIONS, columns={"question": "prompt", "answer": "completion"}),
        max_steps=steps,
        learning_rate=1e-3,
        callbacks={"on_log": lambda log: click.echo(f"step {log.step}: loss {log.loss}")},
        backend=first,
        project_dir=folder,
    )
    result = trainer.wait(check=True)
    there = CloudApiClient(second, identity=CloudApiClient.connect(first).identity)
    scope = ensure_project(there, folder)
    for artifact in there.list_artifacts(scope, result.job.id):
        place = there.download_artifact(scope, result.job.id, artifact, folder / "adapters")
        size = sum(file.stat().st_size for file in place.iterdir())
        click.echo(f"the second server has {artifact.name}: {size / 2**20:.1f} MiB in {place.name}/")


@click.command(help=__doc__)
@click.option("--steps", default=10, show_default=True, help="How long the job trains.")
@click.option("--stay", is_flag=True, help="Go on until Ctrl-C.")
def main(steps: int, *, stay: bool) -> None:
    """Start it, train, and end it."""
    folder = Path(tempfile.mkdtemp(prefix="arkor-cluster-"))
    with Machine(folder) as machine:
        database, storage, ray = machine.postgresql(), machine.s3(), machine.ray()
        first, second = (machine.server(name, database, storage, ray) for name in ("first", "second"))
        train(first, second, folder, steps)
        if stay:
            click.echo(f"Set ARKOR_CLOUD_API_URL={first} or {second}. Ctrl-C ends it.")
            with contextlib.suppress(KeyboardInterrupt):
                threading.Event().wait()
    shutil.rmtree(folder)
    click.echo("everything has ended")


if __name__ == "__main__":
    main()
