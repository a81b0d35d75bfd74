"""Calls of S3: tried again if an error passes, and errors of boto3 as ours, without a secret in them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar
from urllib.parse import urlsplit

import attrs
import tenacity
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionError as NoConnectionError,
    HTTPClientError,
    IncompleteReadError,
    NoCredentialsError,
    PartialCredentialsError,
    ResponseStreamingError,
    SSLError,
)

from arkor.errors import ObjectMissing, StorageError

T = TypeVar("T")

_PASSING_CODES = frozenset({"SlowDown", "RequestTimeout", "BadDigest", "XAmzContentSHA256Mismatch", "Throttling"})
_DENIED = frozenset({401, 403})
_LONGEST_PAUSE_S = 5.0


class CutBody(Exception):
    """The body of an answer ended too early."""


@attrs.frozen
class S3Calls:
    """Makes calls. Thread-safe.

    Attributes:
        url: of the storage.
        bucket: its name.
        endpoint: where S3 is.
        patience_s: for so many seconds, an error that passes is tried again.
    """

    url: str
    bucket: str
    endpoint: str
    patience_s: float

    def make(self, call: Callable[[], T], key: str | None = None) -> T:
        """Make a call.

        Args:
            call: may be made again after an error that passes.
            key: the object that it is about.

        Raises:
            StorageError: it failed.
        """
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception(_passes),
            stop=tenacity.stop_after_delay(self.patience_s),
            wait=tenacity.wait_random_exponential(multiplier=0.2, max=_LONGEST_PAUSE_S),
            sleep=tenacity.sleep_using_event(threading.Event()),
            reraise=True,
        )
        try:
            return retrying(call)
        except (BotoCoreError, ClientError, CutBody) as exc:
            hides = "@" in self.endpoint  # the text of the cause has the whole address
            raise self._ours(exc, key) from (None if hides else exc)

    def _ours(self, exc: Exception, key: str | None) -> StorageError:
        place = self.url if key is None else f"{self.url}/{key}"
        if isinstance(exc, ClientError):
            return self._refused(exc, place)
        if isinstance(exc, (NoCredentialsError, PartialCredentialsError)):
            return StorageError(
                f"There are no credentials for {self.url}: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or name a "
                "profile with AWS_PROFILE.",
                place,
            )
        if _passes(exc):
            return StorageError(
                f"{self._host} gave no whole answer for {place} ({_kind(exc)}), tried for {self.patience_s:g} s: check "
                "the network and AWS_ENDPOINT_URL.",
                place,
            )
        return StorageError(f"{place} cannot be used ({_kind(exc)}): check the settings of AWS on this machine.", place)

    def _refused(self, exc: ClientError, place: str) -> StorageError:
        code, status = code_of(exc), status_of(exc)
        if code == "NoSuchBucket":
            return StorageError(
                f"There is no bucket {self.bucket!r} at {self._host}: create it, or correct --storage.", place
            )
        if status in _DENIED:
            return StorageError(
                f"{self._host} denies access to {place} ({code}): correct the credentials, or give them the "
                "permissions that docs/scale.md lists.",
                place,
            )
        if is_missing(exc):
            return ObjectMissing(f"There is no object {place}: it was removed.", place)
        tried = f", tried for {self.patience_s:g} s: try again later" if _passes(exc) else ""
        return StorageError(f"{self._host} failed for {place} ({code}, status {status}){tried}.", place)

    @property
    def _host(self) -> str:
        """The endpoint without a name and a password, which somebody may have written into it."""
        parts = urlsplit(self.endpoint)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def status_of(exc: ClientError) -> int:
    """Return the HTTP status of a refusal."""
    return int(exc.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def code_of(exc: ClientError) -> str:
    """Return what S3 calls a refusal."""
    return str(exc.response.get("Error", {}).get("Code", "unknown"))


def is_missing(exc: ClientError) -> bool:
    """Whether a refusal says that there is no such object."""
    return code_of(exc) in {"404", "NoSuchKey", "NotFound"}


def _passes(exc: BaseException) -> bool:
    if isinstance(exc, ClientError):
        return status_of(exc) >= 500 or status_of(exc) == 429 or code_of(exc) in _PASSING_CODES
    if isinstance(exc, SSLError):
        return False
    return isinstance(exc, (NoConnectionError, HTTPClientError, IncompleteReadError, ResponseStreamingError, CutBody))


def _kind(exc: Exception) -> str:
    return type(exc).__name__
