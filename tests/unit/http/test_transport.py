"""Requests to one backend: headers, where a token goes, what is repeated, and every failure as an error of arkor's."""

from __future__ import annotations

import contextlib
import email.utils
import http.client
import inspect
import socket
import ssl
import time
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
import requests
import urllib3

from arkor.errors import (
    ArkorError,
    CloudApiError,
    ConfigError,
    ConnectionFailed,
    CredentialsError,
    NotFound,
    RateLimited,
    ServerError,
    UpgradeRequired,
    WaitTimeout,
)
from arkor.http import translate, transport
from arkor.http.abort import AbortScope, Deadline
from arkor.http.translate import retry_after, translated
from arkor.http.transport import LONGEST_RETRY_WAIT_S, Transport, path
from arkor.version import __version__
from tests.support.cloud import Cloud
from tests.support.contract import Answer

ME = "/v1/me"


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds between attempts, which are noted, not waited."""
    noted: list[float] = []
    monkeypatch.setattr(transport, "pause", noted.append)
    return noted


# What is sent


def test_every_request_carries_the_client_and_the_token(cloud: Cloud, known: Transport) -> None:
    """Also one that asks for further headers."""
    known.send("GET", ME, headers={"Accept": "text/event-stream"})
    (call,) = cloud.requests
    assert call.headers["x-arkor-client"] == f"arkor/{__version__}"
    assert call.headers["user-agent"].startswith(f"arkor-python/{__version__} Python/3.")
    assert call.headers["authorization"] == "Bearer secret"
    assert call.headers["accept"] == "text/event-stream"


def test_without_a_token_there_is_no_authorization(cloud: Cloud) -> None:
    """The calls that ask for an identity."""
    Transport(cloud.url).send("POST", "/v1/auth/anonymous", json={"kind": "cli"})
    assert "authorization" not in cloud.requests[0].headers


@pytest.mark.parametrize("token", ["secret", None])
def test_netrc_never_speaks_for_the_user(cloud: Cloud, home: Path, token: str | None) -> None:
    """A password for the same host, meant for something else, is not sent; nor after a redirect."""
    (home / ".netrc").write_text("machine 127.0.0.1 login user password private\n")
    (home / ".netrc").chmod(0o600)
    cloud.answer("GET", ME, Answer(status=302, headers={"Location": "/v1/other"}))
    with pytest.raises(CloudApiError):
        Transport(cloud.url, token).send("GET", ME)
    assert [item.path for item in cloud.requests] == [ME, "/v1/other"]
    wanted = f"Bearer {token}" if token else None
    assert [item.headers.get("authorization") for item in cloud.requests] == [wanted, wanted]


def test_a_token_never_follows_a_redirect_to_another_host(cloud: Cloud, known: Transport) -> None:
    """The other host gets the request, not the token."""
    with Cloud() as other:
        other.answer("GET", ME, Answer(body={}))
        cloud.answer("GET", ME, Answer(status=307, headers={"Location": f"{other.url}{ME}"}))
        known.send("GET", ME)
        assert cloud.requests[0].headers["authorization"] == "Bearer secret"
        assert "authorization" not in other.requests[0].headers


def test_a_proxy_of_the_environment_is_not_asked_for_loopback(
    cloud: Cloud, known: Transport, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The backend on this machine is reached directly, whatever HTTP_PROXY says."""
    with Cloud() as proxy:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url)
        known.send("GET", ME)
        assert proxy.requests == []
    assert len(cloud.requests) == 1


def test_a_proxy_of_the_environment_is_asked_for_other_hosts(monkeypatch: pytest.MonkeyPatch) -> None:
    """As requests does."""
    with Cloud() as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        proxy.answer("GET", ME, Answer(body={}))
        Transport("http://backend.example.com", "secret").send("GET", ME)
        assert proxy.requests[0].headers["host"] == "backend.example.com"


@pytest.mark.parametrize("token", ["secret\nX-Other: 1", "secret\n", "secret token", "s\u00e9cret", "\u65e5secret"])
def test_a_token_that_no_header_can_carry_is_refused_without_showing_it(token: str) -> None:
    """The HTTP libraries would put it into their error."""
    with pytest.raises(CredentialsError, match="ARKOR_TOKEN") as raised:
        Transport("http://127.0.0.1:1", token)
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize("url", ["", "local", "example.com", "ftp://example.com", "http://", "https:///v1", "//x"])
def test_an_address_that_is_none_is_named(url: str) -> None:
    """With where it may come from."""
    with pytest.raises(ConfigError, match="ARKOR_CLOUD_API_URL") as raised:
        Transport(url)
    assert raised.value.field == "backend"


def test_trailing_slashes_are_dropped(cloud: Cloud) -> None:
    """However many."""
    assert Transport(f"{cloud.url}///").base_url == cloud.url


@pytest.mark.parametrize(
    "url", ["http://user:secret@127.0.0.1:1", "https://secret@example.com/v1", "http://u:secret@[::1"]
)
def test_an_address_with_a_secret_in_it_is_refused_without_showing_it(url: str) -> None:
    """It would be in every error, and is never sent."""
    with pytest.raises(ConfigError, match="leave them out and set ARKOR_TOKEN") as raised:
        Transport(url)
    assert "secret" not in str(raised.value)


def test_paths_are_made_of_encoded_segments() -> None:
    """An id cannot leave its place."""
    assert path("v1", "jobs", "job_1") == "/v1/jobs/job_1"
    assert path("v1", "../me?x=1#y", "ä b%") == "/v1/..%2Fme%3Fx%3D1%23y/%C3%A4%20b%25"


@pytest.mark.parametrize("segment", ["", ".", "..", "\ud83d"])
def test_an_id_that_no_encoding_protects_is_refused(segment: str) -> None:
    """Every HTTP library resolves dots: it would be another call, on something else."""
    with pytest.raises(ConfigError, match="is not an id of anything"):
        path("v1", "jobs", segment)


HOSTILE = [
    "a/b",
    "../me",
    "a/../../b",
    "%2e%2e",
    "...",
    "a b+c",
    "?x=1&y#z",
    "größe/日本",
    "a\\b",
    "\n\x00\x1b",
    ";a=b",
    "a:b@c",
]


@pytest.mark.parametrize("name", HOSTILE)
def test_ids_and_query_values_arrive_as_they_are(cloud: Cloud, known: Transport, name: str) -> None:
    """Through the HTTP libraries, which mend URLs on the way."""
    cloud.answer("GET", "/v1/things/*", Answer(body={}))
    known.send("GET", path("v1", "things", name), params={"orgSlug": name, "projectSlug": "p"})
    (call,) = cloud.requests
    assert [unquote(part) for part in call.path.split("/")] == ["", "v1", "things", name]
    assert call.query == {"orgSlug": name, "projectSlug": "p"}


def test_a_query_value_with_half_a_character_is_one_of_our_errors(known: Transport) -> None:
    """It cannot be encoded."""
    with pytest.raises(ArkorError):
        known.send("GET", ME, params={"orgSlug": "\ud83d"})


# What comes back


@pytest.mark.parametrize(
    ("status", "body", "text"),
    [
        (400, {"error": "what is wrong"}, "what is wrong"),
        (400, {"error": ""}, '{"error": ""}'),
        (400, {"error": {"code": 1}}, '{"error": {"code": 1}}'),
        (400, {"message": "other"}, '{"message": "other"}'),
        (400, ["a"], '["a"]'),
        (502, b"<html>Bad gateway</html>", "<html>Bad gateway</html>"),
        (500, b" \n", "cloud-api 500"),
        (404, b"", "cloud-api 404"),
        (500, b"\xff\xfe", None),
        (500, b"x" * 5000, "x" * 2000),
        (400, b"[" * 100_000, "[" * 2000),
    ],
    ids=range(11),
)
def test_an_error_is_told_in_the_backends_words(
    cloud: Cloud, known: Transport, status: int, body: Any, text: str | None
) -> None:
    """Its JSON ``error``, else the raw body, else ``cloud-api`` and the status."""
    cloud.answer("GET", ME, Answer(status=status, body=body))
    with pytest.raises(CloudApiError) as raised:
        known.send("GET", ME)
    assert raised.value.status == status
    assert text is None or str(raised.value) == text


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (
            {
                "error": "sdk_version_unsupported",
                "currentVersion": "0.1.0",
                "supportedRange": ">=2.0",
                "upgrade": "pip install --upgrade 'arkor>=2'",
            },
            " (it supports >=2.0). Upgrade with: pip install --upgrade 'arkor>=2'",
        ),
        ({"error": "too old"}, ". Upgrade with: pip install --upgrade arkor"),
        (b"Upgrade Required", ". Upgrade with: pip install --upgrade arkor"),
        (b"", ". Upgrade with: pip install --upgrade arkor"),
        (b"[" * 100_000, ". Upgrade with: pip install --upgrade arkor"),
        ({"supportedRange": 3, "upgrade": []}, ". Upgrade with: pip install --upgrade arkor"),
        ({"upgrade": "npm install -g arkor@latest"}, ". Upgrade with: pip install --upgrade arkor"),
        (
            {"supportedRange": ">=2\x1b[2J", "upgrade": "pip install\n'arkor>=2'\x07"},
            " (it supports >=2 [2J). Upgrade with: pip install 'arkor>=2'",
        ),
    ],
    ids=range(8),
)
def test_a_426_always_says_how_to_upgrade(
    cloud: Cloud, known: Transport, monkeypatch: pytest.MonkeyPatch, body: Any, says: str
) -> None:
    """Whatever its body: this version, the supported ones where they are told, and the command, on one line."""
    monkeypatch.setattr(translate, "upgrade_command", lambda: "pip install --upgrade arkor")
    cloud.answer("GET", ME, Answer(status=426, body=body))
    with pytest.raises(UpgradeRequired) as raised:
        known.call("GET", ME)
    assert str(raised.value) == f"The backend no longer speaks to arkor {__version__}{says}"
    assert len(cloud.requests) == 1


@pytest.mark.parametrize("command", ["pipx upgrade arkor", "uv tool upgrade arkor", "git -C /src/arkor pull"])
def test_a_copy_that_pip_did_not_install_is_not_told_to_use_pip(
    cloud: Cloud, known: Transport, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    """The backend cannot know: it would be the wrong command."""
    monkeypatch.setattr(translate, "upgrade_command", lambda: command)
    cloud.answer("GET", ME, Answer(status=426, body={"upgrade": "pip install --upgrade 'arkor>=2'"}))
    with pytest.raises(UpgradeRequired, match=f"Upgrade with: {command}$"):
        known.send("GET", ME)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0.0),
        (" 7 ", 7.0),
        ("", None),
        ("soon", None),
        ("-1", None),
        ("1.5", None),
        ("\u00b2", None),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0.0),
        ("Thu, 99 Jan 1970 00:00:00 GMT", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(value: str, seconds: float | None) -> None:
    """A past date is now; anything else is no wish."""
    assert retry_after({"Retry-After": value}) == seconds
    assert retry_after({}) is None


@pytest.mark.parametrize(("status", "error"), [(429, RateLimited), (503, ServerError)])
@pytest.mark.parametrize(("headers", "seconds"), [({"Retry-After": "7"}, 7.0), ({}, None)])
def test_an_error_says_when_to_come_back(
    cloud: Cloud,
    known: Transport,
    status: int,
    error: type[CloudApiError],
    headers: dict[str, str],
    seconds: float | None,
) -> None:
    """In seconds, where the backend said so."""
    cloud.answer("GET", ME, Answer(status=status, headers=headers))
    with pytest.raises(error) as raised:
        known.send("GET", ME)
    assert raised.value.retry_after == seconds


def test_retry_after_may_be_a_date_to_come() -> None:
    """In HTTP's own form."""
    value = email.utils.formatdate(time.time() + 100, usegmt=True)
    assert 90 < (retry_after({"Retry-After": value}) or 0) <= 100


# What is repeated

GONE, BUSY, BROKEN, LIMITED, MISSING = (
    Answer(cut=0),
    Answer(status=503),
    Answer(status=500),
    Answer(status=429),
    Answer(status=404),
)
OFTEN = 3


@pytest.mark.parametrize(
    ("method", "repeatable", "failure", "attempts"),
    [
        ("GET", None, GONE, OFTEN),
        ("GET", None, BUSY, OFTEN),
        ("GET", None, BROKEN, OFTEN),
        ("GET", None, LIMITED, OFTEN),
        ("GET", None, MISSING, 1),
        ("PUT", None, BROKEN, OFTEN),
        ("PUT", None, Answer(status=507), 1),
        ("DELETE", None, GONE, OFTEN),
        ("POST", None, GONE, 1),
        ("POST", None, BROKEN, 1),
        ("POST", None, BUSY, OFTEN),
        ("POST", None, LIMITED, OFTEN),
        ("POST", None, MISSING, 1),
        ("POST", True, GONE, OFTEN),
        ("POST", True, BROKEN, OFTEN),
        ("PATCH", None, GONE, 1),
        ("PATCH", False, BROKEN, 1),
        ("GET", False, GONE, 1),
    ],
)
def test_what_is_repeated_and_what_is_not(
    cloud: Cloud,
    known: Transport,
    pauses: list[float],
    method: str,
    repeatable: bool | None,
    failure: Answer,
    attempts: int,
) -> None:
    """Twice more where it is safe and may help; the last failure is what is raised."""
    cloud.answer(method, "/v1/things", *[failure] * 5)
    with pytest.raises((CloudApiError, ConnectionFailed)):
        known.call(method, "/v1/things", repeatable=repeatable)
    assert len(cloud.requests) == attempts
    assert len(pauses) == attempts - 1


def test_a_request_that_never_arrived_is_repeated_whatever_it_is(cloud: Cloud, pauses: list[float]) -> None:
    """Nobody listened, so nothing was done twice."""
    with cloud.away(), pytest.raises(ConnectionFailed) as raised:
        Transport(cloud.url).call("POST", "/v1/jobs", repeatable=False)
    assert raised.value.sent is False
    assert len(pauses) == OFTEN - 1


def test_a_repeat_that_succeeds_is_the_answer(cloud: Cloud, known: Transport, pauses: list[float]) -> None:
    """The failure before it is forgotten."""
    cloud.answer("GET", ME, BROKEN)
    assert known.call("GET", ME).status_code == 200
    assert len(pauses) == 1


def test_the_pauses_grow_and_scatter(cloud: Cloud, known: Transport, pauses: list[float]) -> None:
    """Short first, then doubled, never the same for all clients."""
    for _ in range(20):
        cloud.answer("GET", ME, *[BROKEN] * 3)
        with pytest.raises(ServerError):
            known.call("GET", ME)
    assert all(0.3 <= pause <= 0.6 for pause in pauses[::2])
    assert all(0.6 <= pause <= 0.9 for pause in pauses[1::2])
    assert len(set(pauses)) > 20


@pytest.mark.parametrize(("asked", "paused"), [("0", 0.0), ("7", 7.0), ("3600", LONGEST_RETRY_WAIT_S)])
def test_the_backend_says_when_to_come_back(
    cloud: Cloud, known: Transport, pauses: list[float], asked: str, paused: float
) -> None:
    """Up to a limit."""
    cloud.answer("GET", ME, Answer(status=429, headers={"Retry-After": asked}))
    known.call("GET", ME)
    assert pauses == [paused]


def test_an_active_scope_limits_a_call(cloud: Cloud, known: Transport) -> None:
    """Its deadline ends the pause between two attempts."""
    cloud.answer("GET", ME, Answer(status=503, headers={"Retry-After": "10"}))
    with AbortScope(None, Deadline(0.05)) as scope, scope.active(), pytest.raises(WaitTimeout):
        known.call("GET", ME)
    assert len(cloud.requests) == 1


# Every failure is one of arkor's


def foreign_errors() -> Iterator[type[Exception]]:
    """Yield every exception that requests, urllib3 and http.client define, by looking."""
    for module in (requests.exceptions, urllib3.exceptions, http.client):
        for _, value in inspect.getmembers(module, inspect.isclass):
            if issubclass(value, Exception) and not issubclass(value, Warning) and value.__module__ == module.__name__:
                yield value


NEED_ARGUMENTS: dict[type[Exception], tuple[Any, ...]] = {
    urllib3.exceptions.IncompleteRead: (1, 2),
    urllib3.exceptions.InvalidChunkLength: (types.SimpleNamespace(tell=lambda: 1, length_remaining=2), b"x"),
    http.client.IncompleteRead: (b"x",),
    http.client.UnknownProtocol: ("HTTP/9",),
}


def test_the_walk_sees_the_exceptions_of_every_library() -> None:
    """The check below stands on this."""
    found = set(foreign_errors())
    assert len(found) > 60
    assert {requests.exceptions.JSONDecodeError, urllib3.exceptions.ProxySchemeUnsupported} <= found
    assert {http.client.BadStatusLine, http.client.LineTooLong, http.client.RemoteDisconnected} <= found


@pytest.mark.parametrize("cls", sorted(set(foreign_errors()), key=str), ids=str)
def test_every_exception_of_the_http_libraries_is_translated(cls: type[Exception]) -> None:
    """None of them ever reaches a user; the cause is kept."""
    # Most constructors want connections and pools, which do not matter here.
    foreign = cls(*NEED_ARGUMENTS[cls]) if cls in NEED_ARGUMENTS else cls.__new__(cls)
    with pytest.raises((ConnectionFailed, ConfigError)) as raised, translated("http://backend.example.com"):
        raise foreign
    assert raised.value.__cause__ is foreign
    assert "http://backend.example.com" in str(raised.value)


@pytest.mark.parametrize(
    "foreign", [ssl.SSLError("bad"), socket.gaierror(-2, "unknown"), TimeoutError(), ConnectionResetError(), OSError(5)]
)
def test_errors_of_sockets_are_translated_too(foreign: OSError) -> None:
    """Reading a body by hand raises them bare."""
    with pytest.raises(ConnectionFailed), translated("http://backend.example.com"):
        raise foreign


@pytest.mark.parametrize("foreign", [ValueError("odd"), UnicodeDecodeError("utf-8", b"x", 0, 1, "odd")])
def test_errors_of_urls_are_translated_too(foreign: ValueError) -> None:
    """What a redirect or a host name cannot be made into."""
    with pytest.raises(ConnectionFailed), translated("http://backend.example.com"):
        raise foreign


@pytest.mark.parametrize(
    "location",
    [
        "http://[::1",
        "http://\xff\xfe/",
        "http://example.com:99999/",
        "http://example.com:port/",
        "http://127.0.0.1:1\x00/",
        f"http://{'a' * 70}.example.com/",
        "http://.example.com/",
        "ftp://example.com/",
        "javascript:1",
    ],
    ids=range(9),
)
def test_a_redirect_to_nowhere_is_one_of_our_errors(cloud: Cloud, known: Transport, location: str) -> None:
    """Whatever the other side sends."""
    cloud.answer("GET", ME, Answer(status=302, headers={"Location": location}))
    with pytest.raises(ArkorError):
        known.send("GET", ME)


@pytest.mark.parametrize(
    "host", ["a" * 70 + ".example.com", "a..example.com", "example.com:99999", "ex ample.com", "\ud83d.com"]
)
@pytest.mark.parametrize("scoped", [False, True])
def test_a_host_that_can_be_none_is_one_of_our_errors(host: str, scoped: bool) -> None:
    """Also where the connection is ours to break off."""
    with contextlib.ExitStack() as opened:
        if scoped:
            scope = opened.enter_context(AbortScope(None))
            opened.enter_context(scope.active())
        with pytest.raises(ArkorError):
            Transport(f"http://{host}").send("GET", ME)


def test_our_own_errors_pass_through() -> None:
    """Some of them are OSErrors as well."""
    for own in (WaitTimeout("words"), ConnectionFailed("words"), NotFound(404, "words")):
        with pytest.raises(ArkorError) as raised, translated("http://backend.example.com"):
            raise own
        assert raised.value is own


@pytest.mark.parametrize(
    ("failure", "says", "sent"),
    [
        (lambda: socket.create_connection(("127.0.0.1", _unused_port())), "connection refused", True),
        (lambda: requests.get(f"http://127.0.0.1:{_unused_port()}", timeout=5), "connection refused", False),
        (lambda: _raise(requests.ConnectTimeout()), "did not accept a connection in time", False),
        (lambda: _raise(requests.ReadTimeout()), "sent nothing in time", True),
        (lambda: _raise(requests.exceptions.SSLError()), "TLS", True),
        (lambda: _raise(requests.exceptions.ProxyError()), "the proxy failed", True),
        (
            lambda: _raise(requests.ConnectionError(http.client.RemoteDisconnected("gone"))),
            "the connection was cut",
            True,
        ),
        (lambda: _raise(requests.exceptions.ChunkedEncodingError("odd")), "odd", True),
    ],
    ids=range(8),
)
def test_a_lost_connection_says_why_in_a_few_words(failure: Callable[[], object], says: str, sent: bool) -> None:
    """And whether the request may have arrived."""
    with pytest.raises(ConnectionFailed) as raised, translated("http://backend.example.com"):
        failure()
    assert says in str(raised.value)
    assert raised.value.sent is sent


def _raise(exc: Exception) -> None:
    raise exc


def _unused_port() -> int:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return int(unused.getsockname()[1])


def test_a_body_that_is_cut_is_a_lost_connection(cloud: Cloud, known: Transport) -> None:
    """Never a shorter answer."""
    cloud.answer("GET", ME, Answer(body={"user": {}}, cut=85))
    with pytest.raises(ConnectionFailed):
        known.send("GET", ME)


def test_a_reset_is_a_lost_connection(cloud: Cloud, known: Transport) -> None:
    """RST in the place of an answer."""
    cloud.answer("GET", ME, Answer(cut=0, reset=True))
    with pytest.raises(ConnectionFailed, match="the connection was cut"):
        known.send("GET", ME)


def test_redirects_without_end_are_an_error(cloud: Cloud, known: Transport) -> None:
    """One of ours."""
    cloud.answer("GET", ME, *[Answer(status=302, headers={"Location": ME})] * 40)
    with pytest.raises(ConnectionFailed, match="redirects"):
        known.send("GET", ME)


@pytest.mark.parametrize(
    "said", [b'{"error": "secret is unknown"}', b"secret is unknown", b'{"error": "\\u0073ecret is unknown"}']
)
def test_an_error_that_echoes_the_token_does_not_show_it(cloud: Cloud, known: Transport, said: bytes) -> None:
    """However the backend wrote it down."""
    cloud.answer("GET", ME, Answer(status=403, body=said))
    with pytest.raises(CloudApiError) as raised:
        known.send("GET", ME)
    assert str(raised.value) == "… is unknown"
