"""The page that the browser comes back to: who is believed, what everybody else is told, and that it goes away."""

from __future__ import annotations

import http.client
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from urllib.parse import urlencode

import attrs
import pytest

from arkor.auth import loopback
from arkor.auth.loopback import Callback
from arkor.errors import Aborted, CredentialsError
from arkor.http.abort import AbortScope
from tests.support.auth0 import free_ports
from tests.support.eventually import eventually

STATE = "the-state"


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loopback, "POLL_S", 0.01)


@attrs.frozen
class Page:
    """What a browser gets."""

    status: int
    headers: dict[str, str]
    text: str


@attrs.frozen
class Login:
    """A login that waits on a thread of its own, as the command does on its main one."""

    port: int
    outcome: Future[str]

    def get(self, method: str = "GET", path: str = "/callback", **query: str) -> Page:
        """Make a request as a browser does."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        connection.request(method, f"{path}?{urlencode(query)}" if query else path)
        answer = connection.getresponse()
        page = Page(answer.status, dict(answer.getheaders()), answer.read().decode())
        connection.close()
        return page


def run(callback: Callback, timeout_s: float = 10.0) -> str:
    """Wait for the code, and show that it was good."""
    with callback:
        code = callback.wait(timeout_s)
        callback.show_success("https://api.example.com/<&>")
    return code


@pytest.fixture
def start() -> Iterator[Callable[[], Login]]:
    """Starts logins; all are over at the end."""
    threads = set(threading.enumerate())
    with ThreadPoolExecutor() as pool:

        def begin() -> Login:
            (port,) = free_ports(1)
            callback = Callback([port], STATE)
            assert callback.redirect_uri == f"http://127.0.0.1:{port}/callback"
            return Login(port, pool.submit(run, callback))

        yield begin
    assert set(threading.enumerate()) <= threads


def refuses(port: int) -> bool:
    """Say whether nobody listens at a port."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def test_the_code_is_taken_and_the_browser_told(start: Callable[[], Login]) -> None:
    """A page of its own, that says where to go on; what comes from elsewhere is escaped in it."""
    login = start()
    page = login.get(state=STATE, code="the-code")
    assert login.outcome.result(10) == "the-code"
    assert (page.status, page.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert "Go back to the terminal" in page.text
    assert "https://api.example.com/&lt;&amp;&gt;" in page.text
    assert "://" not in page.text.replace("https://api.example.com", "")
    assert "the-code" not in page.text
    assert refuses(login.port)


def test_every_answer_is_closed_to_guesses_and_to_other_pages(start: Callable[[], Login]) -> None:
    """No sniffing, no caching, no referrer, no resource from anywhere."""
    login = start()
    pages = [login.get(path="/other"), login.get(state="x"), login.get(state=STATE, code="c")]
    for page in pages:
        assert page.headers["X-Content-Type-Options"] == "nosniff"
        assert page.headers["Cache-Control"] == "no-store"
        assert page.headers["Referrer-Policy"] == "no-referrer"
        assert page.headers["Content-Security-Policy"].startswith("default-src 'none';")
        assert "Server" not in page.headers
    assert [page.headers["Content-Type"] for page in pages[:2]] == ["text/plain; charset=utf-8"] * 2


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("", 400),
        ("?code=evil", 400),
        ("?code=evil&state=", 400),
        ("?code=evil&state=the-stat", 400),
        ("?code=evil&state=the-state&state=other", 400),
        ("?code=evil&state=%ff%00", 400),
        ("?error=access_denied", 400),
        ("?" + "&".join(f"a{n}=1" for n in range(50)) + "&state=the-state&code=evil", 400),
    ],
)
def test_without_the_state_nobody_is_believed(start: Callable[[], Login], query: str, status: int) -> None:
    """Nor does it end the login: the right browser may still come."""
    login = start()
    page = login.get(path=f"/callback{query}")
    assert page.status == status
    assert "evil" not in page.text
    assert login.get(state=STATE, code="good").status == 200
    assert login.outcome.result(10) == "good"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 404),
        ("GET", "/favicon.ico", 404),
        ("GET", "/callback/", 404),
        ("GET", "/callback/../callback", 404),
        ("HEAD", "/callback", 405),
        ("POST", "/callback", 405),
        ("OPTIONS", "/callback", 405),
        ("DELETE", "/callback", 405),
        ("BREW", "/callback", 501),
        ("GET", "/" + "x" * 70_000, 414),
    ],
    ids=lambda value: str(value)[:20],
)
def test_everything_else_is_refused(start: Callable[[], Login], method: str, path: str, status: int) -> None:
    """By its status, in plain text, even with the right state."""
    login = start()
    page = login.get(method, f"{path}?state={STATE}&code=evil" if len(path) < 100 else path)
    assert page.status == status
    assert page.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert "x" * 100 not in page.text
    assert not login.outcome.done()
    login.get(state=STATE, code="good")


@pytest.mark.parametrize(
    "raw",
    [
        b"GET http://[/callback HTTP/1.1\r\n\r\n",
        b"nonsense <b>\r\n\r\n",
        b"GET /callback HTTP/9.9\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        b"GET /callback HTTP/1.1\r\n" + b"a: b\r\n" * 200 + b"\r\n",
        b"\r\n",
        b"",
    ],
    ids=range(7),
)
def test_what_is_no_request_harms_nothing(start: Callable[[], Login], raw: bytes) -> None:
    """It is refused without a word of it, and the right browser may still come."""
    login = start()
    with socket.create_connection(("127.0.0.1", login.port)) as connection:
        connection.sendall(raw)
        connection.shutdown(socket.SHUT_WR)
        answer = connection.makefile("rb").read()
    assert b"<" not in answer
    assert b"HTTP/1.0 200" not in answer
    assert login.get(state=STATE, code="good").status == 200
    assert login.outcome.result(10) == "good"


def test_the_providers_refusal_is_told_without_what_could_harm(start: Callable[[], Login]) -> None:
    """In the terminal and in the browser: no control characters, no markup, no flood."""
    login = start()
    words = "\x1b]0;evil\x07<script>alert(1)</script>\r\nSet-Cookie: a=b " + "x" * 1000
    page = login.get(state=STATE, error="access_denied", error_description=words, code="ignored")
    with pytest.raises(CredentialsError, match="access_denied") as raised:
        login.outcome.result(10)
    assert (page.status, page.headers["Content-Type"]) == (400, "text/plain; charset=utf-8")
    assert "Set-Cookie" not in page.headers
    assert str(raised.value) in page.text
    assert str(raised.value).isprintable()
    assert len(str(raised.value)) < 600


@pytest.mark.parametrize("query", [{}, {"code": ""}])
def test_a_browser_without_a_code_ends_the_login(start: Callable[[], Login], query: dict[str, str]) -> None:
    """It comes from the provider, as its state shows, and there will be no other."""
    login = start()
    assert login.get(state=STATE, **query).status == 400
    with pytest.raises(CredentialsError, match="there was no code"):
        login.outcome.result(10)


def test_the_first_browser_counts() -> None:
    """A code is taken once: who comes second while it is being looked at is told so."""
    (port,) = free_ports(1)
    login, seen = Login(port, Future()), []
    with Callback([port], STATE) as callback, ThreadPoolExecutor() as pool:
        first = pool.submit(login.get, state=STATE, code="first")
        assert callback.wait(10) == "first"
        second = pool.submit(login.get, state=STATE, code="second")
        while not second.done():  # nobody takes connections but this thread
            callback._server.handle_request()
        seen.append(second.result().status)
        callback.show_success("https://api.example.com")
        seen.append(first.result(10).status)
    assert seen == [409, 200]


def test_a_connection_that_says_nothing_holds_nobody_up(start: Callable[[], Login]) -> None:
    """Browsers open some ahead of time; neither the answer nor the end waits for them."""
    login = start()
    with ExitStack() as opened:
        for _ in range(3):
            opened.enter_context(socket.create_connection(("127.0.0.1", login.port)))
        began = time.monotonic()
        assert login.get(state=STATE, code="good").status == 200
        assert login.outcome.result(5) == "good"
        eventually(lambda: refuses(login.port), "the port is free again")
        assert time.monotonic() - began < 5


def test_nobody_is_waited_for_without_end() -> None:
    """The time is over, the port is free, nobody is left."""
    ports, threads = free_ports(1), threading.active_count()
    with pytest.raises(CredentialsError, match=r"Nobody logged in within 0\.2 s"):
        run(Callback(ports, STATE), timeout_s=0.2)
    assert refuses(ports[0])
    assert threading.active_count() == threads


def test_an_abort_ends_the_wait() -> None:
    """As it ends every other one."""
    stop = threading.Event()
    with AbortScope(stop) as scope, scope.active(), Callback(free_ports(1), STATE) as callback:
        stop.set()
        with pytest.raises(Aborted):
            callback.wait(10)


@pytest.mark.parametrize(
    ("error", "said"), [(CredentialsError("The disk is full."), "The disk is full."), (KeyError("x"), "broken off")]
)
def test_a_login_that_fails_after_the_browser_came_tells_it_so(error: Exception, said: str) -> None:
    """The browser hears the same words as the terminal; of errors that are not ours it hears nothing."""
    (port,) = free_ports(1)

    def fail() -> None:
        with Callback([port], STATE) as callback:
            coming.set()
            callback.wait(10)
            raise error

    coming = threading.Event()
    with ThreadPoolExecutor() as pool:
        failing = pool.submit(fail)
        coming.wait(10)
        page = Login(port, Future()).get(state=STATE, code="good")
        assert failing.exception(10) is error
    assert page.status == 400
    assert said in page.text


# Ports


def test_the_first_free_port_is_taken() -> None:
    """In the order in which the backend names them."""
    taken, free, unused = free_ports(3)
    with socket.create_server(("127.0.0.1", taken)), Callback([taken, free, unused], STATE) as callback:
        assert callback.redirect_uri == f"http://127.0.0.1:{free}/callback"


def test_without_a_free_port_all_of_them_are_named() -> None:
    """So that the user can end what listens on one."""
    with ExitStack() as opened:
        ports = free_ports(2)
        for port in ports:
            opened.enter_context(socket.create_server(("127.0.0.1", port)))
        with pytest.raises(CredentialsError, match=f"none is free: {ports[0]}, {ports[1]}"):
            Callback(ports, STATE)


def test_a_backend_without_ports_is_told() -> None:
    """There is no way back for the browser."""
    with pytest.raises(CredentialsError, match="names no port"):
        Callback([], STATE)


def test_only_this_machine_reaches_the_page() -> None:
    """It is bound to 127.0.0.1."""
    with Callback(free_ports(1), STATE) as callback:
        assert callback._server.socket.getsockname()[0] == "127.0.0.1"
