"""A blob's bytes on their way to the disk: unpacked, limited, and continued where they were cut.

RFC 9110, sections 8.4, 13 and 14, on encodings, conditions and ranges.
"""

from __future__ import annotations

import codecs
import re
import zlib
from collections.abc import Iterator
from typing import IO

import attrs
import requests

GIB = 1024**3

_BLOCK_BYTES = 128 * 1024
_ZIPPED = {"gzip", "x-gzip", "deflate"}
_GZIP_OR_ZLIB = 32 + zlib.MAX_WBITS
_LENGTH = re.compile(r"[0-9]{1,18}")
_PART = re.compile(r"bytes ([0-9]{1,18})-[0-9]{1,18}/([0-9]{1,18})")
_COMPRESSED = {
    b"\x1f\x8b": "gzip",
    b"PK\x03\x04": "zip",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"BZh": "bzip2",
    b"\xfd7zXZ": "xz",
}


@attrs.frozen(kw_only=True)
class Limits:
    """What a download may take.

    Attributes:
        received_bytes: most bytes of a body as they are sent.
        unpacked_bytes: most bytes of the file that they become.
        ratio: most bytes of the file for each byte that was sent. Rows seldom come to 50.
        ratio_from_bytes: size of the file from which on the ratio counts.
        total_s: seconds until the end, all tries and the pauses between them included.
        idle_s: seconds without a byte.
        connect_s: seconds until a connection, for each address of a host.
        redirects: redirects in a row.
        tries: tries in a row that bring no new bytes.
        first_pause_s: seconds between the first two tries; twice as long before each later one.
        longest_pause_s: the longest of these pauses.
        longest_retry_after_s: seconds that are waited at most where a server says when to come back.
    """

    received_bytes: int = 32 * GIB
    unpacked_bytes: int = 64 * GIB
    ratio: int = 200
    ratio_from_bytes: int = 64 * 1024**2
    total_s: float = 6 * 3600.0
    idle_s: float = 60.0
    connect_s: float = 10.0
    redirects: int = 10
    tries: int = 6
    first_pause_s: float = 1.0
    longest_pause_s: float = 30.0
    longest_retry_after_s: float = 600.0


class BadBody(Exception):
    """The body is no file of rows, or more than the limits allow; another try would not help."""


class CutBody(Exception):
    """The body ended too early, or is another one than before; another try may help."""


class Body:
    """A body as far as it has arrived, over several answers. One thread.

    Args:
        file: gets the rows.
        limits: what it may take.
    """

    def __init__(self, file: IO[bytes], limits: Limits) -> None:
        self._file = file
        self._limits = limits
        self.furthest = 0
        self._start_over()

    def headers(self) -> dict[str, str]:
        """Return the request headers that ask for what is missing."""
        if self._received and not self._etag.startswith('"'):  # nothing else promises that two parts fit together
            self._start_over()
        part = {"Range": f"bytes={self._received}-", "If-Range": self._etag} if self._received else {}
        return {"Accept-Encoding": "gzip", **part}

    def receive(self, answer: requests.Response) -> None:
        """Take an answer's body.

        Args:
            answer: with status 200, 206 or 416, its body not yet read.

        Raises:
            BadBody: it is compressed, a web page, or over a limit.
            CutBody: it does not fit what is there, or ended too early.
            urllib3.exceptions.HTTPError: the connection failed.
            OSError: the disk is full.
        """
        self._take_head(answer)
        for block in answer.raw.stream(_BLOCK_BYTES, decode_content=False):
            self._take(block)
        if self._received < (self._total or 0) or not self._is_unpacked():
            raise CutBody(self.cut())

    def cut(self) -> str:
        """Say how much of the body has arrived."""
        of_all = "" if self._total is None else f" of {self._total}"
        return f"cannot be fetched whole: the connection ended after {self._received}{of_all} bytes"

    def _start_over(self) -> None:
        self._received = self._unpacked = 0
        self._total: int | None = None
        self._etag = ""
        self._unzip: zlib._Decompress | None = None
        self._file.seek(0)
        self._file.truncate()

    def _take_head(self, answer: requests.Response) -> None:
        if answer.status_code == 200:
            self._start_over()
            self._etag = answer.headers.get("ETag", "")
            length = answer.headers.get("Content-Length", "")
            self._total = int(length) if _LENGTH.fullmatch(length) else None
            self._choose_encoding(answer.headers.get("Content-Encoding", "identity").strip().lower())
        else:
            self._take_part(answer)
        if (self._total or 0) > self._limits.received_bytes:
            raise BadBody(_too_much("announced", self._total or 0, self._limits.received_bytes))

    def _choose_encoding(self, encoding: str) -> None:
        if encoding in _ZIPPED:
            self._unzip = zlib.decompressobj(_GZIP_OR_ZLIB)
        elif encoding != "identity":
            raise BadBody(f"came with Content-Encoding {encoding!r:.40}: only gzip, deflate and identity are read")

    def _take_part(self, answer: requests.Response) -> None:
        part = _PART.fullmatch(answer.headers.get("Content-Range", ""))
        fits = part is not None and int(part[1]) == self._received and int(part[2]) == (self._total or int(part[2]))
        if part is None or not fits or answer.headers.get("ETag", self._etag) != self._etag:
            self._start_over()
            raise CutBody("cannot be fetched whole: the file changed on the server during the download")
        self._total = int(part[2])

    def _take(self, block: bytes) -> None:
        self._received += len(block)
        self.furthest = max(self.furthest, self._received)
        if self._received > self._limits.received_bytes:
            raise BadBody(_too_much("sent", self._received, self._limits.received_bytes))
        for piece in self._pieces(block):
            if not self._unpacked:
                _check_kind(piece)
            self._unpacked += len(piece)
            self._check_unpacked()
            self._file.write(piece)

    def _check_unpacked(self) -> None:
        limits = self._limits
        if self._unpacked > limits.unpacked_bytes:
            raise BadBody(_too_much("unpacked", self._unpacked, limits.unpacked_bytes))
        if self._unpacked > limits.ratio_from_bytes and self._unpacked > limits.ratio * self._received:
            raise BadBody(
                f"is compressed more than {limits.ratio} times ({self._received} bytes became {self._unpacked}), which "
                "is the limit: give the URL of the file as it is, not compressed"
            )

    def _pieces(self, block: bytes) -> Iterator[bytes]:
        """Unpack a block, a bounded piece at a time."""
        if self._unzip is None:
            yield block
            return
        try:
            while True:
                piece = self._unzip.decompress(block, _BLOCK_BYTES)
                yield piece
                block = self._unzip.unconsumed_tail
                if self._unzip.eof and self._unzip.unused_data:  # one gzip stream after another is one file
                    block = self._unzip.unused_data
                    self._unzip = zlib.decompressobj(_GZIP_OR_ZLIB)
                elif not block and len(piece) < _BLOCK_BYTES:
                    return
        except zlib.error as exc:
            raise BadBody(f"is damaged: it cannot be unpacked ({exc})") from exc

    def _is_unpacked(self) -> bool:
        return self._unzip is None or self._unzip.eof


def _too_much(how: str, count: int, limit: int) -> str:
    return f"is too large: {count} bytes {how}, and the limit is {limit}; divide the rows"


def _check_kind(start: bytes) -> None:
    form = next((form for mark, form in _COMPRESSED.items() if start.startswith(mark)), None)
    if form is not None:
        raise BadBody(f"is compressed with {form}: give the URL of the JSONL file as it is, not compressed")
    if start.removeprefix(codecs.BOM_UTF8).lstrip().startswith(b"<"):
        raise BadBody(
            "is a web page (HTML or XML) and not JSONL, as a server answers that wants a login: check the URL, and the "
            "data set's token"
        )
