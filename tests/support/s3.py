"""S3 as moto's server speaks it, in a process of its own; and an address between that cuts connections."""

from __future__ import annotations

import contextlib
import importlib.util
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import requests

from tests.support.auth0 import free_ports
from tests.support.eventually import eventually
from tests.support.needed import need

BUCKET = "arkor-tests"
VARIABLES = {"AWS_ACCESS_KEY_ID": "tests", "AWS_SECRET_ACCESS_KEY": "a-secret-of-the-tests"}
MISSING = "moto is not installed: pip install 'moto[server]' boto3"
_START_S = 60.0
_TIMEOUT_S = 10.0
_BLOCK_BYTES = 65536


def require_moto() -> None:
    """Skip a test that needs moto's server if that is not there; fail in CI."""
    need(all(importlib.util.find_spec(name) for name in ("boto3", "moto", "flask_cors")), MISSING)


@contextlib.contextmanager
def moto_server(log: Path) -> Iterator[str]:
    """Run S3 with one bucket; yield its address."""
    require_moto()
    port = free_ports(1)[0]
    url = f"http://127.0.0.1:{port}"
    with log.open("wb") as output:
        command = [sys.executable, "-W", "ignore", "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
        process = subprocess.Popen(command, stdout=output, stderr=output, stdin=subprocess.DEVNULL)
    try:
        eventually(lambda: _answers(process, url, log), "moto's server answers", _START_S)
        client(url).create_bucket(Bucket=BUCKET)
        yield url
    finally:
        process.kill()
        process.wait()


def client(url: str, **credentials: str) -> Any:
    """Return boto3's client of an S3; with other credentials, if some are given."""
    return _aws("s3", url, **credentials)


def only_for_a_user(url: str) -> dict[str, str]:
    """Have an S3 refuse everybody but one user from now on; return the user's variables."""
    iam = _aws("iam", url)
    iam.create_user(UserName="arkor")
    allowed = '{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}'
    iam.put_user_policy(UserName="arkor", PolicyName="storage", PolicyDocument=allowed)
    made = iam.create_access_key(UserName="arkor")["AccessKey"]
    requests.post(f"{url}/moto-api/reset-auth", data="0", timeout=_TIMEOUT_S).raise_for_status()
    return {"AWS_ACCESS_KEY_ID": made["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": made["SecretAccessKey"]}


def _aws(service: str, url: str, **credentials: str) -> Any:
    import boto3

    return boto3.session.Session().client(
        service,
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id=credentials.get("AWS_ACCESS_KEY_ID", VARIABLES["AWS_ACCESS_KEY_ID"]),
        aws_secret_access_key=credentials.get("AWS_SECRET_ACCESS_KEY", VARIABLES["AWS_SECRET_ACCESS_KEY"]),
    )


def _answers(process: subprocess.Popen[bytes], url: str, log: Path) -> bool:
    assert process.poll() is None, f"moto's server ended:\n{log.read_text()}"
    try:
        return requests.get(f"{url}/moto-api/data.json", timeout=_TIMEOUT_S).status_code == 200
    except requests.ConnectionError:
        return False


class Cutter:
    """An address that passes everything on, and cuts connections after so many bytes of one direction.

    Args:
        target: the address behind it, such as ``http://127.0.0.1:5000``.

    Attributes:
        url: its own.
        cuts: how many connections it has cut so far.
    """

    def __init__(self, target: str) -> None:
        host, _, port = target.removeprefix("http://").partition(":")
        self._target = (host, int(port))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.cuts = 0
        self._left = {"up": -1, "down": -1}
        self._to_cut = 0
        self._lock = threading.Lock()
        self._sockets: list[socket.socket] = [self._listener]
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self, direction: str, after_bytes: int, times: int) -> None:
        """Cut the next connections on which so many bytes came ``up`` or ``down``, so many times."""
        with self._lock:
            self._left = {"up": -1, "down": -1, direction: after_bytes}
            self._to_cut, self.cuts = times, 0

    def close(self) -> None:
        """End all connections."""
        for one in self._sockets:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
                far = socket.create_connection(self._target)
            except OSError:
                return
            self._sockets += [near, far]
            for source, target, direction in ((near, far, "up"), (far, near, "down")):
                threading.Thread(target=self._pass_on, args=(source, target, direction), daemon=True).start()

    def _pass_on(self, source: socket.socket, target: socket.socket, direction: str) -> None:
        seen = 0
        with contextlib.suppress(OSError):
            while block := source.recv(_BLOCK_BYTES):
                seen += len(block)
                with self._lock:
                    limit = self._left[direction]
                    is_cut = 0 <= limit < seen and self._to_cut > 0
                    self._to_cut -= is_cut
                    self.cuts += is_cut
                if is_cut:
                    break
                target.sendall(block)
        for one in (source, target):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def cutter(target: str) -> Iterator[Cutter]:
    """Run a ``Cutter`` inside the block."""
    made = Cutter(target)
    try:
        yield made
    finally:
        made.close()
