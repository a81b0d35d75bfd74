"""Whether a request's body is read: decided by its head.

Waitress reads a body to its end, into memory and then into a temporary file, before the application sees the request.
So a client that the application refuses anyway could make it keep gigabytes. Here a gate is asked as soon as the head
is complete. If it refuses, the body is not read: the application gets the request without one and answers with the
refusal, and the connection is closed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import attrs
from waitress.parser import HTTPRequestParser
from waitress.task import WSGITask
from waitress.utilities import BadRequest

from arkor.serving.refusal import Refusal

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

_KEY = "arkor.refusal"
_LONGEST_CHUNK_LINE = 4096
_LONGEST_TRAILER = 65536


@attrs.frozen
class Admission:
    """A body that is read.

    Attributes:
        max_bytes: its largest size, as it is sent; a larger one is a 413.
        is_slow: whether the answer takes seconds of work; such requests have few threads of their own.
    """

    max_bytes: int
    is_slow: bool = False


Gate = Callable[["WSGIEnvironment"], Admission]


def refusal_of(environ: WSGIEnvironment) -> Exception | None:
    """Return why the body of a request was not read; None if it was read, or there was none."""
    return environ.get(_KEY)


class Parser(HTTPRequestParser):  # type: ignore[misc]  # waitress is untyped
    """Reads a request, and its body only as far as the gate admits.

    Args:
        adj: waitress's settings.
        admit: asked once, when the head is complete and a body follows.
        refused: called if the body is not read, or not to its end.

    Attributes:
        admission: what the gate answered, or None.
        refusal: why the body is not read, or not to its end, or None.
    """

    body_rcv: Any

    def __init__(self, adj: Any, admit: Callable[[Parser], Admission], refused: Callable[[], None]) -> None:
        super().__init__(adj)
        self._admit = admit
        self._refused = refused
        self.admission: Admission | None = None
        self.refusal: Exception | None = None

    def received(self, data: bytes) -> int:
        """Take in bytes; return how many belong to this request. All do if the body is not read."""
        consumed = int(super().received(data))
        if self.body_rcv is not None and self.error is None:
            try:
                self._check_body()
            except Exception as exc:  # the application raises it again, and answers as for any other
                self._refuse(exc)
                return len(data)
        return consumed

    def _check_body(self) -> None:
        if self.admission is None:
            self.admission = self._admit(self)
        body, limit = self.body_rcv, self.admission.max_bytes
        if max(self.content_length, len(body)) > limit:
            raise Refusal(413, f"The body is larger than this call takes: at most {limit} bytes.")
        if self.chunked and (len(body.control_line) > _LONGEST_CHUNK_LINE or len(body.trailer) > _LONGEST_TRAILER):
            self.error, self.completed = BadRequest("A chunk's head or the trailer is too long"), True

    def _refuse(self, exc: Exception) -> None:
        self.refusal = exc
        self.body_rcv.getbuf().close()
        self.body_rcv = None
        self.completed, self.expect_continue = True, False
        self.headers.pop("CONTENT_LENGTH", None)
        self.headers["CONNECTION"] = "close"
        self._refused()


class Task(WSGITask):  # type: ignore[misc]  # waitress is untyped
    """An answer; the application learns why it does not get the body."""

    def get_environment(self) -> WSGIEnvironment:
        """Return the request's WSGI environment."""
        environ: WSGIEnvironment = super().get_environment()
        environ[_KEY] = self.request.refusal
        return environ
