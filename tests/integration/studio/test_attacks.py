"""Another page, or another program's half-good request, against a real Studio, byte by byte."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from arkor.studio.guard import HEADERS
from tests.support.studio import TIMEOUT_S, StudioProcess, write_entry

# Spelt out once more: nobody takes one of them away by accident.
POLICY = {
    **dict.fromkeys(("default-src", "base-uri", "form-action", "frame-ancestors"), "'none'"),
    **dict.fromkeys(("script-src", "connect-src", "font-src"), "'self'"),
    "img-src": "'self' data: blob:",
}
OTHERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StudioProcess]:
    """A Studio whose backend is nowhere; nothing here gets as far as that."""
    folder = tmp_path_factory.mktemp("attacked")
    write_entry(project=folder)
    environment = {"HOME": str(folder), "ARKOR_CLOUD_API_URL": "http://127.0.0.1:9"}
    with StudioProcess(project=folder, environment=environment) as running:
        yield running


def _parsed(received: bytes) -> tuple[int, dict[str, str], bytes]:
    head, _, body = received.partition(b"\r\n\r\n")
    line, *fields = head.decode("latin-1").split("\r\n")
    return (
        int(line.split(" ")[1]),
        {name.lower(): value for name, _, value in (f.partition(": ") for f in fields)},
        body,
    )


def _ask(
    studio: StudioProcess, target: str, *fields: str, method: str = "GET", version: str = "1.1"
) -> tuple[int, dict[str, str], bytes]:
    lines = [f"{method} {target} HTTP/{version}", "Connection: close", *fields]
    return _parsed(studio.raw("\r\n".join(lines) + "\r\n\r\n"))


def _is_protected(headers: dict[str, str]) -> bool:
    return all(headers.get(name.lower()) == value for name, value in HEADERS)


@pytest.mark.parametrize("target", ["/", "/static/plotly.min.js", "/api/train", "/nowhere", "/download/x"])
@pytest.mark.parametrize(
    "host",
    [
        None,
        "Host: ",
        "Host: evil.example",
        "Host: evil.example:{port}",
        "Host: 127.0.0.1.evil.example:{port}",
        "Host: localhost.evil.example:{port}",
        "Host: 127.0.0.1",
        "Host: localhost:1",
        "Host: localhost:{port}.evil.example",
        "Host: [::1]:{port}",
        "Host: 127.1:{port}",
        "Host: 0.0.0.0:{port}",
        "Host: user@127.0.0.1:{port}",
        "Host: 127.0.0.1:{port}, evil.example",
        "Host: 127.0.0.1:{port}\r\nHost: evil.example",
        "Host: evil.example\r\nHost: 127.0.0.1:{port}",
        "Host: 127.0.0.1:{port}\r\nHost: 127.0.0.1:{port}",
    ],
)
def test_a_foreign_host_is_refused_everywhere(studio: StudioProcess, target: str, host: str | None) -> None:
    """Also on the page, on static files and where there is nothing; the answer has every header, and no token."""
    fields = [] if host is None else [host.format(port=studio.port)]
    status, headers, body = _ask(studio, target, f"X-Arkor-Studio-Token: {studio.token}", *fields)
    assert status == 403
    assert _is_protected(headers)
    assert headers["cache-control"] == "no-store"
    names = f"127.0.0.1:{studio.port} and localhost:{studio.port}"
    assert json.loads(body) == {"error": f"Studio answers only to {names}."}


def test_a_request_of_http_1_0_without_a_host_is_refused(studio: StudioProcess) -> None:
    """It is allowed to leave it out, and gets nothing then."""
    assert _ask(studio, "/", version="1.0")[0] == 403


@pytest.mark.parametrize("target", ["http://evil.example/", "http://127.0.0.1:{port}/", "//evil.example/", "*"])
def test_a_target_with_a_host_of_its_own_is_refused(studio: StudioProcess, target: str) -> None:
    """Such a request names two hosts, and the Host header is not the one that counts."""
    status, headers, body = _ask(studio, target.format(port=studio.port), f"Host: 127.0.0.1:{studio.port}")
    assert status in (400, 403, 404)
    assert _is_protected(headers)
    assert studio.token.encode() not in body


@pytest.mark.parametrize(
    "target",
    ["/api/train", "/api/manifest", "/api/train/log", "/api", "/api/", "/api/nowhere", "//api/train", "/%61pi/train"],
)
@pytest.mark.parametrize(
    "field", ["X-Nothing: 1", "X-Arkor-Studio-Token: ", "X-Arkor-Studio-Token: wrong", "Cookie: token={}"]
)
def test_the_api_wants_the_token(studio: StudioProcess, target: str, field: str) -> None:
    """Whatever way its path is spelt, and whether there is such a call or not."""
    status, headers, body = _ask(studio, target, f"Host: 127.0.0.1:{studio.port}", field.format(studio.token))
    assert status == 403
    assert _is_protected(headers)
    assert "error" in json.loads(body)


@pytest.mark.parametrize("host", ["127.0.0.1:{}", "evil.example:{}"])
def test_a_body_without_the_token_is_not_read(studio: StudioProcess, host: str) -> None:
    """The answer comes before a byte of it; one that is too large is refused by its length, with the token too."""
    fields = (f"Host: {host.format(studio.port)}", "Content-Type: application/json", "Content-Length: 60000000000")
    status, headers, body = _ask(studio, "/api/train", *fields, method="POST")
    assert (status, _is_protected(headers)) == (403, True)
    assert "error" in json.loads(body)
    status, _, _ = _ask(studio, "/api/train", *fields, f"X-Arkor-Studio-Token: {studio.token}", method="POST")
    assert status == (403 if "evil" in host else 413)


def test_a_token_in_the_address_opens_nothing_else(studio: StudioProcess) -> None:
    """It would be in histories and logs."""
    host = f"Host: 127.0.0.1:{studio.port}"
    for method in ("GET", "POST"):
        assert _ask(studio, f"/api/train?token={studio.token}", host, method=method)[0] == 403
    assert _ask(studio, f"/api/jobs/job_1/events?token={studio.token}", host, method="POST")[0] in (403, 405)
    assert studio.get("/api/train").json()["running"] is False


@pytest.mark.parametrize("method", ["OPTIONS", "PUT", "DELETE", "PATCH", "TRACE", "CONNECT", "BREW"])
def test_other_methods_are_refused(studio: StudioProcess, method: str) -> None:
    """A browser that asks whether another page may call gets a refusal, and no word of permission."""
    fields = (f"Host: 127.0.0.1:{studio.port}", f"X-Arkor-Studio-Token: {studio.token}", "Origin: http://evil.example")
    status, headers, body = _ask(studio, "/api/train", *fields, method=method)
    assert status == 405
    assert _is_protected(headers)
    assert "error" in json.loads(body)
    assert not [name for name in headers if name.startswith("access-control")]


@pytest.mark.parametrize("path", ["/", "/static/plotly.min.js", "/api/train", "/api/nowhere", "/static/nowhere.js"])
def test_every_answer_is_protected(studio: StudioProcess, path: str) -> None:
    """The headers are on what works and on what does not; nothing permits another origin."""
    answer = studio.get(path, headers={"Origin": "http://evil.example"})
    assert set(HEADERS) <= set(answer.headers.items())
    assert not [name for name in answer.headers if name.lower().startswith("access-control")]
    policy = dict(rule.split(" ", 1) for rule in answer.headers["Content-Security-Policy"].split("; "))
    assert re.fullmatch(r"'self'( 'sha256-[^' ]{44}'){2}", policy.pop("style-src"))
    assert policy == POLICY
    assert {name: answer.headers.get(name) for name in OTHERS} == OTHERS
    assert answer.headers["Cache-Control"] == ("no-cache" if answer.ok and "static" in path else "no-store")
    assert answer.ok or "error" in answer.json()


@pytest.mark.parametrize(
    "request_text",
    [
        "GET\r\n\r\n",
        "nonsense\r\n\r\n",
        "GET / HTTP/1.1\r\nHost 127.0.0.1\r\n\r\n",
        "GET / HTTP/1.1\r\nContent-Length: x\r\n\r\n",
    ],
)
def test_what_is_no_request_gets_a_protected_answer_too(studio: StudioProcess, request_text: str) -> None:
    """The server answers it before any code of ours looks at it."""
    status, headers, body = _parsed(studio.raw(request_text))
    assert status == 400
    assert _is_protected(headers)
    assert "error" in json.loads(body)


@pytest.mark.parametrize(
    "name", ["../parts.py", "..%2fparts.py", "%2e%2e/parts.py", "/etc/passwd", "index.html", "..%5cparts.py", "x%00.js"]
)
def test_static_files_are_those_of_the_page(studio: StudioProcess, name: str) -> None:
    """Nothing outside of the folder, and not the page without its token."""
    status, headers, body = _ask(studio, f"/static/{name}", f"Host: 127.0.0.1:{studio.port}")
    assert status in (400, 403, 404), body
    assert _is_protected(headers)


@pytest.mark.parametrize("field", ["file", "entry", "path", "args", "dry_run", "__proto__"])
def test_no_field_chooses_what_is_run(studio: StudioProcess, field: str) -> None:
    """The page may start the project's trainer, and nothing else on this machine."""
    answer = studio.post("/api/train", {"dryRun": True, field: "/tmp/evil.py"})
    assert answer.status_code == 400
    assert studio.get("/api/train").json() == {"running": False, "run": None}


@pytest.mark.parametrize("body", [b"{", b"null", b"[]", b'"dryRun"', b"\xff\xfe", b"9" * 5000, b"[" * 100_000])
def test_what_is_no_json_object_starts_nothing(studio: StudioProcess, body: bytes) -> None:
    """It is refused in words, however deep it is, and the terminal says nothing of it."""
    for call in ("/api/train", "/api/inference/chat"):
        answer = studio.request("POST", call, data=body, headers={"Content-Type": "application/json"})
        assert (answer.status_code, list(answer.json())) == (400, ["error"])
    assert studio.get("/api/train").json() == {"running": False, "run": None}
    assert "Traceback" not in studio.shown


def test_the_page_of_each_launch_has_a_token_of_its_own(studio: StudioProcess) -> None:
    """32 random bytes, as text that needs no escaping."""
    assert len(studio.token) == 43
    assert studio.token.replace("-", "").replace("_", "").isalnum()


def test_other_machines_get_no_connection(studio: StudioProcess) -> None:
    """It listens on 127.0.0.1 alone, and not on another address of this machine."""
    with pytest.raises(requests.ConnectionError):
        requests.get(f"http://127.0.0.2:{studio.port}/", timeout=TIMEOUT_S)


def test_the_token_is_not_on_the_screen(studio: StudioProcess) -> None:
    """Neither is anything that would give it away in the list of processes."""
    assert studio.token not in studio.shown
    assert studio.token.encode() not in Path(f"/proc/{studio.process.pid}/cmdline").read_bytes()


def test_the_token_file_is_private(studio: StudioProcess) -> None:
    """Other programs of this user may read it, nobody else."""
    file = Path(f"/proc/{studio.process.pid}/cwd").readlink() / ".arkor" / "studio-token"
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.read_text() == studio.token
