"""What protects the page and its API from other pages: the Host, the token, and the headers of every answer.

Whatever runs in a browser on this machine can send requests here. A page of another origin cannot read the answers,
does not know the token, and cannot make the browser send it. One whose name points at 127.0.0.1 sends that name.
"""

from __future__ import annotations

import contextlib
import hmac
import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from flask import Request, request
from waitress.channel import ClientDisconnected

from arkor.serving.refusal import Refusal
from arkor.studio.routes.access import studio

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

TOKEN_HEADER = "X-Arkor-Studio-Token"

# The two hashes are of the empty style and of the one that Plotly 4.1 (of the package plotly 7.1) puts into a page.
_STYLES = (
    "'self' 'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=' 'sha256-ji27qzEtxXZW+7dun6UwjHXJ18e6WAin1VvNtkzIE/o='"
)
CONTENT_SECURITY_POLICY = (
    f"default-src 'none'; script-src 'self'; style-src {_STYLES}; img-src 'self' data: blob:; connect-src 'self'; "
    "font-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = (
    ("Content-Security-Policy", CONTENT_SECURITY_POLICY),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
    ("X-Frame-Options", "DENY"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
)
_METHODS = frozenset({"GET", "HEAD", "POST"})
_OPEN = ("/static/", "/download/")  # a download's address is a secret of its own
_EVENTS = "/api/jobs/<job_id>/events"


class Fence:
    """Stands in front of the whole application, its errors included: checks the Host, and puts the headers on.

    Args:
        app: what answers.
        port: the port that Studio listens on.
    """

    def __init__(self, app: WSGIApplication, port: int) -> None:
        self._app = app
        self._refusal = f'{{"error": "Studio answers only to 127.0.0.1:{port} and localhost:{port}."}}\n'.encode()
        self._hosts = re.compile(rf"(?:127\.0\.0\.1|localhost)(?::{port}){'?' if port == 80 else ''}", re.IGNORECASE)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer a request, as WSGI has it."""

        def start(status: str, headers: list[tuple[str, str]], *rest: Any) -> Callable[[bytes], object]:
            write = start_response(status, with_security(headers), *rest)
            if not any(name.lower() == "content-length" for name, _ in headers):
                with contextlib.suppress(ClientDisconnected):  # its body finds that out, and is closed
                    write(b"")  # a stream's headers go out now, not with its first byte
            return write

        if self._is_ours(environ):
            return self._app(environ, start)
        length = str(len(self._refusal))
        start("403 FORBIDDEN", [("Content-Type", "application/json"), ("Content-Length", length)])
        return [b"" if environ["REQUEST_METHOD"] == "HEAD" else self._refusal]

    def _is_ours(self, environ: WSGIEnvironment) -> bool:
        """Say whether a request names us; one with a whole URL as its target names two hosts."""
        target = environ.get("REQUEST_URI", "/")
        return target.startswith("/") and bool(self._hosts.fullmatch(environ.get("HTTP_HOST", "")))


def with_security(headers: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return an answer's headers with those that every answer has; what is not meant to be kept is never stored."""
    ours = {name.lower() for name, _ in HEADERS}
    kept = [(name, value) for name, value in headers if name.lower() not in ours]
    if not any(name.lower() == "cache-control" for name, _ in kept):
        kept.append(("Cache-Control", "no-store"))
    return [*kept, *HEADERS]


def check_request() -> None:
    """Refuse a request that no page of ours would make.

    Raises:
        Refusal: 405 for a method that nothing here has, 403 without the token, 415 for a body that is no JSON.
    """
    if request.method not in _METHODS:
        raise Refusal(405, "Studio answers to GET and POST.", headers={"Allow": ", ".join(sorted(_METHODS))})
    rule = request.url_rule.rule if request.url_rule is not None else request.path
    is_open = rule == "/" or rule.startswith(_OPEN) or (request.url_rule is None and not _is_api(rule))
    if not is_open and not _is_token(_given_token(request, rule)):
        raise Refusal(403, "The token of this launch of Studio is missing or wrong: reload the page.", launch="other")
    if request.method == "POST" and request.content_length and request.mimetype != "application/json":
        raise Refusal(415, "The body has to be JSON, with Content-Type: application/json.")


def _is_api(path: str) -> bool:
    return path == "/api" or path.startswith("/api/")


def _given_token(request: Request, rule: str) -> str:
    """Return the token that a request carries; an EventSource alone, which has no headers, has it in its address."""
    if request.method == "GET" and rule == _EVENTS and TOKEN_HEADER not in request.headers:
        return request.args.get("token", "")
    return request.headers.get(TOKEN_HEADER, "")


def _is_token(given: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "replace"), studio().token.encode())
