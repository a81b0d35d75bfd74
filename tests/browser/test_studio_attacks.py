"""Pages of other origins against a real Studio, in one browser: none of them reads anything, or starts anything."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import attrs
import pytest
from selenium import webdriver

from tests.support.eventually import eventually
from tests.support.studio import StudioProcess
from tests.support.studio_local import LocalStudio, local_studio

# What a page may try, one attempt a name. An attempt that gets anywhere returns what it got; all others return null.
ATTEMPTS = """
    const [studio, token, job, done] = arguments;
    const events = `${studio}/api/jobs/${job}/events`;
    const header = {"X-Arkor-Studio-Token": token};
    const json = {...header, "Content-Type": "application/json"};
    const read = async (path, options) => `read ${(await (await fetch(studio + path, options)).text()).length}`;
    const opaque = async (path, options) => {
        const answer = await fetch(studio + path, {mode: "no-cors", ...options});
        return answer.type === "opaque" ? null : answer.type;
    };
    const loaded = (tag, attributes) => new Promise((resolve) => {
        const element = Object.assign(document.createElement(tag), attributes);
        element.onload = () => resolve(`loaded ${tag}`);
        element.onerror = () => resolve(null);
        document.head.append(element);
    });
    const heard = (url) => new Promise((resolve) => {
        const source = new EventSource(url);
        source.onopen = source.onmessage = () => resolve("heard");
        source.addEventListener("training.log", () => resolve("heard"));
        source.onerror = () => { source.close(); resolve(null); };
    });
    const talked = (url) => new Promise((resolve) => {
        const socket = new WebSocket(url);
        socket.onopen = () => resolve("talked");
        socket.onerror = () => resolve(null);
    });
    const text = {method: "POST", body: "{}", headers: {"Content-Type": "text/plain"}};
    const beacon = new Blob(["{}"], {type: "text/plain"});
    const attempts = {
        page: () => read("/"),
        api: () => read("/api/jobs"),
        header: () => read("/api/jobs", {headers: header}),
        cookies: () => read("/api/jobs", {headers: header, credentials: "include"}),
        query: () => read(`/api/jobs?token=${token}`),
        start: () => read("/api/train", {method: "POST", body: "{}", headers: json}),
        "start as text": () => read("/api/train", text),
        "start unread": () => opaque("/api/train", text),
        "start unread, with the token in the address": () => opaque(`/api/train?token=${token}`, text),
        "start as a beacon": async () => (navigator.sendBeacon(`${studio}/api/train`, beacon), null),
        "cancel unread": () => opaque(`/api/jobs/${job}/cancel`, text),
        events: () => heard(events),
        "events with the token": () => heard(`${events}?token=${token}`),
        socket: () => talked(`${studio.replace("http", "ws")}/api/train`),
        "jobs as a script": () => loaded("script", {src: `${studio}/api/jobs`}),
        "page as a script": () => loaded("script", {src: `${studio}/`}),
        "its own script": () => loaded("script", {src: `${studio}/static/api.js`, type: "module"}),
        "its plain script": () => loaded("script", {src: `${studio}/static/plotly.min.js`}),
        style: () => loaded("link", {href: `${studio}/static/studio.css`, rel: "stylesheet"}),
        picture: () => loaded("img", {src: `${studio}/static/favicon.svg`}),
        module: async () => `imported ${Object.keys(await import(`${studio}/static/api.js`))}`,
    };
    Promise.all(Object.entries(attempts).map(async ([name, attempt]) =>
        [name, await attempt().catch(() => null)])).then((all) => done(Object.fromEntries(all)));
"""


@attrs.frozen
class Target:
    """A Studio with something to steal: a job that runs, and a trainer that leaves a trace where it is imported."""

    local: LocalStudio
    job_id: str
    trace: Path

    @property
    def studio(self) -> StudioProcess:
        return self.local.studio

    def is_untouched(self) -> bool:
        """Whether nobody has started a run, looked at the trainer, or cancelled the job."""
        run = self.studio.get("/api/train").json()
        status = self.local.client.job(self.job_id)["status"]
        return run == {"running": False, "run": None} and status == "running" and not self.trace.exists()


class Elsewhere(ThreadingHTTPServer):
    """Another program of this machine, with a page of its own at every address."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _OtherPage)
        self.port = int(self.server_address[1])
        threading.Thread(target=self.serve_forever, args=(0.01,), name="elsewhere", daemon=True).start()

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()


class _OtherPage(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<!doctype html><title>Elsewhere</title><link rel=icon href=data:,><p>Elsewhere")

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    folder = tmp_path_factory.mktemp("target")
    with local_studio(folder) as local:
        local.write_entry("stolen", f"open({str(folder / 'trace')!r}, 'w').close()")
        job_id = local.submit("gated:2")
        local.backend.allow(job_id, 1)
        path = f"/api/jobs/{job_id}/metrics"
        eventually(lambda: local.studio.get(path).json()["total"] == 1, "an event to steal")
        yield Target(local, job_id, folder / "trace")


@pytest.fixture(params=["127.0.0.1", "localhost"])
def attacker(request: pytest.FixtureRequest, chromium: webdriver.Chrome, target: Target) -> Iterator[webdriver.Chrome]:
    """The browser on a page of another port, with the names that Studio answers to, too."""
    with Elsewhere() as elsewhere:
        chromium.get(f"http://{request.param}:{elsewhere.port}/")
        assert chromium.title == "Elsewhere"
        yield chromium
        chromium.get("about:blank")
        chromium.get_log("browser")  # type: ignore[no-untyped-call]  # full of refusals
    assert target.is_untouched()


def test_no_request_of_another_page_gets_anywhere(attacker: webdriver.Chrome, target: Target) -> None:
    """Fetches, streams, sockets, scripts, styles and pictures, also of one who knows the token."""
    got = attacker.execute_async_script(ATTEMPTS, target.studio.url, target.studio.token, target.job_id)
    assert len(got) == 21
    assert {name: what for name, what in got.items() if what is not None} == {}


def test_no_form_of_another_page_starts_a_run(attacker: webdriver.Chrome, target: Target) -> None:
    """The answer to what a form sends is a refusal, whatever it is sent as."""
    script = """
        const [url, enctype] = arguments;
        const form = Object.assign(document.createElement("form"), {method: "POST", action: url, enctype});
        form.append(Object.assign(document.createElement("input"), {name: '{"x":"', value: '"}'}));
        document.body.append(form);
        form.submit();
    """
    home = attacker.current_url
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data"):
        attacker.get(home)
        attacker.execute_script(script, f"{target.studio.url}/api/train", kind)
        eventually(lambda: "The token of this launch of Studio is missing" in attacker.page_source, "a refusal")


def test_no_page_has_it_in_a_frame(attacker: webdriver.Chrome, target: Target) -> None:
    """The browser shows an error of its own in the frame's place."""
    script = """
        const [url, done] = arguments;
        const frame = document.createElement("iframe");
        frame.onload = () => done();
        frame.src = url;
        document.body.append(frame);
    """
    attacker.execute_async_script(script, f"{target.studio.url}/")
    attacker.switch_to.frame(0)
    assert attacker.execute_script("return document.URL").startswith("chrome-error://")
    attacker.switch_to.default_content()


def test_no_page_reads_a_window_of_it(attacker: webdriver.Chrome, target: Target) -> None:
    """Whoever opens it holds nothing of it: no look into it, and nobody hears what is sent there."""
    mine = attacker.current_window_handle
    attacker.execute_script("window.opened = window.open(arguments[0])", f"{target.studio.url}/#/jobs")
    [other] = set(attacker.window_handles) - {mine}
    try:
        attacker.switch_to.window(other)
        eventually(lambda: attacker.title == "Jobs · arkor Studio", "Studio in a window")
        attacker.switch_to.window(mine)
        for look in ("document.title", "localStorage.length", "location.href", "run"):
            script = f"try {{ return [window.opened.{look}]; }} catch ({{name}}) {{ return name; }}"
            assert attacker.execute_script(script) == "SecurityError", look
        assert attacker.execute_script("return [window.opened.closed, window.opened.length]") == [True, 0]
        attacker.execute_script("window.opened.postMessage({dryRun: false}, '*')")
    finally:
        attacker.switch_to.window(other)
        attacker.close()
        attacker.switch_to.window(mine)


def test_a_name_that_leads_here_is_refused(chromium: webdriver.Chrome, target: Target) -> None:
    """DNS rebinding: a page whose name now points at this machine is answered with a refusal, token or not."""
    url = f"http://evil.test:{target.studio.port}"
    chromium.get(f"{url}/")
    assert f"Studio answers only to 127.0.0.1:{target.studio.port} and" in chromium.page_source
    script = """
        const [token, done] = arguments;
        const call = (path, options) => fetch(path, {headers: {"X-Arkor-Studio-Token": token}, ...options});
        Promise.all([call("/"), call("/api/jobs"), call("/static/api.js"), call("/api/train", {method: "POST"})])
            .then((answers) => done(answers.map(({status}) => status)));
    """
    assert chromium.execute_async_script(script, target.studio.token) == [403, 403, 403, 403]
    chromium.get("about:blank")
    chromium.get_log("browser")  # type: ignore[no-untyped-call]
    assert target.is_untouched()


def test_its_own_page_reads_what_the_others_do_not(chromium: webdriver.Chrome, target: Target) -> None:
    """The same calls work from where they belong: what was refused above is there."""
    chromium.get(f"{target.studio.url}/static/favicon.svg")
    script = """
        const [token, job, done] = arguments;
        const headers = {"X-Arkor-Studio-Token": token};
        const source = new EventSource(`/api/jobs/${job}/events?token=${token}`);
        source.addEventListener("training.log", async () => {
            source.close();
            done(await (await fetch("/api/jobs", {headers})).json());
        });
    """
    told = chromium.execute_async_script(script, target.studio.token, target.job_id)
    assert [job["id"] for job in told["jobs"]] == [target.job_id]
    chromium.get("about:blank")
