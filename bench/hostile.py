"""A backend under attack, and how others are answered meanwhile: ``python bench/hostile.py``.

A process attacks a backend of its own in several ways at once: uploads whose rows cost much, bodies without a token,
announced bodies of 60 GB, JSON of very many values, and a thousand idle connections that come back when they are
closed. Another client asks for what clients ask for, and its waits are measured. It needs the ``local`` extra and
psutil, and it takes half a minute. The attacks are the same for the same ``--seed``. The attacker has a low priority:
on a machine of its own it would not take the server's cores.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import json
import os
import random
import resource
import socket
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import attrs
import click
import psutil
import requests
from backend import HEADERS, SLUG, SPAWN, SQLITE, Jobs, Place, backends, report

MIB = 1024**2
GOAL_S, GOAL_MIB = 1.0, 300
IDLE = 1000
ANSWER_S = 30.0
PERIOD_S = 0.05
LOOK_S = 0.02
SCOPE = f"orgSlug={SLUG}&projectSlug={SLUG}"
TOKEN = f"Authorization: {HEADERS['Authorization']}"


class Attacker:
    """Attacks until it is told to stop, from several threads.

    Args:
        url: the backend.
        seed: of the sizes.
        stop: ends the attacks.

    Attributes:
        sent: how many attacks were made, the idle connections not counted.
    """

    def __init__(self, url: str, seed: int, stop: Any) -> None:
        parts = urlsplit(url)
        self._address = parts.hostname or "", parts.port or 0
        self._random = random.Random(seed)
        self._stop = stop
        self.sent = 0

    def run(self, began: Any) -> None:
        """Attack in all ways; set ``began`` when they begin."""
        bomb = gzip.compress(b'{"text": [' + b"[]," * (32 * MIB) + b"[]]}\n")
        objects = b'{"text": [' + b'{"":0},' * self._random.randrange(1_500_000, 2_000_000) + b"[]]}\n"
        values = b'{"messages": [' + b"[]," * (MIB // 3 - 10) + b"[]]}"
        zeros = bytes(64 * MIB)
        hostile_rows, endless_row = _dataset(objects), _dataset(zeros)
        ways: list[tuple[int, Callable[[], None]]] = [
            (2, lambda: self._ask("PUT", _dataset(b"bomb"), bomb, TOKEN, "Content-Encoding: gzip")),
            (2, lambda: self._ask("PUT", hostile_rows, objects, TOKEN)),
            (1, lambda: self._ask("PUT", endless_row, zeros, TOKEN)),
            (8, lambda: self._ask("POST", f"/v1/jobs?{SCOPE}", values * 15)),
            (2, lambda: self._ask("PUT", _dataset(b"huge"), zeros, announced=60 * 10**9)),
            (4, lambda: self._ask("POST", f"/v1/inference/chat?{SCOPE}", values, TOKEN)),
        ]
        threads = [threading.Thread(target=self._repeat, args=(way,)) for count, way in ways for _ in range(count)]
        threads.append(threading.Thread(target=self._hold))
        for thread in threads:
            thread.start()
        began.set()
        for thread in threads:
            thread.join()

    def _repeat(self, attack: Callable[[], None]) -> None:
        while not self._stop.is_set():
            with contextlib.suppress(OSError):  # refused before it was sent
                attack()
            self.sent += 1

    def _ask(self, method: str, path: str, body: bytes, *headers: str, announced: int | None = None) -> None:
        lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", "X-Arkor-Client: arkor/0", *headers]
        lines += [f"Content-Length: {announced or len(body)}", "Connection: close", "", ""]
        with socket.create_connection(self._address, ANSWER_S) as client:
            client.sendall("\r\n".join(lines).encode())
            with contextlib.suppress(BrokenPipeError):
                client.sendall(body)
            client.recv(65536)

    def _hold(self) -> None:
        """Keep idle connections, half of them amid a head, and open another for each that is closed."""
        held: list[socket.socket] = []
        while not self._stop.is_set():
            held = [client for client in held if not _is_closed(client)]
            for _ in range(IDLE - len(held)):
                with contextlib.suppress(OSError):
                    client = socket.create_connection(self._address, ANSWER_S)
                    client.sendall(b"GET /healthz HTTP/1.1\r\n"[: self._random.choice((0, 10))])
                    held.append(client)
            self._stop.wait(0.2)
        for client in held:
            client.close()


def _dataset(content: bytes) -> str:
    return f"/v1/datasets/{hashlib.sha256(content).hexdigest()}?{SCOPE}"


def _is_closed(client: socket.socket) -> bool:
    client.setblocking(False)
    try:
        closed = client.recv(1) == b""
    except BlockingIOError:
        return False
    except OSError:
        closed = True
    client.close()
    return closed


def attack(url: str, seed: int, began: Any, stop: Any, sent: Any) -> None:
    """Attack until ``stop`` is set, and say how many attacks there were."""
    os.nice(10)
    _allow_files()
    attacker = Attacker(url, seed, stop)
    attacker.run(began)
    sent.put(attacker.sent)


@attrs.define
class Waits:
    """How long the answers to one kind of request took.

    Attributes:
        seconds: of each that was answered.
        failed: how many had another answer, or none.
    """

    seconds: list[float] = attrs.field(factory=list)
    failed: int = 0

    def measure(self, ask: Callable[[], None]) -> None:
        """Ask once."""
        began = time.monotonic()
        try:
            ask()
        except (requests.RequestException, click.ClickException):
            self.failed += 1
        self.seconds.append(time.monotonic() - began)


def kinds(url: str, session: requests.Session) -> dict[str, Callable[[], None]]:
    """Return what an ordinary client asks for."""
    numbers = iter(range(1, 10**9))

    def get(path: str, ask: Any) -> None:
        ask.get(url + path, headers=HEADERS, timeout=ANSWER_S).raise_for_status()

    def upload() -> None:
        content = b"".join(json.dumps({"text": f"row {next(numbers)}"}).encode() + b"\n" for _ in range(500))
        requests.put(url + _dataset(content), data=content, headers=HEADERS, timeout=ANSWER_S).raise_for_status()

    def submit() -> None:
        body = {"name": "honest", "config": {}}
        answer = requests.post(f"{url}/v1/jobs?{SCOPE}", json=body, headers=HEADERS, timeout=ANSWER_S)
        if answer.status_code != 422:  # there is no model: the answer says so
            raise click.ClickException(answer.text)

    return {
        "GET /healthz, a new connection": lambda: get("/healthz", requests),
        "GET /v1/jobs, a kept connection": lambda: get(f"/v1/jobs?{SCOPE}", session),
        "POST /v1/jobs": submit,
        "PUT /v1/datasets of 500 rows": upload,
        "a worker's report": lambda: report(session, url, 0, next(numbers), 1),
    }


@contextlib.contextmanager
def watched_memory(server: psutil.Process) -> Iterator[Callable[[], int]]:
    """Look at a process's RSS inside the block; the function returns the largest so far, in bytes."""
    most, ended = [0], threading.Event()

    def watch() -> None:
        while not ended.wait(LOOK_S):
            most[0] = max(most[0], server.memory_info().rss)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield lambda: most[0]
    finally:
        ended.set()
        watcher.join()


def ask_all(url: str, seconds: float, server: psutil.Process) -> tuple[dict[str, Waits], int]:
    """Ask for everything in turn, and return the waits, and the largest RSS of the server in bytes."""
    pause, until = threading.Event(), time.monotonic() + seconds
    with requests.Session() as session, watched_memory(server) as most:
        asked = kinds(url, session)
        waits = {name: Waits() for name in asked}
        while time.monotonic() < until:
            for name, ask in asked.items():
                waits[name].measure(ask)
                pause.wait(PERIOD_S)
        return waits, most()


@contextlib.contextmanager
def attacked(url: str, seed: int) -> Iterator[Callable[[], int]]:
    """Attack inside the block; the function ends it, and returns the number of attacks."""
    began, stop, sent = SPAWN.Event(), SPAWN.Event(), SPAWN.Queue()
    attacker = SPAWN.Process(target=attack, args=(url, seed, began, stop, sent))
    attacker.start()
    if not began.wait(4 * ANSWER_S):
        raise click.ClickException("The attacks did not begin.")

    def end() -> int:
        stop.set()
        count: int = sent.get(timeout=4 * ANSWER_S)
        return count

    try:
        yield end
    finally:
        stop.set()
        attacker.join(4 * ANSWER_S)
        attacker.kill()


def _allow_files() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 4096)), hard))


def show(title: str, waits: dict[str, Waits], most: int) -> None:
    """Print a table."""
    print(f"{title}\n{'':34}{'asked':>7}{'failed':>8}{'median':>10}{'slowest':>10}")
    for name, found in waits.items():
        median, slowest = statistics.median(found.seconds) * 1000, max(found.seconds) * 1000
        print(f"{name:34}{len(found.seconds):7}{found.failed:8}{median:7.0f} ms{slowest:7.0f} ms")
    print(f"largest RSS of the server: {most / MIB:.0f} MiB\n")


@click.command()
@click.option("--seconds", default=15.0, show_default=True, help="How long it is attacked, and how long it is not.")
@click.option("--seed", default=1, show_default=True, help="Of the attacks.")
def main(seconds: float, seed: int) -> None:
    """Attack a backend, and measure how others are answered."""
    with backends(Place(SQLITE, 1), Jobs(running=1)) as ([url], _):
        server = next(one for one in psutil.Process().children() if "arkor.backend" in one.cmdline())
        show("not attacked", *ask_all(url, seconds / 3, server))
        with attacked(url, seed) as end:
            waits, most = ask_all(url, seconds, server)
            show("attacked", waits, most)
            count = end()
    slowest = max(max(found.seconds) for found in waits.values())
    failed = sum(found.failed for found in waits.values())
    print(f"{count} attacks. Slowest answer: {slowest:.2f} s (goal: {GOAL_S:.0f} s). Failed: {failed} (goal: 0).")
    print(f"Largest RSS: {most / MIB:.0f} MiB (goal: {GOAL_MIB} MiB).")


if __name__ == "__main__":
    main()
