"""The page on this machine that the browser comes back to after a login: one answer, then it is gone.

Protocol: docs/protocol.md, "Identity"; RFC 8252, section 7.3.
"""

from __future__ import annotations

import contextlib
import hmac
import html
import os
import socket
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future, InvalidStateError
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from types import TracebackType
from typing import Any
from urllib.parse import parse_qs, urlsplit

from arkor.errors import ArkorError, CredentialsError
from arkor.http.abort import current_scope
from arkor.text import one_line

CALLBACK_PATH = "/callback"
REQUEST_TIMEOUT_S = 10.0
POLL_S = 0.1
MOST_PARAMETERS = 20

_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'none'",
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
}
_PAGE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>Logged in - arkor</title>
<link rel="icon" href="data:,">
<style>body {{ font: 1.1rem/1.5 sans-serif; margin: 20vh auto; max-width: 32rem; padding: 0 1rem }}</style>
</head>
<body>
<h1>You are logged in</h1>
<p>arkor on this machine can now use {backend}. Go back to the terminal; you may close this page.</p>
</body>
</html>
"""


class Callback:
    """Waits on a loopback port until the browser comes back from a login. A context manager.

    Args:
        ports: the ports to try, in this order.
        state: what the browser has to bring back; without it nobody is believed.

    Attributes:
        redirect_uri: where the browser has to come back to.

    Raises:
        CredentialsError: none of the ports is free.

    Thread-safety: none; its threads are gone when the context is left.
    """

    def __init__(self, ports: Sequence[int], state: str) -> None:
        self._server = _listen(ports, state)
        self.redirect_uri = f"http://127.0.0.1:{self._server.server_port}{CALLBACK_PATH}"

    def __enter__(self) -> Callback:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if exc is not None:
            said = str(exc) if isinstance(exc, ArkorError) else "The login was broken off."
            self._server.conclude(HTTPStatus.BAD_REQUEST, f"{said}\n\nGo back to the terminal.\n")
        self._server.close()

    def wait(self, timeout_s: float) -> str:
        """Return the code that the browser brings.

        Args:
            timeout_s: seconds until nobody is expected any more.

        Raises:
            CredentialsError: the provider refused, or nobody came in time.
            Aborted, WaitTimeout: the active abort scope ended.
        """
        until = time.monotonic() + timeout_s
        self._server.timeout = POLL_S
        while not self._server.code.done():
            if time.monotonic() >= until:
                raise CredentialsError(f"Nobody logged in within {timeout_s:g} s; nothing was changed. Try again.")
            scope = current_scope()
            if scope is not None:
                scope.check()
            self._server.handle_request()
        return self._server.code.result()

    def show_success(self, backend: str) -> None:
        """Let the browser say that the login to a backend succeeded."""
        self._server.conclude(HTTPStatus.OK, _PAGE.format(backend=html.escape(backend)), "text/html")


def _listen(ports: Sequence[int], state: str) -> _Server:
    for port in ports:
        with contextlib.suppress(OSError):  # taken, or not ours to take
            return _Server(port, state)
    if not ports:
        raise CredentialsError("The backend names no port that the browser may come back to; nobody can log in there.")
    listed = ", ".join(map(str, ports))
    raise CredentialsError(
        f"The browser has to come back to 127.0.0.1 on one of these ports, and none is free: {listed}. "
        "End what listens on one of them, and try again."
    )


class _Server(ThreadingHTTPServer):
    """Takes connections while ``handle_request`` is called, each on a thread that ``close`` waits for.

    Attributes:
        code: what the browser brought, or why it brought none; the first one counts.
    """

    daemon_threads = False
    allow_reuse_address = os.name != "nt"  # on Windows that would share the port with whoever has it
    allow_reuse_port = False

    def __init__(self, port: int, state: str) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.code: Future[str] = Future()
        self._state = state.encode()
        self._conclusion: Future[tuple[HTTPStatus, str, str]] = Future()
        self._connections: set[socket.socket] = set()
        self._lock = threading.Lock()

    def server_bind(self) -> None:
        """Bind as HTTPServer does, but without asking the name service who 127.0.0.1 is."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = "127.0.0.1", int(self.server_address[1])

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve a connection on a thread of its own."""
        with self._lock:
            self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """End a connection."""
        with self._lock:
            self._connections.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Pass over browsers that went away."""

    def expects(self, state: str) -> bool:
        """Say whether the browser comes back from this login, and not from somebody else's page."""
        return hmac.compare_digest(state.encode("utf-8", "surrogatepass"), self._state)

    def accept(self, code: str | None, error: str) -> tuple[HTTPStatus, str, str]:
        """Take in what the browser brought, and return what to show once it is known what came of it."""
        try:
            if code:
                self.code.set_result(code)
            else:
                self.code.set_exception(CredentialsError(f"The login was refused ({one_line(error)})."))
        except InvalidStateError:
            return HTTPStatus.CONFLICT, "This login was answered already.\n", "text/plain"
        return self._conclusion.result()

    def conclude(self, status: HTTPStatus, text: str, kind: str = "text/plain") -> None:
        """Say what came of the login; the first word counts."""
        with contextlib.suppress(InvalidStateError):
            self._conclusion.set_result((status, text, kind))

    def close(self) -> None:
        """Stop listening, and wait until whoever is connected has the answer."""
        self.conclude(HTTPStatus.GONE, "The login was broken off.\n")
        with self._lock:
            for connection in self._connections:
                with contextlib.suppress(OSError):  # gone already
                    connection.shutdown(socket.SHUT_RD)  # what is being sent still arrives
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = REQUEST_TIMEOUT_S

    def do_GET(self) -> None:
        try:
            target = urlsplit(self.path)
            query = parse_qs(target.query, keep_blank_values=True, max_num_fields=MOST_PARAMETERS)
        except ValueError:
            self.send_error(HTTPStatus.BAD_REQUEST)
            return
        if target.path != CALLBACK_PATH:
            self.send_error(HTTPStatus.NOT_FOUND)
            return
        state, code = (values[0] if len(values := query.get(key, [])) == 1 else "" for key in ("state", "code"))
        if not self.server.expects(state):
            self._answer(HTTPStatus.BAD_REQUEST, "This is not the login that the terminal waits for.\n")
            return
        said = [text for key in ("error", "error_description") for text in query.get(key, [])]
        self._answer(*self.server.accept("" if said else code, ": ".join(said) or "there was no code"))

    def do_POST(self) -> None:
        self.send_error(HTTPStatus.METHOD_NOT_ALLOWED)

    do_HEAD = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = do_POST  # noqa: N815

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Refuse a request, in plain text without a word of the request in it."""
        status = HTTPStatus(code)
        self._answer(status, f"{status.phrase}\n")

    def _answer(self, status: HTTPStatus, text: str, kind: str = "text/plain") -> None:
        body = text.encode("utf-8", "replace")
        self.close_connection = True
        self.send_response_only(status)
        for name, value in {**_HEADERS, "Content-Type": f"{kind}; charset=utf-8"}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing: the request has the code in it."""
