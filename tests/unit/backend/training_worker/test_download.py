"""Fetching a blob: whose password is sent where, and bodies that are no rows."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import attrs
import pytest

from arkor.backend.training_worker.download import download_blob, shown_url
from arkor.errors import DatasetError

ROWS = b'{"text": "a"}\n'
OK = b"HTTP/1.1 200 OK\r\nConnection: close\r\n"


def whole(body: bytes, *headers: str) -> bytes:
    lines = "".join(f"{header}\r\n" for header in headers).encode()
    return OK + lines + b"Content-Length: %d\r\n\r\n" % len(body) + body


def redirect(url: str) -> bytes:
    return f"HTTP/1.1 302 Found\r\nConnection: close\r\nContent-Length: 0\r\nLocation: {url}\r\n\r\n".encode()


@attrs.define
class Host:
    """A server that sends the same bytes to everybody.

    Attributes:
        port: its port on the loopback.
        sent: an answer, its head included.
        seen: the ``Authorization`` of each request, or None.
    """

    port: int
    sent: bytes = whole(ROWS)
    seen: list[str | None] = attrs.field(factory=list)

    def url(self, name: str = "127.0.0.1") -> str:
        return f"http://{name}:{self.port}/rows.jsonl"


@pytest.fixture
def serve() -> Iterator[Callable[[], Host]]:
    """Start a host; all end with the test."""
    servers: list[ThreadingHTTPServer] = []

    def start() -> Host:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                serving.seen.append(self.headers.get("Authorization"))
                self.wfile.write(serving.sent)
                self.close_connection = True

            def log_message(self, *_: Any) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        serving = Host(server.server_address[1])
        threading.Thread(target=server.serve_forever, args=(0.01,)).start()
        servers.append(server)
        return serving

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def host(serve: Callable[[], Host]) -> Host:
    return serve()


@pytest.fixture
def _netrc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Passwords of the backend's user for both names of this machine, and for any other."""
    file = tmp_path / "netrc"
    file.write_text("".join(f"machine {name} login op password SECRET\n" for name in ("127.0.0.1", "localhost")))
    file.chmod(0o600)
    monkeypatch.setenv("NETRC", str(file))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "job").mkdir()
    return tmp_path / "job"


def fetch(url: str, folder: Path, token: str | None = None) -> bytes:
    return download_blob({"type": "blob", "url": url, "token": token}, folder).read_bytes()


# Whose password


@pytest.mark.usefixtures("_netrc")
@pytest.mark.parametrize(("token", "sent"), [("mine", "Bearer mine"), (None, None)])
def test_the_netrc_of_the_backends_user_is_never_sent(
    token: str | None, sent: str | None, host: Host, folder: Path
) -> None:
    """The job's own token is, or nothing."""
    assert fetch(host.url(), folder, token) == ROWS
    assert host.seen == [sent]


@pytest.mark.usefixtures("_netrc")
@pytest.mark.parametrize("token", ["mine", None])
def test_a_redirect_to_another_host_gets_no_password(
    token: str | None, serve: Callable[[], Host], folder: Path
) -> None:
    """Neither the token nor the netrc's, nor on the way back."""
    first, second = serve(), serve()
    first.sent = redirect(second.url("localhost"))
    assert fetch(first.url(), folder, token) == ROWS
    assert second.seen == [None]


@pytest.mark.usefixtures("_netrc")
def test_a_redirect_within_the_host_keeps_the_token(host: Host, folder: Path) -> None:
    """Until the library gives up, and the error says why."""
    host.sent = redirect("/again")
    with pytest.raises(DatasetError, match="the server answered 302"):
        fetch(host.url(), folder, "mine")
    assert set(host.seen) == {"Bearer mine"}
    assert len(host.seen) > 1


@pytest.mark.usefixtures("_netrc")
@pytest.mark.parametrize(("token", "sent"), [("mine", "Bearer mine"), (None, "Basic dXNlcjpwdw==")])
def test_a_password_in_the_url_is_the_jobs_own(token: str | None, sent: str, host: Host, folder: Path) -> None:
    """It is sent where no token is given, and is not shown in an error."""
    url = host.url("user:pw@127.0.0.1")
    assert fetch(url, folder, token) == ROWS
    assert host.seen == [sent]
    assert shown_url(f"{url}?sig=SECRET") == host.url()


def test_proxies_of_the_environment_are_used(host: Host, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As before: only passwords are not taken from it."""
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{host.port}")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    assert fetch("http://rows.invalid/rows.jsonl", folder, "mine") == ROWS
    assert host.seen == ["Bearer mine"]


# Bodies


@pytest.mark.parametrize(
    ("sent", "says"),
    [
        (whole(ROWS * 9)[:-5], r"the connection ended after 121 of 126 bytes"),
        (OK + b'Transfer-Encoding: chunked\r\n\r\n5\r\n{"tex\r\n', r"the connection ended after \d+ bytes"),
        (whole(gzip.compress(ROWS)), "is compressed with gzip"),
        (whole(b"PK\x03\x04\x14"), "is compressed with zip"),
        (whole(b"\n <!DOCTYPE html><html><form>Log in"), "is a web page .* check the URL, and the data set's token"),
        (whole(b"\xef\xbb\xbf<html>", "Content-Type: text/html"), "is a web page"),
    ],
    ids=["cut", "cut between chunks", "gzip", "zip", "login page", "page with a mark"],
)
def test_a_body_that_is_no_rows_is_refused_with_the_cause(sent: bytes, says: str, host: Host, folder: Path) -> None:
    """And no part of it stays."""
    host.sent = sent
    with pytest.raises(DatasetError, match=says):
        fetch(host.url(), folder)
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    "sent",
    [
        whole(gzip.compress(ROWS), "Content-Encoding: gzip"),
        whole(ROWS, "Content-Type: text/html"),
        OK + b"\r\n" + ROWS,
        OK + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(ROWS), ROWS),
    ],
    ids=["compressed on the way", "wrong type", "without a length", "chunks"],
)
def test_rows_are_taken_however_they_are_sent(sent: bytes, host: Host, folder: Path) -> None:
    """Compressed on the way, under a wrong type, without a length, in chunks."""
    host.sent = sent
    assert fetch(host.url(), folder) == ROWS
