"""Bytes in, whole frames out: the pure half of the event stream, without I/O.

``FrameReader`` finds where frames end, whatever the line ends and however the bytes were cut into reads, and drops what
a cut left incomplete. sseclient-py, which parses the fields of a frame, is given whole frames only.

Protocol: docs/protocol.md, "Reader rules" 1-3; WHATWG HTML, "Server-sent events", section "Parsing an event stream".
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

import attrs
import sseclient

from arkor.errors import StreamError

MAX_FRAME_BYTES = 16 * 1024 * 1024
LONGEST_RETRY_MS = 24 * 3600 * 1000

_BOM = b"\xef\xbb\xbf"


@attrs.frozen
class Frame:
    """One event of a stream.

    Attributes:
        id: the frame's id, empty to reset it, or None where it has none (or one with a NUL, which does not count).
        event: its name; ``message`` where it has none.
        data: its data lines, joined by newlines.
        retry_ms: the reconnection time it asks for, in milliseconds, or None.
    """

    id: str | None
    event: str
    data: str
    retry_ms: int | None


class FrameReader:
    """Turns the bytes of one connection into frames.

    Args:
        max_frame_bytes: the longest frame that is accepted.

    Thread-safety: none; one reader a connection.
    """

    def __init__(self, max_frame_bytes: int = MAX_FRAME_BYTES) -> None:
        self._max_frame_bytes = max_frame_bytes
        self._buffer = bytearray()
        self._searched = 0
        self._after_cr = False
        self._at_start = True
        self._whole: deque[bytes] = deque()
        self._events = self._parser()

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Yield the frames that are complete with these bytes, in order.

        Args:
            data: what was read, cut anywhere.

        Raises:
            StreamError: a frame is longer than the limit.
        """
        self._buffer += self._with_newlines(data)
        if self._at_start and not self._drop_bom():
            return
        while (end := self._buffer.find(b"\n\n", self._searched)) >= 0:
            block = bytes(self._buffer[:end]).strip(b"\n")
            del self._buffer[: end + 2]
            self._searched = 0
            self._check_size(len(block))
            if block:
                yield self._parse(block)
        self._searched = max(0, len(self._buffer) - 1)
        self._check_size(len(self._buffer))

    def _check_size(self, size: int) -> None:
        if size > self._max_frame_bytes:
            raise StreamError(
                f"The event stream sent a frame of more than {self._max_frame_bytes} bytes; it is not read any further."
            )

    def _with_newlines(self, data: bytes) -> bytes:
        """Turn CRLF and CR into LF, also where a CRLF was cut in two."""
        if self._after_cr and data[:1] == b"\n":
            data = data[1:]
            self._after_cr = False
        if data:
            self._after_cr = data.endswith(b"\r")
        return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n") if b"\r" in data else data

    def _drop_bom(self) -> bool:
        """Drop a byte order mark from the start; say whether there are enough bytes to know."""
        if len(self._buffer) < len(_BOM) and _BOM.startswith(self._buffer):
            return False
        if self._buffer.startswith(_BOM):
            del self._buffer[: len(_BOM)]
        self._at_start = False
        return True

    def _parser(self) -> Iterator[sseclient.Event]:
        return iter(sseclient.SSEClient(iter(self._whole.popleft, None)).events())

    def _parse(self, block: bytes) -> Frame:
        if b"\0" in block or b"retry" in block:
            block = b"\n".join(line for line in block.split(b"\n") if not _is_ignored(line))
        # sseclient-py 1.9 drops a frame without data, id and all: an empty data line of ours keeps every frame, and
        # one frame gives one event.
        self._whole.append(block + b"\ndata:\n\n")
        try:
            event = next(self._events)
        except UnicodeDecodeError:  # its generator is spent; the specification replaces what is not UTF-8
            self._events = self._parser()
            return self._parse(block.decode("utf-8", "replace").encode())
        retry_ms = None if event.retry is None else int(min(float(event.retry), LONGEST_RETRY_MS))
        return Frame(event.id, event.event, event.data.removesuffix("\n"), retry_ms)


def _is_ignored(line: bytes) -> bool:
    """Say whether sseclient-py takes a line that the specification ignores: an id with NUL, a retry not all digits."""
    field, _, value = line.partition(b":")
    return (field == b"id" and b"\0" in value) or (field == b"retry" and not value.removeprefix(b" ").isdigit())
