"""A storage in S3, or in anything that speaks its protocol.

Each object has the SHA-256 of its bytes as metadata. S3 compares the bytes of every request with the SHA-256 that comes
with them, and shows an object only when all of its parts are there.

boto3 is imported here alone. It finds the endpoint, the region and the credentials as all programs for AWS do.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import hashlib
import io
import logging
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urlsplit

import attrs
import boto3
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from arkor.backend.storage.interface import Content, Reader, Storage, check_key
from arkor.backend.storage.s3_errors import CutBody, S3Calls, is_missing, status_of
from arkor.errors import ObjectChanged
from arkor.system.files import make_private_folder, replacing

PART_BYTES = 16 * 1024**2
_MOST_PARTS = 9000  # S3 takes 10,000
_PARTS_AT_ONCE = 4  # each is in memory
_LARGEST_COPY_BYTES = 4 * 1024**3  # in one request
_BLOCK_BYTES = 1024**2
_SHA256 = "sha256"  # the name of the metadata
_CONNECT_S = 5.0
_READ_S = 30.0
_CONNECTIONS = 32
_PROBE = "probe"

for _name in ("boto3", "botocore"):
    logging.getLogger(_name).setLevel(logging.WARNING)  # they tell at each start that they have found credentials


class S3Storage(Storage):
    """Objects of one bucket, whose keys begin with a prefix.

    Args:
        bucket: its name.
        prefix: without a slash at either end; empty for the whole bucket.
        patience_s: for so many seconds, an error that passes is tried again.
    """

    def __init__(self, bucket: str, prefix: str, patience_s: float) -> None:
        super().__init__(f"s3://{bucket}/{prefix}".rstrip("/"))
        self._prefix = f"{prefix}/" if prefix else ""
        self._client = _new_client()
        self._bucket = bucket
        self._calls = S3Calls(self.url, bucket, self._client.meta.endpoint_url, patience_s)

    def path(self, key: str) -> Path | None:
        """Return None: objects are not files of this machine."""
        return None

    def size(self, key: str) -> int | None:
        """Return how many bytes an object has; None if there is none."""
        head = self._head(key)
        return None if head is None else head.size

    def content(self, key: str) -> Content | None:
        """Return the content of an object; None if there is none."""
        head = self._head(key)
        return None if head is None else head.content

    def keys(self, prefix: str) -> list[str]:
        """Return the keys that begin so, sorted."""

        def found() -> list[str]:
            named = {"Bucket": self._bucket, "Prefix": self._prefix + check_key(prefix)}
            pages = self._client.get_paginator("list_objects_v2").paginate(**named)
            return sorted(item["Key"][len(self._prefix) :] for page in pages for item in page.get("Contents", ()))

        return self._calls.make(found)

    def put(self, file: Path, key: str, content: Content | None = None, *, move: bool = False) -> None:
        """Upload a file; the object appears when all of it is there."""
        if content is None or content.size is None or not content.sha256:
            known = Content.of(file)
            self.compare_file(file, key, content, known)
        else:
            known = content
        if file.stat().st_size <= PART_BYTES:
            data = file.read_bytes()
            self.compare_file(file, key, known, Content(len(data), hashlib.sha256(data).hexdigest()))
            self.write(key, data)
        else:
            self._put_parts(file, key, known)
        if move:
            file.unlink()

    def open(self, key: str) -> BinaryIO:
        """Open an object to read it from any place on."""
        head = self._head(key)
        if head is None:
            raise self.missing(key)
        return io.BufferedReader(_S3Reader(self, key, head), _BLOCK_BYTES)

    def fetch(self, key: str, file: Path, content: Content | None = None) -> None:
        """Download an object to a file, which appears whole or not at all."""
        head = self._head(key)
        if head is None:
            raise self.missing(key)
        self.compare(key, head.content, content)
        digest = hashlib.sha256()
        make_private_folder(file.parent)
        with replacing(file, mode=0o600) as target, _S3Reader(self, key, head) as source:
            while block := source.read(_BLOCK_BYTES):
                digest.update(block)
                target.write(block)
            self.compare(key, Content(head.size, digest.hexdigest()), head.content)

    def copy(self, source: str, key: str) -> None:
        """Have S3 copy an object."""
        head = self._head(source)
        if head is None:
            raise self.missing(source)
        how = TransferConfig(multipart_threshold=_LARGEST_COPY_BYTES, multipart_chunksize=_LARGEST_COPY_BYTES // 8)
        kept = {"Metadata": {_SHA256: head.sha256}, "MetadataDirective": "REPLACE"}  # parts do not take it over
        self._calls.make(
            lambda: self._client.copy(self._named(source), **self._named(key), ExtraArgs=kept, Config=how), key
        )

    def write(self, key: str, data: bytes) -> None:
        """Store a few bytes."""
        digest = hashlib.sha256(data)
        self._calls.make(
            lambda: self._client.put_object(
                **self._named(key),
                Body=data,
                ChecksumSHA256=base64.b64encode(digest.digest()).decode(),
                Metadata={_SHA256: digest.hexdigest()},
            ),
            key,
        )

    def delete(self, keys: Iterable[str]) -> None:
        """Remove objects, in this order."""
        for key in keys:
            self._calls.make(functools.partial(self._client.delete_object, **self._named(key)), key)

    def delete_all(self, prefix: str) -> None:
        """Remove all objects whose keys begin so."""
        self.delete(self.keys(prefix))

    def check(self) -> None:
        """Find out whether objects can be stored, listed and removed."""
        self.write(_PROBE, b"")
        self._calls.make(lambda: self._client.list_objects_v2(Bucket=self._bucket, Prefix=self._prefix, MaxKeys=1))
        self.delete([_PROBE])

    def _named(self, key: str) -> dict[str, Any]:
        return {"Bucket": self._bucket, "Key": self._prefix + check_key(key)}

    def _head(self, key: str) -> _Head | None:
        def found() -> Mapping[str, Any] | None:
            try:
                return dict(self._client.head_object(**self._named(key)))
            except ClientError as exc:
                if is_missing(exc):
                    return None
                raise

        answer = self._calls.make(found, key)
        if answer is None:
            return None
        sha256 = answer.get("Metadata", {}).get(_SHA256, "")
        return _Head(int(answer["ContentLength"]), sha256, str(answer["ETag"]))

    def _put_parts(self, file: Path, key: str, known: Content) -> None:
        """Upload a large file in parts.

        Raises:
            ObjectChanged: the file has another content; nothing is stored.
        """
        named, checked = self._named(key), {"ChecksumAlgorithm": "SHA256"}
        begin = {**named, **checked, "Metadata": {_SHA256: known.sha256}}
        upload = self._calls.make(lambda: self._client.create_multipart_upload(**begin), key)
        named["UploadId"] = upload["UploadId"]
        try:
            parts = self._parts(file, key, known, named)
            self._calls.make(
                lambda: self._client.complete_multipart_upload(**named, MultipartUpload={"Parts": parts}), key
            )
        except BaseException:
            with contextlib.suppress(BotoCoreError, ClientError):  # a rule of the bucket removes it later
                self._client.abort_multipart_upload(**named)
            raise

    def _parts(self, file: Path, key: str, known: Content, named: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Upload the parts of a file, a few at a time; return what S3 said of each."""
        size = max(PART_BYTES, -(-file.stat().st_size // _MOST_PARTS))
        whole, done = _Whole(), list[dict[str, Any]]()
        with ThreadPoolExecutor(_PARTS_AT_ONCE, "arkor-upload") as pool:
            under_way: deque[Future[dict[str, Any]]] = deque()
            for number, block in enumerate(whole.blocks(file, size), start=1):
                if len(under_way) == _PARTS_AT_ONCE:
                    done.append(under_way.popleft().result())
                under_way.append(pool.submit(self._part, key, named, number, block))
            done += [part.result() for part in under_way]
        self.compare_file(file, key, known, whole.content)
        return done

    def _part(self, key: str, named: Mapping[str, Any], number: int, block: bytes) -> dict[str, Any]:
        checksum = base64.b64encode(hashlib.sha256(block).digest()).decode()
        answer = self._calls.make(
            lambda: self._client.upload_part(**named, PartNumber=number, Body=block, ChecksumSHA256=checksum), key
        )
        return {"PartNumber": number, "ETag": answer["ETag"], "ChecksumSHA256": checksum}


@attrs.frozen
class _Head:
    """What is known of an object without reading it; ``etag`` names this very version."""

    size: int
    sha256: str
    etag: str

    @property
    def content(self) -> Content:
        return Content(self.size, self.sha256)


class _Whole:
    """The content of a file that is read block by block."""

    def __init__(self) -> None:
        self._digest, self._size = hashlib.sha256(), 0

    def blocks(self, file: Path, size: int) -> Iterator[bytes]:
        with file.open("rb") as source:
            while block := source.read(size):
                self._digest.update(block)
                self._size += len(block)
                yield block

    @property
    def content(self) -> Content:
        return Content(self._size, self._digest.hexdigest())


class _S3Reader(Reader):
    """One version of an object; a connection that is cut is made again where it was."""

    def __init__(self, storage: S3Storage, key: str, head: _Head) -> None:
        super().__init__(head.size)
        self._storage = storage
        self._key = key
        self._etag = head.etag
        self._body: Any = None

    def readinto(self, buffer: Any) -> int:
        """Read the next bytes; 0 at the end."""
        wanted = min(len(buffer), self._size - self._at)
        if wanted <= 0:
            return 0
        data = self._storage._calls.make(lambda: self._once(wanted), self._key)
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go on from another place."""
        before = self._at
        if super().seek(offset, whence) != before:
            self._let_go()
        return self._at

    def close(self) -> None:
        """Let go of the connection."""
        self._let_go()
        super().close()

    def _once(self, wanted: int) -> bytes:
        try:
            if self._body is None:
                named = {**self._storage._named(self._key), "Range": f"bytes={self._at}-", "IfMatch": self._etag}
                self._body = self._storage._client.get_object(**named)["Body"]
            data = bytes(self._body.read(wanted))
        except ClientError as exc:
            if status_of(exc) == 412:
                place = self._storage.place(self._key)
                raise ObjectChanged(f"The object {place} was replaced while it was read: try again.", place) from exc
            raise
        except BaseException:
            self._let_go()
            raise
        if not data:
            self._let_go()
            raise CutBody
        return data

    def _let_go(self) -> None:
        body, self._body = self._body, None
        if body is not None:
            body.close()


def _new_client() -> Any:
    session = boto3.session.Session()
    client = session.client("s3", config=_config())
    host = urlsplit(client.meta.endpoint_url).hostname or ""
    if host.endswith((".amazonaws.com", ".amazonaws.com.cn")):
        return client
    # Elsewhere the name of a bucket is seldom the name of a host.
    return session.client("s3", config=_config(s3={"addressing_style": "path"}))


def _config(**more: Any) -> Config:
    return Config(
        retries={"total_max_attempts": 1, "mode": "standard"},  # S3Calls tries again
        connect_timeout=_CONNECT_S,
        read_timeout=_READ_S,
        max_pool_connections=_CONNECTIONS,
        request_checksum_calculation="when_required",  # each request that needs one has a SHA-256
        response_checksum_validation="when_required",
        **more,
    )
