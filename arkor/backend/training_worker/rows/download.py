"""Fetching a JSONL file behind a URL, once for all attempts at a job."""

from __future__ import annotations

import contextlib
import logging
import os
import tempfile
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import requests
import requests.auth
import requests.utils
import tenacity
import urllib3

from arkor.backend.training_worker.rows.blob_body import BadBody, Body, CutBody, Limits
from arkor.backend.training_worker.rows.dialing import Dialer, DialingAdapter, NotPublic
from arkor.errors import DatasetError

log = logging.getLogger("arkor.worker")

_BODY_STATUSES = {200, 206, 416}
_BUSY = 429


def download_blob(
    source: Mapping[str, Any],
    job_dir: Path,
    name: str = "dataset",
    *,
    allow_private_urls: bool = False,
    limits: Limits | None = None,
) -> Path:
    """Fetch a blob into the job's folder, unless an earlier attempt did: a resumed job sees the same rows.

    A connection that fails, a cut body, a status of 500 or above and a 429 are tried again, from where the body was cut
    if the server can do that.

    Args:
        source: the ``datasetSource`` object, with ``url`` and possibly ``token``.
        job_dir: the job's folder.
        name: what the file in it is called, without its ending.
        allow_private_urls: fetch from hosts that are not on the public internet too, and through a proxy.
        limits: what the download may take; None for the defaults.

    Raises:
        DatasetError: the URL cannot be fetched, the body is cut, it is not a text of rows, or it is over a limit: the
            error says which.
        OSError: the disk is full.
    """
    target = job_dir / f"{name}.jsonl"
    if target.exists():
        return target
    url, limits = str(source["url"]), limits or Limits()
    handle, temporary = tempfile.mkstemp(dir=job_dir, prefix=".dataset.")
    try:
        with (
            os.fdopen(handle, "wb") as file,
            contextlib.closing(Dialer(public_only=not allow_private_urls, total_s=limits.total_s)) as dialer,
            _Session(dialer) as session,
        ):
            _Download(source, session, Body(file, limits), limits).complete()
        Path(temporary).replace(target)
    except (_Failure, BadBody, CutBody, NotPublic) as exc:
        # Not "from exc": the library's errors have the whole URL, which may hold a password or a signature.
        raise DatasetError(shown_url(url), str(exc)) from None
    finally:
        Path(temporary).unlink(missing_ok=True)
    return target


class _Failure(Exception):
    """The blob cannot be fetched; the text says why."""


class _Trouble(_Failure):
    """The same, but another try may help.

    Attributes:
        retry_after_s: seconds until then, as the server said; None if it did not.
    """

    def __init__(self, text: str, retry_after_s: float | None = None) -> None:
        super().__init__(text)
        self.retry_after_s = retry_after_s


class _Authorization(requests.auth.AuthBase):
    """Sends what the job itself gives, a token or the name and password in its URL, and never the ``.netrc``."""

    def __init__(self, url: str, token: str | None) -> None:
        user, password = requests.utils.get_auth_from_url(url)
        self._token = token
        self._basic = requests.auth.HTTPBasicAuth(user, password) if user else None

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self._token:
            request.headers["Authorization"] = f"Bearer {self._token}"
        elif self._basic is not None:
            self._basic(request)
        return request


class _Session(requests.Session):
    """Takes proxies and certificates from the environment, but no passwords."""

    def __init__(self, dialer: Dialer) -> None:
        super().__init__()
        self.dialer = dialer
        for scheme in ("http://", "https://"):
            self.mount(scheme, DialingAdapter(dialer))

    def get_redirect_target(self, resp: requests.Response) -> None:
        """Follow no redirect: before it did, the library would read all of the redirect's body."""

    def next_url(self, answer: requests.Response) -> str | None:
        """Return where a redirect leads; None if the answer is no redirect."""
        target = super().get_redirect_target(answer)
        return None if target is None else urljoin(answer.url, requests.utils.requote_uri(target))


class _Download:
    """One blob's way, over several tries. One thread."""

    def __init__(self, source: Mapping[str, Any], session: _Session, body: Body, limits: Limits) -> None:
        self._url = str(source["url"])
        self._token = source.get("token")
        self._session = session
        self._body = body
        self._limits = limits
        self._failures = 0

    def complete(self) -> None:
        """Try until all of it is there.

        Raises:
            _Failure, BadBody, CutBody, NotPublic: it cannot be had.
        """
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type((_Trouble, CutBody)),
            wait=self._wait_s,
            stop=lambda state: self._failures >= self._limits.tries or self._is_over(state),
            before_sleep=self._say_so,
            sleep=_pause,
            reraise=True,
        )
        retrying(self._try)

    def _is_over(self, state: tenacity.RetryCallState) -> bool:
        return (state.seconds_since_start or 0.0) + state.upcoming_sleep >= self._limits.total_s

    def _wait_s(self, state: tenacity.RetryCallState) -> float:
        failure = state.outcome.exception() if state.outcome else None
        asked = failure.retry_after_s if isinstance(failure, _Trouble) else None
        if asked is not None:
            return min(asked, self._limits.longest_retry_after_s)
        doubled: float = self._limits.first_pause_s * 2.0 ** max(0, self._failures - 1)
        return min(doubled, self._limits.longest_pause_s)

    def _say_so(self, state: tenacity.RetryCallState) -> None:
        failure = state.outcome.exception() if state.outcome else None
        pause_s = state.next_action.sleep if state.next_action else 0
        log.info("%s: %s; the next try is in %.0f s", shown_url(self._url), failure, pause_s)

    def _try(self) -> None:
        """Send one request and read its answer; a failure after which there is more than ever before counts as none."""
        furthest = self._body.furthest
        try:
            self._receive()
        except (_Trouble, CutBody):
            self._check_time()
            self._failures = 0 if self._body.furthest > furthest else self._failures + 1
            raise

    def _check_time(self) -> None:
        if self._session.dialer.is_late:
            total_s = self._limits.total_s
            raise _Failure(
                f"cannot be fetched: it is not complete after {total_s:g} s, which is the limit for all tries together"
            )

    def _receive(self) -> None:
        with self._failures_named(), self._open() as answer:
            _check_status(answer)
            self._body.receive(answer)
            self._check_time()  # a connection that is broken off looks like the end of a body without a length

    @contextlib.contextmanager
    def _failures_named(self) -> Iterator[None]:
        try:
            yield
        except (requests.ReadTimeout, urllib3.exceptions.ReadTimeoutError) as exc:
            idle_s = self._limits.idle_s
            raise _Trouble(f"cannot be fetched: no byte came for {idle_s:g} s, which is the limit") from exc
        except (requests.ConnectionError, requests.Timeout) as exc:
            if "CERTIFICATE_VERIFY_FAILED" in str(exc):
                raise _Failure("cannot be fetched: the server's certificate is not accepted") from exc
            raise _Trouble(f"cannot be fetched from the backend's machine: {type(exc).__name__}") from exc
        except requests.RequestException as exc:
            raise _Failure(f"cannot be fetched: {type(exc).__name__}") from exc
        except urllib3.exceptions.HTTPError as exc:  # while the body arrived
            raise _Trouble(self._body.cut()) from exc
        finally:
            self._session.dialer.let_go()

    def _open(self) -> requests.Response:
        url, authorization = self._url, _Authorization(self._url, self._token)
        for _ in range(self._limits.redirects + 1):
            answer = self._session.get(
                url,
                auth=authorization,
                headers=self._body.headers(),
                stream=True,
                timeout=(self._limits.connect_s, self._limits.idle_s),
            )
            following = self._session.next_url(answer)
            if following is None:
                return answer
            answer.close()
            if self._session.should_strip_auth(url, following):  # type: ignore[no-untyped-call]
                authorization = _Authorization("", None)
            url = following
        raise _Failure(f"cannot be fetched: it leads on to another URL more than {self._limits.redirects} times")


def _pause(seconds: float) -> None:
    threading.Event().wait(seconds)


def _check_status(answer: requests.Response) -> None:
    status = answer.status_code
    if status in _BODY_STATUSES and (status == 200 or "Range" in answer.request.headers):
        return
    hint = "; check the data set's token" if status in {401, 403} else ""
    text = f"cannot be fetched: the server answered {status}{hint}"
    raise _Trouble(text, _retry_after_s(answer)) if status == _BUSY or status >= 500 else _Failure(text)


def _retry_after_s(answer: requests.Response) -> float | None:
    """Return the seconds until the server wants to be asked again; None if it does not say."""
    try:
        return urllib3.Retry().parse_retry_after(answer.headers.get("Retry-After", ""))
    except (urllib3.exceptions.InvalidHeader, ValueError, OverflowError):
        return None


def shown_url(url: str) -> str:
    """Return a URL without its secrets: what follows a ``?`` or ``#``, a name and password before the host."""
    scheme, _, rest = url.partition("#")[0].partition("?")[0].partition("//")
    host, slash, path = rest.partition("/")
    return f"{scheme}//{host.rpartition('@')[2]}{slash}{path}"
