"""What went wrong, as one of arkor's errors: here every exception of requests, urllib3 and http.client becomes one.

Protocol: docs/protocol.md, "Addressing a backend" (Errors).
"""

from __future__ import annotations

import contextlib
import email.utils
import http.client
import json
import socket
import time
from collections.abc import Iterator, Mapping
from typing import Any

import requests
import urllib3

from arkor.errors import ArkorError, CloudApiError, ConfigError, ConnectionFailed, error_for_status
from arkor.http.cloud import CLOUD_API_URL
from arkor.http.connections import StrangeServer
from arkor.system.upgrade import upgrade_command
from arkor.text import one_line
from arkor.version import __version__

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
        message, is_cloud = f"No answer from {base_url}: {_reason(exc)}", base_url.rstrip("/") == CLOUD_API_URL
        raise ConnectionFailed(message, _was_sent(exc), is_cloud) from exc


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
    ((StrangeServer,), "another program listens there, and no token was sent to it"),
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


def error_of(response: requests.Response, base_url: str) -> CloudApiError:
    """Return the error of an answer: its JSON ``error``, or the ``message`` in it, else its body, else its status."""
    with translated(base_url):
        body = _without_token(response.text.strip(), response)
    try:
        parsed = json.loads(body)
    except (ValueError, RecursionError):
        parsed = None
    said = parsed.get("error") if isinstance(parsed, dict) else None
    said = said.get("message") if isinstance(said, dict) else said  # as in OpenAI's API
    status = response.status_code
    if status == 426:
        message = _upgrade_message(parsed if isinstance(parsed, dict) else {})
    else:
        message = said if isinstance(said, str) and said else body[:2000] or f"cloud-api {status}"
    error = error_for_status(status, _without_token(message, response), retry_after(response.headers))
    error.body = parsed if isinstance(parsed, dict) else {}
    return error


def _without_token(text: str, response: requests.Response) -> str:
    """Return what a backend said without the token it was sent, which errors show to people."""
    sent = response.request.headers.get("Authorization", "").partition(" ")[2]
    return text.replace(sent, "…") if sent else text


def _upgrade_message(body: Mapping[str, Any]) -> str:
    supported = body.get("supportedRange")
    wanted = f" (it supports {one_line(supported)})" if isinstance(supported, str) else ""
    how, hint = upgrade_command(), body.get("upgrade")
    if how == "pip install --upgrade arkor" and isinstance(hint, str) and hint.startswith("pip "):
        how = one_line(hint)  # it may name a range; for a copy that pip did not take from an index it would be wrong
    return f"The backend no longer speaks to arkor {__version__}{wanted}. Upgrade with: {how}"


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds of a ``Retry-After`` header, given as a number or as a date; None where there is none."""
    value = headers.get("Retry-After", "").strip()
    if value.isascii() and value.isdigit():
        return float(value)
    with contextlib.suppress(TypeError, ValueError, OverflowError):
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    return None
