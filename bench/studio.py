"""Studio's page in a real Chromium, before a real ``arkor dev``: ``python bench/studio.py``.

The backend is a scripted one; a long job is looked at on a real self-hosted backend too. It needs the ``local`` and
``studio`` extras, selenium, chromium and chromedriver, two quiet cores and about two minutes. ``--only`` runs one part,
``--scale 0.01`` shows in seconds that it works.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import random
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import attrs
import click
import psutil
import requests
from longjob import self_hosted
from selenium import webdriver
from selenium.common.exceptions import TimeoutException

from arkor.auth.identity import host_key
from arkor.client.project import ProjectState, write_state

PATIENCE_S = 60.0
TOKEN = "bench"
BLOCK = 1000
MIB = 1024 * 1024
AT = "2026-01-31T09:30:09.125Z"
ENTRY = """import arkor
trainer = arkor.create_trainer(name="bench", model="base", dataset=arkor.HuggingFaceDataset("a/b"))
arkor.create_arkor(trainer=trainer)
"""
OPTIONS = ("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking")
# Notes, in milliseconds since the navigation, when something is first there, and when each step came into the chart.
WATCH = """
    window.seen = {};
    const places = {button: '.run-controls .button-primary', rows: '.short-row', chart: '.plot .main-svg'};
    const label = () =>
        /Last: step (\\d+)/.exec(document.querySelector('.plot')?.getAttribute('aria-label') ?? '')?.[1];
    (function look() {
        for (const [name, place] of Object.entries(places))
            if (!(name in seen) && document.querySelector(place)?.checkVisibility()) seen[name] = performance.now();
        const step = label();
        if (step !== undefined && !(`step ${step}` in seen)) {
            seen[`step ${step}`] = performance.now();
            seen[`at ${step}`] = performance.timeOrigin + performance.now();
        }
        requestAnimationFrame(look);
    })();
"""


# Waits inside the page: to ask it again and again would take a third of a core.
AWAIT = """
    const [until, done] = arguments;
    (function look() {
        if (until.every((name) => name in seen)) done(seen);
        else setTimeout(look, 50);
    })();
"""


# When the browser began to ask for a job's figures, and for Plotly, and when it had the answer.
FETCHED = """
    return ['/metrics', '/plotly.min.js'].map((part) => {
        const [{startTime, responseEnd}] =
            performance.getEntriesByType('resource').filter(({name}) => new URL(name).pathname.endsWith(part));
        return [startTime, responseEnd];
    });
"""
PROGRAMS = {"Studio": "arkor.cli dev", "backend": "arkor.backend", "browser": "chrom"}  # and how to know each


class Backend:
    """A backend with one running job, ``job_live``, and one that has ended, ``job_<events>``, for any number."""

    def __init__(self) -> None:
        self.sent_at: list[float] = []  # seconds since 1970, by step
        self._changed = threading.Condition()
        backend = self

        class Handler(BaseHTTPRequestHandler):
            disable_nagle_algorithm = True  # as the real backends: head and body are two packets
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                """Answer what Studio asks."""
                path = self.path.partition("?")[0].split("/")
                if path[-1] == "stream":
                    self._stream(path[3], int(self.headers.get("Last-Event-ID") or 0))
                elif path[-1].startswith("job_"):
                    self._answer({"job": job(path[-1])})
                elif path[-1] == "jobs":
                    self._answer({"jobs": [job("job_live"), *(job(f"job_{number}") for number in range(20))]})
                elif path[-1] == "me":
                    self._answer({"user": {}, "orgs": [{"id": "bench", "slug": "bench", "name": "bench"}]})
                else:
                    self._answer({"error": "There is no such call."}, 404)

            def _answer(self, body: dict[str, Any], status: int = 200) -> None:
                data = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def _stream(self, job_id: str, after: int) -> None:
                self.send_response(200)
                self.send_header("Content-Type", "text/event-stream")
                self.send_header("Connection", "close")
                self.end_headers()
                self.close_connection = True
                with contextlib.suppress(OSError):
                    for piece in backend.live(after) if job_id == "job_live" else ended(int(job_id[4:]), after):
                        self.wfile.write(piece)

            def log_message(self, format: str, *args: Any) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def log(self) -> None:
        """Let the running job log a step."""
        with self._changed:
            self.sent_at.append(time.time())
            self._changed.notify_all()

    def live(self, after: int) -> Iterator[bytes]:
        """Yield the running job's events as they happen."""
        yield b"event: ping\ndata: {}\n\n"
        while True:
            with self._changed:
                while len(self.sent_at) == after and self._changed.wait(5.0):
                    pass
                last = len(self.sent_at)
            yield b"".join(map(log_frame, range(after + 1, last + 1))) or b"event: ping\ndata: {}\n\n"
            after = last


def job(job_id: str) -> dict[str, Any]:
    status = "running" if job_id == "job_live" else "completed"
    config = {"model": "base", "datasetSource": {"type": "huggingface", "name": "a/b"}}
    return {
        "id": job_id,
        "orgId": "bench",
        "projectId": "bench",
        "name": job_id,
        "status": status,
        "config": config,
        "createdAt": AT,
        "startedAt": AT,
    }


def ended(events: int, after: int) -> Iterator[bytes]:
    """Yield all events of a job that has ended."""
    for first in range(after + 1, events + 1, BLOCK):
        yield block(first, min(first + BLOCK, events + 1))
    yield frame(events + 1, type="training.completed") + b"event: end\ndata: {}\n\n"


@functools.cache
def block(first: int, end: int) -> bytes:
    """Return log events, kept: what they cost to make is none of Studio's time."""
    return b"".join(map(log_frame, range(first, end)))


def log_frame(step: int) -> bytes:
    loss = 2.5 / (1 + step / 1000) + random.random() / 10
    return frame(step, type="training.log", step=step, loss=loss, learningRate=2e-4, samplesPerSecond=11.5)


def frame(number: int, **body: Any) -> bytes:
    data = json.dumps({"jobId": "job", "timestamp": AT, **body})
    return f"id: {number}\nevent: {body['type']}\ndata: {data}\n\n".encode()


@attrs.frozen
class Bench:
    """What the parts measure with."""

    backend: Backend
    url: str
    token: str
    browser: webdriver.Chrome

    def open(self, route: str, *until: str) -> dict[str, float]:
        """Open a view in a page of its own; return when what was waited for was there."""
        self.browser.get("about:blank")
        self.browser.get(f"{self.url}/{route}")
        return self.wait(*until)

    def wait(self, *until: str) -> dict[str, float]:
        """Wait for what the page is to note; return all that it has noted."""
        try:
            return dict(self.browser.execute_async_script(AWAIT, list(until)))
        except TimeoutException:
            seen = self.browser.execute_script("return window.seen")
            raise click.ClickException(f"not within {PATIENCE_S:.0f} s: {until}, only {seen}") from None

    def get(self, path: str) -> requests.Response:
        """Ask Studio's server."""
        headers = {"X-Arkor-Studio-Token": self.token}
        return requests.get(self.url + path, headers=headers, timeout=PATIENCE_S)


def paint(bench: Bench, scale: float) -> None:
    head("from the address to the page (median)")
    rounds = max(3, round(7 * scale))
    script = "return performance.getEntriesByName('first-contentful-paint')[0].startTime"
    homes, paints, charts = [], [], []
    for _ in range(rounds):
        homes.append(bench.open("#/", "button", "rows")["rows"])
        paints.append(float(bench.browser.execute_script(script)))
        charts.append(bench.open("#/jobs/job_1000", "chart")["chart"])
    show("Home: first paint", f"{statistics.median(paints):.0f} ms")
    show("Home: usable, with its jobs", f"{statistics.median(homes):.0f} ms", "under 1,000 ms")
    show("a job of 1,000 events: chart drawn", f"{statistics.median(charts):.0f} ms")


def latency(bench: Bench, scale: float) -> None:
    events = max(5, round(150 * scale))
    head(f"event at the backend until it is in the chart, {events} times")
    bench.backend.log()
    bench.open("#/jobs/job_live", "chart", f"step {len(bench.backend.sent_at)}")
    first = len(bench.backend.sent_at) + 1
    for _ in range(events):
        threading.Event().wait(random.uniform(0.15, 0.35))
        bench.backend.log()
    seen = bench.wait(f"step {first + events - 1}")
    sent = bench.backend.sent_at
    late = sorted(
        seen[f"at {step}"] - 1000 * sent[step - 1] for step in range(first, first + events) if f"at {step}" in seen
    )
    show("median", f"{statistics.median(late):.0f} ms")
    show("95th percentile", f"{late[int(0.95 * len(late))]:.0f} ms", "under 150 ms")
    show("steps that were drawn together with a later one", f"{events - len(late)}")


def long(bench: Bench, scale: float) -> None:
    events = max(1000, round(100_000 * scale))
    for _ in ended(events, 0):
        pass
    rounds = max(1, round(5 * scale))
    with (
        tempfile.TemporaryDirectory() as folder,
        self_hosted(Path(folder) / "data", events, TOKEN, "bench") as self_hosted_url,
    ):
        looks(bench, self_hosted_url, "on a self-hosted backend", events, rounds)
    looks(bench, bench.backend.url, "on one that has a stream alone", events, rounds)
    head(f"{events:,} events while one looks")
    before = len(bench.backend.sent_at)
    bench.backend.log()
    bench.open("#/jobs/job_live", "chart", f"step {before + 1}")
    began = time.perf_counter()
    for _ in range(events):
        bench.backend.log()
    bench.wait(f"step {before + 1 + events}")
    show("as many come while one looks", f"{time.perf_counter() - began:.1f} s")
    show("memory of the page after them", f"{heap(bench.browser) / MIB:.0f} MiB", "under 150 MiB")


@attrs.frozen
class Look:
    """What it took to open a job, in milliseconds, and seconds of processor by program."""

    opened: float
    asked: float
    answered: float
    drawn: float
    script: float
    processor: dict[str, float]

    @classmethod
    def at(cls, bench: Bench, events: int) -> Look:
        """Open a job in a page of its own."""
        before = processor()
        opened = bench.open(f"#/jobs/job_{events}", "chart", f"step {events}")[f"step {events}"]
        used = {name: seconds - before[name] for name, seconds in processor().items()}
        (asked, answered), (began, ended) = bench.browser.execute_script(FETCHED)
        return cls(opened, asked, answered - asked, opened - answered, ended - began, used)


def looks(bench: Bench, backend_url: str, where: str, events: int, rounds: int) -> None:
    """Look at a job twice, in each round with a Studio that knows nothing and a browser that has nothing of it."""
    first, second = [], []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as home, studio(backend_url, Path(home)) as (url, token):
            one = attrs.evolve(bench, url=url, token=token)
            first.append(Look.at(one, events))
            second.append(Look.at(one, events))
    load = os.getloadavg()[0]
    head(f"a job of {events:,} events {where}, medians of {rounds}; load {load:.1f}")
    show_look("first look", first)
    show_look("second look", second)
    show("memory of the page", f"{heap(bench.browser) / MIB:.0f} MiB", "under 150 MiB")


def show_look(name: str, found: list[Look]) -> None:
    def median(part: str) -> str:
        return f"{statistics.median(getattr(look, part) for look in found):,.0f} ms"

    show(f"opens, {name}", median("opened"), "under 2,000 ms")
    show("  until Studio is asked", median("asked"))
    show("  until it has answered", median("answered"))
    show("  until that is drawn", median("drawn"))
    show("  Plotly's script, fetched meanwhile", median("script"))
    for program in PROGRAMS:
        show(f"  processor: {program}", f"{statistics.median(look.processor[program] for look in found):.2f} s")


def processor() -> dict[str, float]:
    """Return the seconds of processor that each program has used so far."""
    used = dict.fromkeys(PROGRAMS, 0.0)
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            command, times = " ".join(process.cmdline()), process.cpu_times()
            for name, mark in PROGRAMS.items():
                used[name] += (times.user + times.system) * (mark in command)
    return used


def heap(browser: webdriver.Chrome) -> float:
    """Return the bytes of JavaScript's heap that are in use, after a collection."""
    for command in ("HeapProfiler.collectGarbage", "Performance.enable"):
        browser.execute_cdp_cmd(command, {})
    metrics = browser.execute_cdp_cmd("Performance.getMetrics", {})["metrics"]
    return float(next(metric["value"] for metric in metrics if metric["name"] == "JSHeapUsedSize"))


def streams(bench: Bench, scale: float) -> None:
    many = max(2, min(50, round(50 * scale)))
    head(f"answers while {many} event streams are open")
    with contextlib.ExitStack() as stack:
        for _ in range(many):
            url = f"{bench.url}/api/jobs/job_live/events?token={bench.token}&after={len(bench.backend.sent_at)}"
            answer = stack.enter_context(requests.get(url, stream=True, timeout=PATIENCE_S))
            answer.raise_for_status()
        for name, path in (("the page", "/"), ("a job", "/api/jobs/job_live"), ("the list of jobs", "/api/jobs")):
            took = sorted(timed(lambda path=path: bench.get(path).raise_for_status()) for _ in range(20))  # type: ignore[misc]
            show(f"{name}, median", f"{statistics.median(took):.0f} ms", "under 100 ms")
            show(f"{name}, slowest of 20", f"{took[-1]:.0f} ms")


def timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return 1000 * (time.perf_counter() - began)


PARTS: dict[str, Callable[[Bench, float], None]] = {
    "paint": paint,
    "latency": latency,
    "long": long,
    "streams": streams,
}


@contextlib.contextmanager
def studio(backend_url: str, home: Path) -> Iterator[tuple[str, str]]:
    """Run ``arkor dev`` in a project; give its address and its token."""
    entry = home / "src" / "arkor" / "index.py"
    entry.parent.mkdir(parents=True)
    entry.write_text(ENTRY, encoding="utf-8")
    write_state(ProjectState("bench", "bench", "bench"), home, host=host_key(backend_url))
    environment = {**os.environ, "HOME": str(home), "ARKOR_CLOUD_API_URL": backend_url, "ARKOR_TOKEN": TOKEN}
    command = [sys.executable, "-m", "arkor.cli", "dev", "--port", "0"]
    with subprocess.Popen(command, cwd=home, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            url = re.sub(r"^Studio: (\S+)/\n", r"\1", process.stdout.readline())
            page = requests.get(f"{url}/", timeout=PATIENCE_S).text
            token = re.search(r'name="arkor-studio-token" content="([^"]+)"', page)
            assert token is not None
            yield url, token[1]
        finally:
            process.terminate()


@contextlib.contextmanager
def chromium() -> Iterator[webdriver.Chrome]:
    options = webdriver.ChromeOptions()
    for option in OPTIONS:
        options.add_argument(option)
    driver, options.binary_location = shutil.which("chromedriver"), shutil.which("chromium") or ""
    browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(executable_path=driver))
    try:
        browser.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": WATCH})
        browser.set_window_size(1280, 900)
        browser.set_script_timeout(PATIENCE_S)
        yield browser
    finally:
        browser.quit()


def head(title: str) -> None:
    click.echo(f"\n{title:56} {'measured':>12}  goal")


def show(name: str, value: str, goal: str = "") -> None:
    click.echo(f"{name:56} {value:>12}  {goal}".rstrip())


@click.command(help=__doc__)
@click.option("--only", type=click.Choice(list(PARTS)), multiple=True, help="Run this part; may be given again.")
@click.option("--scale", default=1.0, show_default=True, help="A factor for all counts.")
def main(only: tuple[str, ...], scale: float) -> None:
    os.environ["NO_PROXY"] = "127.0.0.1"
    backend = Backend()
    with (
        tempfile.TemporaryDirectory() as home,
        studio(backend.url, Path(home)) as (url, token),
        chromium() as browser,
    ):
        for name, part in PARTS.items():
            if not only or name in only:
                part(Bench(backend, url, token, browser), scale)


if __name__ == "__main__":
    main()
