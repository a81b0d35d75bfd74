"""A storage that is a folder: the data folder, or one that several servers share."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import BinaryIO

import attrs

from arkor.backend.storage.interface import Content, Storage, check_key
from arkor.errors import ObjectMissing, StorageError
from arkor.system.files import make_private_folder, replacing, write_atomically

GONE = ".deleted-"  # what is being removed begins so
SERVER_LOCK = "backend.lock"  # in a data folder
_BLOCK_BYTES = 1024**2


class LocalStorage(Storage):
    """Objects are files, each in the place that its key names. A file is put in its place by a rename or a hard link.

    Args:
        root: the folder; made if it is missing.
    """

    def __init__(self, root: Path) -> None:
        super().__init__(str(root))
        self._root = root

    def path(self, key: str) -> Path:
        """Return the file in which an object is, or would be."""
        return self._root / check_key(key)

    def size(self, key: str) -> int | None:
        """Return how many bytes an object has; None if there is none."""
        try:
            with self.open(key) as file:  # in a network's folder, only who opens a file learns that it was removed
                return os.fstat(file.fileno()).st_size
        except (ObjectMissing, IsADirectoryError):
            return None

    def content(self, key: str) -> Content | None:
        """Return the content of an object; None if there is none."""
        try:
            return Content.of(self.path(key))
        except (FileNotFoundError, NotADirectoryError):
            return None

    def keys(self, prefix: str) -> list[str]:
        """Return the keys that begin so, sorted."""
        walk = os.walk(self.path(prefix), onerror=_unless_gone)
        found = (Path(folder, name).relative_to(self._root) for folder, _, names in walk for name in names)
        return sorted(str(path) for path in found if not any(part.startswith(".") for part in path.parts))

    def put(self, file: Path, key: str, content: Content | None = None, *, move: bool = False) -> None:
        """Give a file its place: it is renamed, or gets a second name, or is copied to another disk."""
        target = self.path(key)
        check = functools.partial(self.compare_file, file, key, content)
        if content is not None:
            check(attrs.evolve(content, size=file.stat().st_size))
        if target.exists() and target.samefile(file):
            if move and target != file:
                file.unlink()
            return
        make_private_folder(target.parent)
        if move:
            with contextlib.suppress(OSError):  # it is on another disk
                file.replace(target)
                return
        self._link_or_copy(file, target, check)
        if move:
            file.unlink()

    def open(self, key: str) -> BinaryIO:
        """Open an object to read it from any place on."""
        try:
            return self.path(key).open("rb")
        except (FileNotFoundError, NotADirectoryError):
            raise self.missing(key) from None

    def fetch(self, key: str, file: Path, content: Content | None = None) -> None:
        """Write an object to a file, which appears whole or not at all."""
        if self.path(key) == file:
            found = self.content(key)
            if found is None:
                raise self.missing(key)
            self.compare(key, found, content)
            return
        make_private_folder(file.parent)
        with self.open(key) as source:
            _copy(source, file, lambda found: self.compare(key, found, content))

    def copy(self, source: str, key: str) -> None:
        """Give an object a second name, or copy it if the file system has no such names."""
        file = self.path(source)
        if not file.is_file():
            raise self.missing(source)
        target = self.path(key)
        make_private_folder(target.parent)
        try:
            self._link_or_copy(file, target, lambda _: None)
        except FileNotFoundError:
            raise self.missing(source) from None

    def write(self, key: str, data: bytes) -> None:
        """Store a few bytes."""
        target = self.path(key)
        make_private_folder(target.parent)
        write_atomically(target, data, mode=0o600)

    def delete(self, keys: Iterable[str]) -> None:
        """Remove objects, in this order."""
        for key in keys:
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                self.path(key).unlink()

    def delete_all(self, prefix: str) -> None:
        """Remove a folder; it is renamed first, so that a removal that is cut off leaves nothing that looks whole."""
        folder = self.path(prefix)
        aside = folder.with_name(f"{GONE}{folder.name}")
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(aside)
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            folder.rename(aside)
            shutil.rmtree(aside)

    def check(self) -> None:
        """Find out whether the folder can be written, and is no data folder."""
        try:
            make_private_folder(self._root)
            with tempfile.TemporaryFile(dir=self._root, prefix=".probe."):
                pass
        except OSError as exc:
            raise StorageError(
                f"The storage {self._root} cannot be written ({exc.strerror}): make the folder, or correct --storage.",
                self.url,
            ) from exc
        if (self._root / SERVER_LOCK).exists():
            raise StorageError(
                f"The storage {self._root} is the data folder of a server, which removes there what it does not know: "
                "name another folder as --storage.",
                self.url,
            )

    def missing(self, key: str) -> ObjectMissing:
        """Return the error for an object that is not there."""
        if self._root.is_dir():
            return super().missing(key)
        return ObjectMissing(f"There is no folder {self._root}: mount the storage, or correct --storage.", self.url)

    def _link_or_copy(self, file: Path, target: Path, check: Callable[[Content], None]) -> None:
        linked = target.with_name(f".{target.name}.{secrets.token_hex(8)}")
        try:
            linked.hardlink_to(file)
        except FileNotFoundError:
            raise
        except OSError:  # it is on another disk, or the file system has no such names
            with file.open("rb") as source:
                _copy(source, target, check)
        else:
            linked.replace(target)
            linked.unlink(missing_ok=True)  # a rename does nothing if both are names of one file


def _unless_gone(exc: OSError) -> None:
    """Go on if a folder is being removed by another server."""
    if not isinstance(exc, (FileNotFoundError, NotADirectoryError)):
        raise exc


def _copy(source: BinaryIO, target: Path, check: Callable[[Content], None]) -> None:
    digest, size = hashlib.sha256(), 0
    with replacing(target, mode=0o600) as file:
        while block := source.read(_BLOCK_BYTES):
            digest.update(block)
            size += len(block)
            file.write(block)
        check(Content(size, digest.hexdigest()))
