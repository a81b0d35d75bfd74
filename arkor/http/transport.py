"""One backend's address and one identity: headers, timeouts, retries where they are safe, errors in one tree.

Protocol: docs/protocol.md, "Addressing a backend".
"""

from __future__ import annotations

import contextlib
import functools
import platform
import random
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import SplitResult, quote, urlsplit

import requests
import tenacity

from arkor.errors import (
    CloudApiError,
    ConfigError,
    ConnectionFailed,
    RateLimited,
    ServerError,
)
from arkor.http import deprecation
from arkor.http.abort import current_scope, pause
from arkor.http.bearer import BearerToken, TokenSource, token_source
from arkor.http.connections import CONNECT_TIMEOUT_S, AbortableAdapter, CheckedAdapter, PeerCheck
from arkor.http.translate import error_of, translated
from arkor.protocol.json_rules import check_sendable
from arkor.system.forks import OwnToEachProcess
from arkor.version import __version__

READ_TIMEOUT_S = 60.0
RETRIES = 3
POOLED_CONNECTIONS = 128  # of threads that ask at the same time; urllib3 warns of each one beyond
LONGEST_RETRY_WAIT_S = 10.0
_LASTING = frozenset({501, 507})  # what is not there, and a full disk, do not get better by asking
LOOPBACK_HOSTS = frozenset({"localhost", "127.0.0.1", "::1"})


class _Session(requests.Session):
    """A session that drops the token when a redirect leads to another host, and never replaces it by netrc's word."""

    def rebuild_auth(self, prepared_request: requests.PreparedRequest, response: requests.Response) -> None:
        if self.should_strip_auth(response.request.url, prepared_request.url):  # type: ignore[no-untyped-call]
            prepared_request.headers.pop("Authorization", None)


def _new_session(bearer: BearerToken, check_peer: PeerCheck | None) -> _Session:
    session = _Session()
    session.headers.update(client_headers())
    session.auth = bearer
    for scheme in ("http://", "https://"):
        session.mount(scheme, AbortableAdapter(pool_maxsize=POOLED_CONNECTIONS))
    if check_peer is not None:
        session.mount("http://", CheckedAdapter(check_peer, pool_maxsize=POOLED_CONNECTIONS))
    return session


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
    raise ConfigError(
        "backend", f"{base_url!r} is neither 'local' nor an http(s) URL; it comes from backend= or ARKOR_CLOUD_API_URL"
    )


class Transport:
    """Requests to one backend under one identity.

    Args:
        base_url: scheme, host and port; trailing slashes are dropped.
        token: the bearer token, what hands it out, or None for the calls that need none.
        check_peer: looks at each new connection before a request is sent on it, for ``http://`` alone; None trusts all.

    Raises:
        ConfigError: the base URL is not one.

    Thread-safety: requests may be made from several threads; ``close`` by whoever made it. A forked process makes
    connections of its own.
    """

    def __init__(
        self, base_url: str, token: str | TokenSource | None = None, *, check_peer: PeerCheck | None = None
    ) -> None:
        self.base_url = base_url.rstrip("/")
        parts = split_base_url(self.base_url)
        self._host = parts.netloc
        self._bearer = BearerToken(token_source(token))
        self._sessions = OwnToEachProcess(functools.partial(_new_session, self._bearer, check_peer))
        # In the session's own proxies requests 2.34 passes over no_proxy: it must come with each request.
        self._proxies = {"no_proxy": parts.hostname} if parts.hostname in LOOPBACK_HOSTS else None

    def close(self) -> None:
        """Close this process's pooled connections."""
        self._sessions.get().close()

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
            ConfigError: the JSON body cannot travel; nothing was sent.
            ConnectionFailed: no answer.
            CloudApiError: an answer with an error status, by its class.
            CredentialsError: there is no valid token, and none can be had.
        """
        check_sendable(json)
        rewind = _rewinding(data)
        request = functools.partial(
            self._sessions.get().request,
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
                raise error_of(response, self.base_url)
        return response

    def _once(self, request: Callable[..., requests.Response], timeout_s: tuple[float, float]) -> requests.Response:
        scope = current_scope()
        with translated(self.base_url):
            response = request(timeout=timeout_s if scope is None else scope.clip(timeout_s))
        deprecation.remember(response.headers, self._host)
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
        failed = isinstance(exc, ServerError) and exc.status not in _LASTING
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
