"""What a storage can do, and what all of them share.

Protocol: docs/protocol.md, "Storage".
"""

from __future__ import annotations

import abc
import io
import re
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

import attrs

from arkor.errors import ObjectChanged, ObjectMissing
from arkor.system.files import sha256_of

_KEY = re.compile(r"(?:[A-Za-z0-9_-][A-Za-z0-9._-]*/)*[A-Za-z0-9_-][A-Za-z0-9._-]*")


@attrs.frozen
class Content:
    """The bytes of a file or an object, as far as they can be compared.

    Attributes:
        size: how many; None if that is not known.
        sha256: lowercase hex; empty if that is not known.
    """

    size: int | None
    sha256: str = ""

    @classmethod
    def of(cls, file: Path) -> Content:
        """Return the content of a file.

        Raises:
            OSError: it cannot be read.
        """
        return cls(file.stat().st_size, sha256_of(file))

    def fits(self, known: Content | None) -> bool:
        """Whether these bytes are those that are known."""
        return known is None or (known.size in {None, self.size} and known.sha256 in {"", self.sha256})


class Storage(abc.ABC):
    """Keeps objects by their keys, such as ``jobs/job_1/artifacts/adapter.tar``. Thread-safe.

    A reader sees an object as a whole, or not at all, whatever happens to who writes it. Errors that pass are tried
    again for a while before they are raised.

    Every method raises a StorageError if the storage cannot be used, and an OSError if a file cannot be written.

    Args:
        url: where it is; it has no secrets.
    """

    def __init__(self, url: str) -> None:
        self.url = url

    @abc.abstractmethod
    def path(self, key: str) -> Path | None:
        """Return the file in which an object is, or would be; None if objects are not files of this machine."""

    @abc.abstractmethod
    def size(self, key: str) -> int | None:
        """Return how many bytes an object has; None if there is none."""

    @abc.abstractmethod
    def content(self, key: str) -> Content | None:
        """Return the content of an object; None if there is none. In a folder, the file is read for it."""

    @abc.abstractmethod
    def keys(self, prefix: str) -> list[str]:
        """Return the keys that begin so, sorted.

        Args:
            prefix: ends with a slash.
        """

    @abc.abstractmethod
    def put(self, file: Path, key: str, content: Content | None = None, *, move: bool = False) -> None:
        """Store a file. Nothing happens if the file is the object already.

        Args:
            file: nobody changes it any more.
            key: of the object, in whose place it comes.
            content: of the file, if it is known.
            move: remove the file when it is stored.

        Raises:
            ObjectChanged: the file has another content; nothing is stored.
        """

    @abc.abstractmethod
    def open(self, key: str) -> BinaryIO:
        """Open an object to read it from any place on.

        Raises:
            ObjectMissing: there is none.
        """

    @abc.abstractmethod
    def fetch(self, key: str, file: Path, content: Content | None = None) -> None:
        """Write an object to a file, which appears whole or not at all.

        Args:
            key: of the object.
            file: its folder is made if it is missing.
            content: what the object has to have, if that is known.

        Raises:
            ObjectMissing: there is none.
            ObjectChanged: it has another content, or was cut.
        """

    @abc.abstractmethod
    def copy(self, source: str, key: str) -> None:
        """Store an object under a second key.

        Raises:
            ObjectMissing: there is none.
        """

    @abc.abstractmethod
    def write(self, key: str, data: bytes) -> None:
        """Store a few bytes."""

    @abc.abstractmethod
    def delete(self, keys: Iterable[str]) -> None:
        """Remove objects, in this order; one that is not there is passed over."""

    @abc.abstractmethod
    def delete_all(self, prefix: str) -> None:
        """Remove all objects whose keys begin so.

        Args:
            prefix: ends with a slash.
        """

    @abc.abstractmethod
    def check(self) -> None:
        """Find out whether the storage can be used now.

        Raises:
            StorageError: it cannot, and the text says why.
        """

    def read(self, key: str) -> bytes:
        """Return a small object.

        Raises:
            ObjectMissing: there is none.
        """
        with self.open(key) as file:
            return file.read()

    def bring(self, key: str, file: Path, content: Content | None = None) -> Path:
        """Return a file of this machine with an object's bytes: the object itself, or else a copy.

        Args:
            key: of the object.
            file: takes the copy.
            content: as for ``fetch``; a file that is the object is not compared.

        Raises:
            ObjectMissing: there is none.
            ObjectChanged: it has another content, or was cut.
        """
        path = self.path(key)
        if path is None:
            self.fetch(key, file, content)
            return file
        if not path.is_file():
            raise self.missing(key)
        return path

    def place(self, key: str) -> str:
        """Return where an object is, for people."""
        return f"{self.url}/{key}"

    def missing(self, key: str) -> ObjectMissing:
        """Return the error for an object that is not there."""
        place = self.place(key)
        return ObjectMissing(f"There is no object {place}: it was removed, or was never stored whole.", place)

    def changed(self, key: str, found: str, known: str) -> ObjectChanged:
        """Return the error for an object that is not as it was stored.

        Args:
            key: its key.
            found: what it is now.
            known: what it was.
        """
        place = self.place(key)
        return ObjectChanged(
            f"The object {place} is not as it was stored: it has {found}, and had {known}. Restore it from a backup, "
            "or have it made again.",
            place,
        )

    def compare(self, key: str, found: Content, known: Content | None) -> None:
        """Compare contents.

        Raises:
            ObjectChanged: they differ.
        """
        if known is None or found.fits(known):
            return
        if known.size not in {None, found.size}:
            raise self.changed(key, f"{found.size} bytes", f"{known.size}")
        raise self.changed(key, f"the SHA-256 {found.sha256}", known.sha256)

    def compare_file(self, file: Path, key: str, known: Content | None, found: Content) -> None:
        """Compare a file that is being stored with what is known of it.

        Raises:
            ObjectChanged: it is another one.
        """
        if not found.fits(known):
            raise ObjectChanged(
                f"{file} changed while it was stored as {self.place(key)}: nothing was stored. Try again.",
                self.place(key),
            )


def check_key(key: str) -> str:
    """Return a key, or the beginning of keys, in which nothing leads out of the storage.

    Raises:
        ValueError: something would, or is hidden.
    """
    if not _KEY.fullmatch(key.removesuffix("/")):
        raise ValueError(f"{key!r} cannot be a key")
    return key


class Reader(io.RawIOBase):
    """An object that is read piece by piece; a subclass reads one.

    Args:
        size: of the object, in bytes.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._at = 0

    def readable(self) -> bool:
        """Say that it can be read."""
        return True

    def seekable(self) -> bool:
        """Say that it can be read from any place on."""
        return True

    def tell(self) -> int:
        """Return the place that is read next."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go on from another place."""
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = max(0, start + offset)
        return self._at
