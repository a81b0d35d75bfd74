"""Taking in a data set: streamed to a file and hashed on the way, checked, then handed on to be registered.

Protocol: docs/protocol.md, "Datasets".
"""

from __future__ import annotations

import gzip
import hashlib
import os
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import IO, Protocol

import attrs

from arkor.backend.store.datasets import StoredDataset
from arkor.errors import DatasetError
from arkor.serving.refusal import Refusal

_CHUNK_BYTES = 1024 * 1024
# JSONL shrinks to a fifth or a twentieth; a thousandth is somebody who wants to fill the disk.
_MAX_RATIO = 100
_FREE_OF_RATIO_BYTES = 16 * 1024**2


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


@attrs.frozen
class Destination:
    """The place that an upload goes to.

    Attributes:
        folder: where data sets are kept, and this one's file until it is registered.
        max_bytes: how large it may be, uncompressed.
        count_rows: checks the rows of a file of that size and counts them, or raises a DatasetError.
        register: takes over the file; returns whether the data set is new.
    """

    folder: Path
    max_bytes: int
    count_rows: Callable[[IO[bytes], int], int]
    register: Callable[[StoredDataset, Path], bool]


def receive(
    body: IO[bytes], body_bytes: int, encoding: str, sha256: str, destination: Destination
) -> tuple[StoredDataset, bool]:
    """Check a data set and register it.

    Args:
        body: the request's body.
        body_bytes: its size.
        encoding: its ``Content-Encoding``, empty for none.
        sha256: what the uncompressed bytes must hash to, lowercase hex.
        destination: where it goes.

    Returns:
        The data set, and whether it is new.

    Raises:
        Refusal: 400 for other bytes than announced, 413 too large or far larger than its compressed form, 415 another
            encoding, 422 bad rows.
        OSError: the disk is full.
    """
    handle, name = tempfile.mkstemp(dir=destination.folder, prefix=".upload.")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "w+b") as file:
            most = max(body_bytes * _MAX_RATIO, _FREE_OF_RATIO_BYTES) if encoding else destination.max_bytes
            found, size = _copy(_decoded(body, encoding), file, destination.max_bytes, most)
            if found != sha256:
                raise Refusal(400, f"The bytes hash to {found}, not to {sha256}: the upload was changed or cut.")
            file.seek(0)
            rows = _count_rows(file, size, destination)
            os.fsync(file.fileno())
        dataset = StoredDataset(sha256, rows, size)
        return dataset, destination.register(dataset, temporary)
    finally:
        temporary.unlink(missing_ok=True)


def _decoded(body: IO[bytes], encoding: str) -> _Readable:
    if encoding in {"", "identity"}:
        return body
    if encoding == "gzip":
        return gzip.GzipFile(fileobj=body)
    raise Refusal(415, f"Content-Encoding must be gzip or absent, not {encoding!r:.50}")


def _copy(source: _Readable, target: IO[bytes], max_bytes: int, max_unpacked_bytes: int) -> tuple[str, int]:
    digest, size = hashlib.sha256(), 0
    while chunk := _read(source):
        size += len(chunk)
        if size > max_bytes:
            raise Refusal(413, f"The data set is larger than this backend takes ({max_bytes} bytes).")
        if size > max_unpacked_bytes:
            raise Refusal(
                413, f"The data set is more than {_MAX_RATIO} times as large as its gzip data: send it uncompressed."
            )
        digest.update(chunk)
        target.write(chunk)
    return digest.hexdigest(), size


def _read(source: _Readable) -> bytes:
    try:
        return source.read(_CHUNK_BYTES)
    except (gzip.BadGzipFile, EOFError, zlib.error) as exc:
        raise Refusal(400, f"The body is not whole gzip data: {exc}") from exc


def _count_rows(file: IO[bytes], size: int, destination: Destination) -> int:
    try:
        return destination.count_rows(file, size)
    except DatasetError as exc:
        rows = [{"row": row, "reason": reason} for row, reason in exc.problems]
        raise Refusal(422, str(exc), rows=rows) from exc
