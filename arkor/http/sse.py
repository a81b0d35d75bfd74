"""Bytes in, whole frames out: the pure half of the event stream, without I/O.

``FrameReader`` finds where frames end, whatever the line ends and however the bytes were cut into reads, and drops what
a cut left incomplete. sseclient-py, which parses the fields of a frame, is given whole frames only.

Protocol: docs/protocol.md, "Reader rules" 1-3; WHATWG HTML, "Server-sent events", section "Parsing an event stream".
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

import sseclient

from arkor.errors import StreamError

MAX_FRAME_BYTES = 16 * 1024 * 1024
LONGEST_RETRY_MS = 24 * 3600 * 1000

_BOM = b"\xef\xbb\xbf"
_END, _BARE_END = b"\n\n", b"\ndata:\n\n"
_BATCH_BYTES = 64 * 1024
_SLICE_LINES = 100


class Frame(NamedTuple):
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
    retry_ms: int | None = None


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
        self._source: list[bytes] = []  # what the client reads, from the start each time it is asked for events
        self._client = sseclient.SSEClient(self._source)  # type: ignore[arg-type, unused-ignore]  # it only iterates

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Yield the frames that are complete with these bytes, in order.

        Args:
            data: what was read, cut anywhere.

        Raises:
            StreamError: a frame is longer than the limit.
        """
        whole = self._take_whole(self._with_newlines(data))
        if len(whole) > min(_BATCH_BYTES, self._max_frame_bytes):
            yield from self._parse_large(whole)
        elif whole:
            yield from self._parse(whole)
        self._check_size(len(self._buffer))

    def _take_whole(self, data: bytes) -> bytes:
        """Return the frames that are whole with these bytes, and keep the rest."""
        if data.endswith(b"\n\n") and not self._buffer and not self._at_start:  # as where each write is a chunk
            return data.strip(b"\n")
        self._buffer += data
        if self._at_start and not self._drop_bom():
            return b""
        end = self._buffer.rfind(b"\n\n", self._searched)
        whole = bytes(self._buffer[: max(end, 0)])
        if end >= 0:
            del self._buffer[: end + 2]
        self._searched = max(0, len(self._buffer) - 1)
        return whole.strip(b"\n")

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

    def _parse_large(self, frames: bytes) -> Iterator[Frame]:
        """Parse each by itself, one of many lines in slices: sseclient-py 1.9 takes quadratic time in them."""
        for frame in re.split(rb"\n{2,}", frames):
            self._check_size(len(frame))
            if len(frame) > _BATCH_BYTES and frame.count(b"\n") > _SLICE_LINES:
                yield self._parse_sliced(frame.split(b"\n"))
            else:
                yield from self._parse(frame)

    def _parse_sliced(self, lines: list[bytes]) -> Frame:
        """Parse a frame whose data comes on very many lines, a slice at a time."""
        values = [line for line in lines if _field(line) == b"data"]
        others = {_field(line): line for line in lines if not _is_ignored(line)}
        rest = b"\n".join(others[field] for field in (b"id", b"event", b"retry") if field in others)
        (frame,) = self._parse(rest)
        slices = (b"\n".join(values[at : at + _SLICE_LINES]) for at in range(0, len(values), _SLICE_LINES))
        return frame._replace(data="\n".join(part.data for lines in slices for part in self._parse(lines)))

    def _parse(self, frames: bytes) -> Iterator[Frame]:
        """Parse the fields of whole frames, which blank lines separate."""
        if b"\n\n\n" in frames:
            frames = re.sub(rb"\n{3,}", b"\n\n", frames)
        if not frames.isascii():  # the specification replaces what is not UTF-8; sseclient-py ends with an exception
            frames = frames.decode("utf-8", "replace").encode()
        blocks = frames.split(b"\n\n")
        if b"\0" in frames or b"retry" in frames:
            blocks = [b"\n".join(line for line in block.split(b"\n") if not _is_ignored(line)) for block in blocks]
        # sseclient-py 1.9 drops a frame without data, id and all: an empty data line of ours keeps it.
        bare = [b"\ndata:" not in block and not block.startswith(b"data:") for block in blocks]
        self._source[:] = map(bytes.__add__, blocks, (_BARE_END if is_bare else _END for is_bare in bare))
        for is_bare, event in zip(bare, self._client.events(), strict=True):
            retry_ms = None if event.retry is None else int(min(float(event.retry), LONGEST_RETRY_MS))
            yield Frame(event.id, event.event, event.data[:-1] if is_bare else event.data, retry_ms)
        self._source.clear()  # not held until the next frame comes


def _field(line: bytes) -> bytes:
    return line.partition(b":")[0]


def _is_ignored(line: bytes) -> bool:
    """Say whether sseclient-py takes a line that the specification ignores: an id with NUL, a retry not all digits."""
    field, _, value = line.partition(b":")
    return (field == b"id" and b"\0" in value) or (field == b"retry" and not value.removeprefix(b" ").isdigit())
