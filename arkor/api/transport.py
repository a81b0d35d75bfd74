"""One backend's address and one identity: headers, timeouts, retries where they are safe, errors in one tree.

Every exception of requests, urllib3 and http.client becomes one of arkor's here, and nowhere else.

Protocol: docs/protocol.md, "Addressing a backend".
"""

from __future__ import annotations

import contextlib
import email.utils
import functools
import http.client
import platform
import random
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import SplitResult, quote, urlsplit

import requests
import tenacity
import urllib3
from requests.adapters import HTTPAdapter

from arkor.api import notices
from arkor.api.abort import current_scope, pause
from arkor.api.bearer import BearerToken, TokenSource, token_source
from arkor.errors import (
    ArkorError,
    CloudApiError,
    ConfigError,
    ConnectionFailed,
    RateLimited,
    ServerError,
    error_for_status,
)
from arkor.upgrading import upgrade_command
from arkor.version import __version__

CONNECT_TIMEOUT_S = 10.0
READ_TIMEOUT_S = 60.0
RETRIES = 3
LONGEST_RETRY_WAIT_S = 10.0
LOOPBACK_HOSTS = frozenset({"localhost", "127.0.0.1", "::1"})


class _AbortableMixin(urllib3.connection.HTTPConnection):
    """A connection that hands its socket to the abort scope of the thread that uses it."""

    def _new_conn(self) -> socket.socket:
        if current_scope() is None:
            return super()._new_conn()  # type: ignore[no-any-return, misc, unused-ignore]
        try:
            return _connect(self._dns_host, self.port, self.timeout, self.socket_options)
        except socket.gaierror as exc:
            raise urllib3.exceptions.NameResolutionError(self.host, self, exc) from exc
        except TimeoutError as exc:
            raise urllib3.exceptions.ConnectTimeoutError(self, f"timed out after {self.timeout} s") from exc
        except OSError as exc:
            raise urllib3.exceptions.NewConnectionError(self, f"failed to connect: {exc}") from exc

    def connect(self) -> None:
        super().connect()
        self._hand_in()

    def request(self, *args: Any, **kwargs: Any) -> None:
        self._hand_in()
        super().request(*args, **kwargs)

    def _hand_in(self) -> None:
        scope = current_scope()
        if scope is not None and self.sock is not None:
            scope.adopt(self.sock)


def _connect(host: str, port: int, timeout_s: Any, options: Any) -> socket.socket:
    """Connect as urllib3 does, but register each socket before it blocks in connect()."""
    scope = current_scope()
    assert scope is not None
    last: OSError | None = None
    for family, kind, protocol, _, address in socket.getaddrinfo(host.strip("[]"), port, 0, socket.SOCK_STREAM):
        scope.check()
        sock = socket.socket(family, kind, protocol)
        try:
            for option in options or ():
                sock.setsockopt(*option)
            sock.settimeout(timeout_s if isinstance(timeout_s, (int, float)) else CONNECT_TIMEOUT_S)
            scope.adopt(sock)
            sock.connect(address)
        except OSError as exc:
            last = exc
            sock.close()
        else:
            return sock
    raise last or OSError("no address to connect to")


class _AbortableHTTPConnection(_AbortableMixin):
    pass


class _AbortableHTTPSConnection(_AbortableMixin, urllib3.connection.HTTPSConnection):
    _handshake = contextlib.ExitStack()

    def connect(self) -> None:
        with contextlib.ExitStack() as self._handshake:
            super().connect()

    def _new_conn(self) -> socket.socket:
        sock, scope = super()._new_conn(), current_scope()
        if scope is not None:
            # The TLS layer takes the socket over and blocks in its handshake before it gives a new one: until then a
            # second handle is what can be shut down.
            twin = sock.dup()
            self._handshake.callback(twin.close)
            self._handshake.callback(scope.let_go, twin)
            scope.adopt(twin)
        return sock


class _HTTPPool(urllib3.HTTPConnectionPool):
    ConnectionCls = _AbortableHTTPConnection


class _HTTPSPool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _AbortableHTTPSConnection


class _Adapter(HTTPAdapter):
    """An adapter whose connections can be aborted, also through an HTTP proxy."""

    _pools = {"http": _HTTPPool, "https": _HTTPSPool}  # noqa: RUF012

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = self._pools

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        manager = super().proxy_manager_for(proxy, **kwargs)
        if not proxy.lower().startswith("socks"):
            manager.pool_classes_by_scheme = self._pools
        return manager


class _Session(requests.Session):
    """A session that drops the token when a redirect leads to another host, and never replaces it by netrc's word."""

    def rebuild_auth(self, prepared_request: requests.PreparedRequest, response: requests.Response) -> None:
        if self.should_strip_auth(response.request.url, prepared_request.url):  # type: ignore[no-untyped-call]
            prepared_request.headers.pop("Authorization", None)


def client_headers() -> dict[str, str]:
    """Return the headers that every request carries, bootstrap ones included."""
    python = f"Python/{platform.python_version()}"
    return {
        "X-Arkor-Client": f"arkor/{__version__}",
        "User-Agent": f"arkor-python/{__version__} {python} {platform.system()} requests/{requests.__version__}",
    }


def path(*segments: str) -> str:
    """Return a URL path of percent-encoded segments: ``path("v1", "jobs", job_id)``.

    Raises:
        ConfigError: a segment would lead to another place. It is empty, ``.`` or ``..``, which no encoding protects, or
            has half a character.
    """
    for segment in segments:
        if segment in {"", ".", ".."} or any("\ud800" <= char <= "\udfff" for char in segment):
            raise ConfigError("id", f"{segment!r} is not an id of anything")
    return "/" + "/".join(quote(segment, safe="") for segment in segments)


def split_base_url(base_url: str) -> SplitResult:
    """Return the parts of a backend's address. Raises ConfigError where it is none, or holds a secret."""
    if "@" in base_url.partition("//")[2].partition("/")[0]:  # every error would show it, and it is never sent
        raise ConfigError("backend", "has a user name or a password in its URL; leave them out and set ARKOR_TOKEN")
    with contextlib.suppress(ValueError):
        parts = urlsplit(base_url)
        if parts.scheme in {"http", "https"} and parts.hostname:
            return parts
    raise ConfigError("backend", f"{base_url!r} is not an http(s) URL; look at ARKOR_CLOUD_API_URL")


class Transport:
    """Requests to one backend under one identity.

    Args:
        base_url: scheme, host and port; trailing slashes are dropped.
        token: the bearer token, what hands it out, or None for the calls that need none.

    Raises:
        ConfigError: the base URL is not one.

    Thread-safety: requests may be made from several threads; ``close`` by whoever made it.
    """

    def __init__(self, base_url: str, token: str | TokenSource | None = None) -> None:
        self.base_url = base_url.rstrip("/")
        parts = split_base_url(self.base_url)
        self._host = parts.netloc
        self._session = _Session()
        self._session.headers.update(client_headers())
        self._session.auth = self._bearer = BearerToken(token_source(token))
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, _Adapter())
        # In the session's own proxies requests 2.34 passes over no_proxy: it must come with each request.
        self._proxies = {"no_proxy": parts.hostname} if parts.hostname in LOOPBACK_HOSTS else None

    def close(self) -> None:
        """Close the pooled connections."""
        self._session.close()

    def send(
        self,
        method: str,
        url_path: str,
        *,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        json: Any = None,
        data: Any = None,
        stream: bool = False,
        timeout_s: tuple[float, float] = (CONNECT_TIMEOUT_S, READ_TIMEOUT_S),
        as_is: bool = False,
    ) -> requests.Response:
        """Make one request, once; once more where the backend refused the token and there is another one.

        Args:
            method: the HTTP method.
            url_path: an encoded path, see ``path``.
            params: the query.
            headers: beside those that every request carries.
            json: a body to send as JSON, or None.
            data: a body of bytes or a file, or None.
            stream: whether the caller reads the body itself.
            timeout_s: seconds to connect, and seconds without a byte of the answer; less where the deadline of the
                active abort scope comes sooner.
            as_is: return the first answer whatever its status, and follow no redirect.

        Raises:
            ConnectionFailed: no answer.
            CloudApiError: an answer with an error status, by its class.
            CredentialsError: there is no valid token, and none can be had.
        """
        rewind = _rewinding(data)
        request = functools.partial(
            self._session.request,
            method,
            self.base_url + url_path,
            params=params,
            headers=headers,
            json=json,
            data=data,
            stream=stream,
            proxies=self._proxies,
            allow_redirects=not as_is,
        )
        response = self._once(request, timeout_s)
        if response.status_code == 401 and rewind is not None and self._is_renewed(response):
            rewind()
            response = self._once(request, timeout_s)
        if not response.headers:  # http.client takes a head that was cut after its first line for a whole one
            response.close()
            raise ConnectionFailed(f"No answer from {self.base_url}: the connection was cut")
        if response.status_code >= 400 and not as_is:
            with response:
                raise _error(response, self.base_url)
        return response

    def _once(self, request: Callable[..., requests.Response], timeout_s: tuple[float, float]) -> requests.Response:
        scope = current_scope()
        with translated(self.base_url):
            response = request(timeout=timeout_s if scope is None else scope.clip(timeout_s))
        notices.remember(response.headers, self._host)
        return response

    def _is_renewed(self, response: requests.Response) -> bool:
        """Say whether there is another token in place of the one that an answer refuses."""
        with translated(self.base_url):
            _ = response.content  # reading all of it gives the connection back
        return self._bearer.renew(response)

    def call(self, method: str, url_path: str, *, repeatable: bool | None = None, **kwargs: Any) -> requests.Response:
        """Make one request, and again where that is safe and may help.

        A request that certainly never arrived, a 429 and a 503 are repeated for every method; other failures only
        for a repeatable one.

        Args:
            method: the HTTP method.
            url_path: an encoded path.
            repeatable: whether doing it twice is the same as doing it once; by default so for all but POST and PATCH.
            kwargs: see ``send``.
        """
        safe = method not in {"POST", "PATCH"} if repeatable is None else repeatable

        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception(functools.partial(may_help, safe=safe)),
            wait=_retry_wait,
            stop=tenacity.stop_after_attempt(RETRIES),
            sleep=pause,
            reraise=True,
        )
        return retrying(self.send, method, url_path, **kwargs)


def _rewinding(data: Any) -> Callable[[], object] | None:
    """Return what makes a body ready to be sent again; None for one that can be sent only once."""
    if data is None or isinstance(data, (str, bytes, Mapping)):
        return lambda: None
    try:
        return functools.partial(data.seek, data.tell())
    except (AttributeError, OSError):
        return None


def may_help(exc: BaseException, *, safe: bool) -> bool:
    """Say whether a request that failed may be made again, and may then succeed.

    Args:
        exc: how it failed.
        safe: whether doing it twice is the same as doing it once.
    """
    if isinstance(exc, ConnectionFailed):
        return safe or not exc.sent
    if isinstance(exc, CloudApiError):
        failed = isinstance(exc, ServerError) and exc.status != 501  # what is not there does not come by asking
        return isinstance(exc, RateLimited) or exc.status == 503 or (safe and failed)
    return False


def retry_delay_s(failures: int, failure: BaseException | None) -> float:
    """Return how long to wait before a request is made again, in seconds.

    Args:
        failures: how many there were in a row, at least 1.
        failure: the last one; where it says when to come back, that counts, up to a limit.
    """
    asked = failure.retry_after if isinstance(failure, CloudApiError) else None
    if asked is not None:
        return min(asked, LONGEST_RETRY_WAIT_S)
    return min(0.3 * 2.0 ** min(failures - 1, 16), LONGEST_RETRY_WAIT_S) + random.uniform(0, 0.3)


def _retry_wait(state: tenacity.RetryCallState) -> float:
    return retry_delay_s(state.attempt_number, state.outcome.exception() if state.outcome else None)


_FOREIGN = (
    requests.RequestException,
    urllib3.exceptions.HTTPError,
    http.client.HTTPException,
    OSError,
    ValueError,  # urllib3's ProxySchemeUnsupported; a redirect, a host or a query that cannot be made into a request
)


@contextlib.contextmanager
def translated(base_url: str) -> Iterator[None]:
    """Turn every exception of requests, urllib3 and http.client that leaves the block into one of arkor's."""
    try:
        yield
    except ArkorError:  # some of ours are OSErrors too
        raise
    except (
        requests.exceptions.InvalidURL,
        requests.exceptions.InvalidSchema,
        requests.exceptions.MissingSchema,
    ) as exc:
        raise ConfigError("backend", f"{base_url!r} cannot be used as a URL: {exc}") from exc
    except _FOREIGN as exc:
        raise ConnectionFailed(f"No answer from {base_url}: {_reason(exc)}", _was_sent(exc)) from exc


def _causes(exc: BaseException) -> Iterator[BaseException]:
    """Yield an exception and those it wraps, outermost first."""
    seen: set[int] = set()
    pending: list[Any] = [exc]
    while pending:
        item = pending.pop(0)
        if not isinstance(item, BaseException) or id(item) in seen:
            continue
        seen.add(id(item))
        yield item
        pending += [getattr(item, "reason", None), item.__cause__, item.__context__, *item.args]


_REASONS: tuple[tuple[tuple[type[BaseException], ...], str], ...] = (
    ((ConnectionRefusedError,), "connection refused. Is it running, and is the address right?"),
    ((socket.gaierror,), "its name cannot be resolved. Is there a network?"),
    ((requests.exceptions.ProxyError,), "the proxy failed; look at HTTPS_PROXY and NO_PROXY"),
    (
        (requests.exceptions.SSLError, urllib3.exceptions.SSLError),
        "its TLS certificate was not accepted, or TLS failed",
    ),
    (
        (requests.exceptions.ConnectTimeout, urllib3.exceptions.ConnectTimeoutError),
        "it did not accept a connection in time",
    ),
    ((requests.exceptions.ReadTimeout, urllib3.exceptions.ReadTimeoutError, TimeoutError), "it sent nothing in time"),
    ((ConnectionResetError, BrokenPipeError), "the connection was cut"),
)


def _reason(exc: BaseException) -> str:
    """Say in a few words what went wrong, by the most telling of its causes."""
    causes = list(_causes(exc))
    for types, reason in _REASONS:
        if any(isinstance(cause, types) for cause in causes):
            return reason
    return str(exc) or type(exc).__name__


def _was_sent(exc: BaseException) -> bool:
    before = (
        urllib3.exceptions.NewConnectionError,
        urllib3.exceptions.ConnectTimeoutError,
        requests.ConnectTimeout,
    )
    return not any(isinstance(cause, before) for cause in _causes(exc))


def _error(response: requests.Response, base_url: str) -> CloudApiError:
    """Read an error answer: its JSON ``error``, else its body, else its status."""
    with translated(base_url):
        body = response.text.strip()
    try:
        parsed = response.json()
    except (ValueError, RecursionError):
        parsed = None
    said = parsed.get("error") if isinstance(parsed, dict) else None
    status = response.status_code
    if status == 426:
        message = _upgrade_message(parsed if isinstance(parsed, dict) else {})
    else:
        message = said if isinstance(said, str) and said else body[:2000] or f"cloud-api {status}"
    error = error_for_status(status, message, retry_after(response.headers))
    error.body = parsed if isinstance(parsed, dict) else {}
    return error


def _upgrade_message(body: Mapping[str, Any]) -> str:
    supported = body.get("supportedRange")
    wanted = f" (it supports {notices.one_line(supported)})" if isinstance(supported, str) else ""
    how, hint = upgrade_command(), body.get("upgrade")
    if how.startswith("pip ") and isinstance(hint, str) and hint.startswith("pip "):
        how = notices.one_line(hint)  # it may name a range; for a copy that pip did not install it would be wrong
    return f"The backend no longer speaks to arkor {__version__}{wanted}. Upgrade with: {how}"


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds of a ``Retry-After`` header, given as a number or as a date; None where there is none."""
    value = headers.get("Retry-After", "").strip()
    if value.isascii() and value.isdigit():
        return float(value)
    with contextlib.suppress(TypeError, ValueError, OverflowError):
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    return None
