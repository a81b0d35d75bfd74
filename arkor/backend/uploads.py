"""Taking in a data set: streamed to a file, hashed and checked on the way, then handed on to be registered.

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
from arkor.data.jsonl import check_rows, read_lines
from arkor.errors import DatasetError
from arkor.serving.refusal import Refusal

_CHUNK_BYTES = 1024 * 1024


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


@attrs.frozen
class Destination:
    """The place that an upload goes to.

    Attributes:
        folder: where data sets are kept, and this one's file until it is registered.
        max_bytes: how large it may be, uncompressed.
        register: takes over the file; returns whether the data set is new.
    """

    folder: Path
    max_bytes: int
    register: Callable[[StoredDataset, Path], bool]


def receive(body: IO[bytes], encoding: str, sha256: str, destination: Destination) -> tuple[StoredDataset, bool]:
    """Check a data set and register it.

    Args:
        body: the request's body.
        encoding: its ``Content-Encoding``, empty for none.
        sha256: what the uncompressed bytes must hash to, lowercase hex.
        destination: where it goes.

    Returns:
        The data set, and whether it is new.

    Raises:
        Refusal: 400 for other bytes than announced, 413 too large, 415 another encoding, 422 bad rows.
        OSError: the disk is full.
    """
    handle, name = tempfile.mkstemp(dir=destination.folder, prefix=".upload.")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "w+b") as file:
            found, size = _copy(_decoded(body, encoding), file, destination.max_bytes)
            if found != sha256:
                raise Refusal(400, f"The bytes hash to {found}, not to {sha256}: the upload was changed or cut.")
            file.seek(0)
            rows = _count_rows(file)
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


def _copy(source: _Readable, target: IO[bytes], max_bytes: int) -> tuple[str, int]:
    digest, size = hashlib.sha256(), 0
    while chunk := _read(source):
        size += len(chunk)
        if size > max_bytes:
            raise Refusal(413, f"The data set is larger than this backend takes ({max_bytes} bytes).")
        digest.update(chunk)
        target.write(chunk)
    return digest.hexdigest(), size


def _read(source: _Readable) -> bytes:
    try:
        return source.read(_CHUNK_BYTES)
    except (gzip.BadGzipFile, EOFError, zlib.error) as exc:
        raise Refusal(400, f"The body is not whole gzip data: {exc}") from exc


def _count_rows(file: IO[bytes]) -> int:
    try:
        return check_rows("The data set", read_lines(file)).rows
    except DatasetError as exc:
        rows = [{"row": row, "reason": reason} for row, reason in exc.problems]
        raise Refusal(422, str(exc), rows=rows) from exc
