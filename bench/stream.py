"""Waiting for a job, beside what else reads event streams, in one run: ``python bench/stream.py``.

It needs the ``local`` extra, two quiet cores and about four minutes; ``--only`` runs one part, ``--scale 0.01`` shows
in seconds that it works. Each part has a server of its own (``streamserver.py``), and each contestant a process of its
own. The contestants take turns, so that a busy machine slows all of them; the best round of each counts.

httpx with httpx-sse, and openai, are left out where they are not installed. Of openai it is the public ``Stream``, as
``OpenAI.get(..., stream=True)`` returns it; its decoder is a part of that.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import multiprocessing
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import tracemalloc
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import attrs
import click
import psutil
import requests
import sseclient

from arkor import Aborted, Callbacks, CloudApiClient, LogContext, ReconnectPolicy, Trainer
from arkor.auth.identity import host_key
from arkor.client.project import ProjectState, write_state

MIB = 1024 * 1024
READ_BYTES = 64 * 1024
LOG = "training.log"
PER_CHUNK = (32, 1)
EARLY, LATE = 20, 1_500  # events that a trainer has had: more than it remembers ids, in the second case
REMAINING = 100
FRAME_ROUNDS = 3
SETTLING_S = 0.02
PATIENCE_S = 120.0


def attach(url: str, job_id: str, on_log: Callable[[LogContext], object], **settings: Any) -> Trainer:
    """Return a trainer for one of the server's jobs."""
    settings.setdefault("client", CloudApiClient(url, token="bench"))
    return Trainer.attach(job_id, callbacks=Callbacks(on_log=on_log), project_dir=Path.home(), **settings)


def stream_path(job_id: str) -> str:
    return f"/v1/jobs/{job_id}/events/stream"


# The contestants: each reads a job's stream to its end, and returns how many log events it saw.


def floor(url: str, job_id: str) -> int:
    """Undo the chunks, split at blank lines, parse the data: what no reader can do without."""
    seen, rest = 0, b""
    with contextlib.closing(raw_body(url, job_id)) as body:
        for piece in body:
            whole, _, rest = (rest + piece).rpartition(b"\n\n")
            for frame in whole.decode().split("\n\n") if whole else ():
                parsed = json.loads(frame[frame.index("\ndata: ") + 7 :])
                seen += parsed.get("type") == LOG
    return seen


def raw_body(url: str, job_id: str) -> Generator[bytes, None, None]:
    """Yield what a chunked body holds, read from a socket."""
    address = urlsplit(url)
    with socket.create_connection((address.hostname, address.port)) as sock:
        sock.sendall(f"GET {stream_path(job_id)} HTTP/1.1\r\nHost: bench\r\n\r\n".encode())
        data = b""
        while b"\r\n\r\n" not in data:
            data += sock.recv(READ_BYTES)
        data = data.partition(b"\r\n\r\n")[2]
        while True:
            at, pieces = 0, list[bytes]()
            while (end := data.find(b"\r\n", at)) >= 0:
                begin, size = end + 2, int(data[at:end], 16)
                if begin + size + 2 > len(data):
                    break
                if size == 0:
                    yield b"".join(pieces)
                    return
                pieces.append(data[begin : begin + size])
                at = begin + size + 2
            yield b"".join(pieces)
            data = data[at:] + sock.recv(READ_BYTES)


def arkor(url: str, job_id: str) -> int:
    """Wait, with a callback that does nothing but count."""
    seen = 0

    def on_log(_: LogContext) -> None:
        nonlocal seen
        seen += 1

    attach(url, job_id, on_log).wait(check=True)
    return seen


def requests_sseclient(url: str, job_id: str) -> int:
    with requests.get(url + stream_path(job_id), stream=True, timeout=PATIENCE_S) as answer:
        return sum(json.loads(event.data).get("type") == LOG for event in sseclient.SSEClient(iter(answer)).events())


def httpx_sse(url: str, job_id: str) -> int:
    httpx, sse = importlib.import_module("httpx"), importlib.import_module("httpx_sse")
    with httpx.Client(trust_env=False) as client, sse.connect_sse(client, "GET", url + stream_path(job_id)) as source:
        return sum(json.loads(event.data).get("type") == LOG for event in source.iter_sse())


def openai_stream(url: str, job_id: str) -> int:
    openai = importlib.import_module("openai")
    with (
        openai.OpenAI(base_url=url, api_key="bench", max_retries=0) as client,
        client.get(stream_path(job_id), cast_to=object, stream=True, stream_cls=openai.Stream[object]) as bodies,
    ):
        return sum(body.get("type") == LOG for body in bodies)


CONTESTANTS: dict[str, Callable[[str, str], int]] = {
    "floor: socket, split, json.loads": floor,
    "arkor: wait() with on_log": arkor,
    "requests + sseclient-py + json.loads": requests_sseclient,
    "httpx + httpx-sse + json.loads": httpx_sse,
    "openai's Stream": openai_stream,
}


def timed(name: str, url: str, job_id: str, events: int) -> float | None:
    """Return a contestant's seconds for a job, None where it is not installed."""
    began = time.perf_counter()
    try:
        seen = CONTESTANTS[name](url, job_id)
    except ModuleNotFoundError:
        return None
    took_s = time.perf_counter() - began
    if seen != events:
        raise click.ClickException(f"{name} saw {seen} of {events} events")
    return took_s


# The parts. Each measures in a process of its own.


def throughput(scale: Scale) -> None:
    events = scale.of(100_000, at_least=100)
    with contextlib.ExitStack() as stack:
        url = stack.enter_context(serving())
        pools = {name: stack.enter_context(own_process()) for name in CONTESTANTS}
        for per_chunk in PER_CHUNK:
            job_id = f"log.{events}.{per_chunk}"
            took: dict[str, list[float | None]] = {name: [] for name in CONTESTANTS}
            for _ in range(scale.rounds + 1):
                for name, pool in pools.items():
                    took[name].append(pool.submit(timed, name, url, job_id, events).result())
            show_rates(events, per_chunk, took)


def show_rates(events: int, per_chunk: int, took: dict[str, list[float | None]]) -> None:
    """Print a contestant a row, and how it does beside the first; each one's first round was to warm up."""
    click.echo(f"\n{f'{events:,} events, {per_chunk} a chunk':48} {'best':>16} {'median':>16}  of the floor")
    floor_s = None
    for name, rounds in took.items():
        seconds = [second for second in rounds[1:] if second is not None]
        if not seconds:
            click.echo(f"{name:48} {'not installed':>16}")
            continue
        best_s, median_s = min(seconds), statistics.median(seconds)
        floor_s = floor_s or best_s
        goal = "  (goal: 0.25)" if CONTESTANTS[name] is arkor else ""
        click.echo(
            f"{name:48} {events / best_s:>14,.0f}/s {events / median_s:>14,.0f}/s {floor_s / best_s:>13.2f}{goal}"
        )


def memory(scale: Scale) -> None:
    events, traced = scale.of(1_000_000, at_least=1000), scale.of(100_000, at_least=1000)
    warm_up = scale.of(10_000, at_least=100)
    head("memory of wait() after a warm-up")
    with serving() as url:
        grown = in_own_process(grown_bytes, url, events, warm_up)
        peak = in_own_process(traced_bytes, url, traced, warm_up)
    show(f"resident size, {events:,} events", f"{grown / 1024:+,.0f} KiB", "under 5,120 KiB")
    show(f"peak of tracemalloc, {traced:,} events", f"{peak / 1024:+,.0f} KiB")


def grown_bytes(url: str, events: int, warm_up: int) -> int:
    """Return by how much the process was larger than after the warm-up, at most."""
    process, sizes = psutil.Process(), []

    def on_log(log: LogContext) -> None:
        if log.step % warm_up == 0:
            sizes.append(process.memory_info().rss)

    attach(url, f"log.{events}.{PER_CHUNK[0]}", on_log).wait(check=True)
    sizes.append(process.memory_info().rss)
    return int(max(sizes[1:])) - int(sizes[0])


def traced_bytes(url: str, events: int, warm_up: int) -> int:
    """Return how much more Python had allocated than after the warm-up, at most."""
    before = 0

    def on_log(log: LogContext) -> None:
        nonlocal before
        if log.step == warm_up:
            gc.collect()
            before = tracemalloc.get_traced_memory()[0]
            tracemalloc.reset_peak()

    tracemalloc.start()
    attach(url, f"log.{events}.{PER_CHUNK[0]}", on_log).wait(check=True)
    return tracemalloc.get_traced_memory()[1] - before


def frames(scale: Scale) -> None:
    sizes = [scale.of(mebibytes * MIB, at_least=64 * 1024) - 2 * 1024 for mebibytes in (4, 8, 16)]
    head("one large event in pieces of 1 KiB")
    with serving() as url:
        for form, name in (("line", "one data line"), ("lines", "data lines of one number")):
            took = [in_own_process(frame_seconds, url, size, form) for size in sizes]
            for size, seconds in zip(sizes, took, strict=True):
                goal = f"{size / sizes[0]:.1f}, as the size"
                show(f"{size / MIB:.1f} MiB, {name}", f"{1000 * seconds:.0f} ms", goal, f"{seconds / took[0]:.1f}")


def frame_seconds(url: str, size: int, form: str) -> float:
    """Return the seconds between the event before a large one and the large one, the best of some rounds."""
    times: list[float] = []
    for _ in range(FRAME_ROUNDS):
        attach(url, f"frame.{size}.{form}", lambda _: times.append(time.perf_counter())).wait(check=True)
    return min(end - begin for begin, end in zip(times[::2], times[1::2], strict=True))


def aborting(scale: Scale) -> None:
    times = scale.of(200, at_least=5)
    head(f"from abort_event.set() to Aborted, {times} times")
    with serving() as url:
        for kind, name in (("idle", "on an idle stream"), ("short", "in back-off")):
            late_ms = in_own_process(abort_ms, url, kind, times)
            show(f"{name}, median", f"{statistics.median(late_ms):.3f} ms", "under 1 ms")
            show(f"{name}, 99th percentile", f"{percentile(late_ms, 0.99):.3f} ms", "under 5 ms")


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def abort_ms(url: str, kind: str, times: int) -> list[float]:
    """Return the milliseconds from setting the event to the exception, each time."""
    client = CloudApiClient(url, token="bench")
    return [one_abort_ms(url, kind, client) for _ in range(times)]


def one_abort_ms(url: str, kind: str, client: CloudApiClient) -> float:
    abort, heard, raised_at = threading.Event(), threading.Event(), 0.0
    policy = ReconnectPolicy(base_delay=60)
    trainer = attach(url, kind, lambda _: heard.set(), client=client, abort_event=abort, reconnect=policy)

    def wait() -> None:
        nonlocal raised_at
        try:
            trainer.wait()
        except Aborted:
            raised_at = time.perf_counter()

    waiting = threading.Thread(target=wait)
    waiting.start()
    heard.wait(PATIENCE_S)
    threading.Event().wait(SETTLING_S)  # until it reads again, or has found the end and is in back-off
    set_at = time.perf_counter()
    abort.set()
    waiting.join()
    assert raised_at, "it ended in another way"
    return 1000 * (raised_at - set_at)


def many(scale: Scale) -> None:
    trainers, idle_s = scale.of(500, at_least=3), scale.of(20, at_least=1)
    head(f"{trainers} waiting trainers in one process")
    with serving() as url:
        seen = in_own_process(crowd, url, trainers, EARLY, idle_s)
    show(f"resident size of each, over the first, after {EARLY}", f"{seen.bytes_each / 1024:.0f} KiB", "under 100 KiB")
    show(f"share of a core, idle for {idle_s} s", f"{100 * seen.idle_share:.2f} %", "under 2 %")
    show("trainers with every event, once", f"{seen.complete}", f"{trainers}")
    with serving() as url:
        seen = in_own_process(crowd, url, trainers, LATE, 1)
    show(f"resident size of each, over the first, after {LATE:,}", f"{seen.bytes_each / 1024:.0f} KiB", "under 100 KiB")
    show("trainers with every event, once", f"{seen.complete}", f"{trainers}")


@attrs.frozen
class Crowd:
    """What was seen of many trainers in one process."""

    bytes_each: float
    idle_share: float
    complete: int


class Listener:
    """One trainer that waits on a thread of its own, with an abort event of its own.

    Attributes:
        thread: what it waits on.
        heard: events so far, each of which was the next one; -1 after any other.
        ready: set when it has heard all that there is to hear for now.
    """

    def __init__(self, url: str, before: int) -> None:
        self._before = before
        self.thread = threading.Thread(target=self._wait, args=(url, f"gated.{before}.{REMAINING}"))
        self.heard = 0
        self.ready = threading.Event()

    def _wait(self, url: str, job_id: str) -> None:
        attach(url, job_id, self._on_log, abort_event=threading.Event()).wait(check=True)

    def _on_log(self, log: LogContext) -> None:
        self.heard = log.step if log.step == self.heard + 1 else -1
        if log.step == self._before:
            self.ready.set()


def crowd(url: str, trainers: int, before: int, idle_s: float) -> Crowd:
    """Let many trainers wait for idle jobs, look at the process, then let the jobs end."""
    listeners = [Listener(url, before) for _ in range(trainers)]
    process = psutil.Process()
    start(listeners[:1])
    first = process.memory_info().rss
    start(listeners[1:])
    grown = process.memory_info().rss - first
    busy_s = time.process_time()
    threading.Event().wait(idle_s)
    busy_s = time.process_time() - busy_s
    requests.post(f"{url}/release", timeout=PATIENCE_S)
    for listener in listeners:
        listener.thread.join(PATIENCE_S)
    complete = sum(listener.heard == before + REMAINING for listener in listeners)
    return Crowd(grown / max(1, trainers - 1), busy_s / idle_s, complete)


def start(listeners: list[Listener]) -> None:
    """Let them wait, one after the other: what many need at once to read is not what they hold."""
    for listener in listeners:
        listener.thread.start()
        listener.ready.wait(PATIENCE_S)
    threading.Event().wait(1.0)  # for the last one to read on


PARTS: dict[str, Callable[[Scale], None]] = {
    "throughput": throughput,
    "memory": memory,
    "frame": frames,
    "abort": aborting,
    "many": many,
}


# How they are run


@attrs.frozen
class Scale:
    """How much of everything there is, and how often it is repeated."""

    factor: float
    rounds: int

    def of(self, count: int, *, at_least: int) -> int:
        """Return a count, scaled."""
        return max(at_least, round(count * self.factor))


@contextlib.contextmanager
def serving() -> Iterator[str]:
    """Run a server; give its address, known to the folder of the trainers' project."""
    command = [sys.executable, str(Path(__file__).with_name("streamserver.py"))]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        url = f"http://127.0.0.1:{int(process.stdout.readline())}"
        write_state(ProjectState("bench", "bench", "bench"), Path.home(), host=host_key(url))
        try:
            yield url
        finally:
            process.stdin.close()


def own_process() -> ProcessPoolExecutor:
    return ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))


def in_own_process(function: Callable[..., Any], *arguments: Any) -> Any:
    with own_process() as pool:
        return pool.submit(function, *arguments).result()


def head(title: str) -> None:
    click.echo(f"\n{title:48} {'measured':>16} {'ratio':>8}  goal")


def show(name: str, value: str, goal: str = "", ratio: str = "") -> None:
    click.echo(f"{name:48} {value:>16} {ratio:>8}  {goal}".rstrip())


@click.command(help=__doc__)
@click.option("--only", type=click.Choice(list(PARTS)), multiple=True, help="Run this part; may be given again.")
@click.option("--scale", default=1.0, show_default=True, help="A factor for all counts and sizes.")
@click.option("--rounds", default=7, show_default=True, help="How often each contestant has its turn.")
def main(only: tuple[str, ...], scale: float, rounds: int) -> None:
    with tempfile.TemporaryDirectory() as home:
        os.environ.update(HOME=home, NO_PROXY="127.0.0.1")  # the processes inherit them
        for name, part in PARTS.items():
            if not only or name in only:
                part(Scale(scale, rounds))


if __name__ == "__main__":
    main()
