"""What a backend says about things that go away: remembered for the whole process, the last one wins.

Any answer may carry ``Deprecation``, ``Sunset`` and ``Warning: 299``. What is malformed counts as absent, and nothing
here ever fails a request. The command line shows the last notice once, at its end; a program can ask for it, or hand in
a handler.

Protocol: docs/protocol.md, "Addressing a backend" (Deprecation); RFC 9745, RFC 8594, RFC 7234 section 5.5.
"""

from __future__ import annotations

import contextlib
import contextvars
import email.utils
import logging
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta, timezone

import attrs

from arkor.system.forks import OwnToEachProcess
from arkor.system.upgrade import upgrade_command
from arkor.text import one_line

HEADERS = ("Deprecation", "Warning", "Sunset")
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_WARNING = re.compile(r'\s*([0-9]{3}) (\S+) "((?:[^"\\]|\\.)*)"(?: "[^"]*")?\s*(?:,|$)')

logger = logging.getLogger(__name__)


@attrs.frozen(kw_only=True)
class Notice:
    """A backend's word that something this client uses is deprecated, or that something is to be known.

    Attributes:
        backend: host and port of the backend that said so.
        text: its own words, on one line; empty where it gave none.
        deprecated: whether it says that what was asked for is deprecated.
        since: from when on it is, where that is told.
        sunset: when it stops working, where that is told.
    """

    backend: str
    text: str = ""
    deprecated: bool = False
    since: datetime | None = None
    sunset: datetime | None = None

    def __str__(self) -> str:
        parts = [f"Notice from {self.backend}:", self.text or "What this version of arkor asks for is deprecated."]
        if self.sunset is not None:
            parts.append(f"It stops working on {self.sunset:%Y-%m-%d}.")
        if self.deprecated or self.sunset is not None:
            parts.append(f"Upgrade with: {upgrade_command()}")
        return " ".join(parts)


class _Memory:
    """The last notice of this process, and who wants to hear of the next. Thread-safe."""

    def __init__(self) -> None:
        self._locks = OwnToEachProcess(threading.Lock)
        self.last: Notice | None = None
        self.handler: Callable[[Notice], object] | None = None

    def take(self, notice: Notice) -> None:
        with self._locks.get():
            is_news = notice != self.last
            self.last, handler = notice, self.handler
        if is_news:
            logger.warning("%s", notice)
            if handler is not None:
                handler(notice)


_memory = _Memory()
_hearing: contextvars.ContextVar[dict[str, str] | None] = contextvars.ContextVar("arkor_notices", default=None)


def last_notice() -> Notice | None:
    """Return the last notice that any answer in this process carried, or None.

    Thread-safety: safe.
    """
    return _memory.last


def on_notice(handler: Callable[[Notice], object] | None) -> None:
    """Hand notices to a function as they arrive, in place of the one before; None hands them to nobody.

    Args:
        handler: called on the thread of the request, with each notice that differs from the last. What it raises is
            logged at DEBUG and goes no further.

    Thread-safety: safe.
    """
    _memory.handler = handler


@contextlib.contextmanager
def headers_into(found: dict[str, str]) -> Iterator[None]:
    """Put the headers of the last notice that answers to this thread carry inside the block into a mapping.

    Args:
        found: gets ``Deprecation``, ``Warning`` and ``Sunset`` as they came; what they replace is removed.
    """
    token = _hearing.set(found)
    try:
        yield
    finally:
        _hearing.reset(token)


def remember(headers: Mapping[str, str], backend: str) -> None:
    """Remember the notice of an answer, if it carries one; never raise.

    Args:
        headers: the answer's headers, whatever the case of their names.
        backend: host and port of the backend.
    """
    try:
        notice = read_notice(headers, backend)
        if notice is not None:
            _memory.take(notice)
            hearing = _hearing.get()
            if hearing is not None:
                hearing.clear()
                hearing.update({name: headers[name] for name in HEADERS if name in headers})
    except Exception:  # a notice, and whatever the user's handler does with it, must not fail the request
        logger.debug("A notice of %s could not be handled.", backend, exc_info=True)


def read_notice(headers: Mapping[str, str], backend: str) -> Notice | None:
    """Return the notice that headers carry, or None.

    Args:
        headers: the answer's headers, whatever the case of their names.
        backend: host and port of the backend.
    """
    deprecation = headers.get("Deprecation", "").strip()
    since = _unix_date(deprecation)
    deprecated = since is not None or deprecation.lower() == "true"
    text = _warning(headers.get("Warning", ""))
    sunset = _http_date(headers.get("Sunset", ""))
    if not (deprecated or text or sunset):
        return None
    return Notice(backend=one_line(backend), text=text, deprecated=deprecated, since=since, sunset=sunset)


def _warning(value: str) -> str:
    """Return the texts of the 299 warnings in a header, which may hold others; empty where one is malformed."""
    texts, at = [], 0
    while at < len(value):
        match = _WARNING.match(value, at)
        if match is None:
            return ""
        code, _, quoted = match.groups()
        if code == "299":
            texts.append(re.sub(r"\\(.)", r"\1", quoted))
        at = match.end()
    text = " ".join(texts)
    with contextlib.suppress(UnicodeError):  # headers are read as Latin-1, and often are UTF-8
        text = text.encode("latin-1").decode()
    return one_line(text)


def _unix_date(value: str) -> datetime | None:
    """Return the date of RFC 9745's form, ``@`` and seconds since 1970."""
    if not re.fullmatch(r"@-?[0-9]{1,12}", value):
        return None
    with contextlib.suppress(OverflowError):
        return _EPOCH + timedelta(seconds=int(value[1:]))
    return None


def _http_date(value: str) -> datetime | None:
    with contextlib.suppress(TypeError, ValueError, IndexError, OverflowError):
        date = email.utils.parsedate_to_datetime(value)
        return date.astimezone(timezone.utc) if date.tzinfo else date.replace(tzinfo=timezone.utc)
    return None
