"""Folders that can be made again, kept while there is room for them."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable, Container, Iterator
from pathlib import Path

from arkor.system.files import make_private_folder

_USERS = "users"
_GONE = ".gone-"


class FolderCache:
    """Keeps folders by key; those that were not used for the longest time go first.

    An entry appears whole or not at all. What a process has opened stays readable for it, also when the entry goes.
    Each entry notes who used it, and goes with the last of them.

    Args:
        root: where the entries are; made where missing.
        most_bytes: how large they may be together, 0 or more.

    Thread-safety: safe, also between processes.
    """

    def __init__(self, root: Path, most_bytes: int) -> None:
        self._root = root
        self._most_bytes = most_bytes

    def find(self, key: str, user: str) -> Path | None:
        """Return an entry, and note that it was used; None if there is none. It may be removed at any moment.

        Args:
            key: a file name.
            user: who uses it, a file name.
        """
        entry = self._root / key
        try:
            (entry / _USERS / user).touch()
            os.utime(entry)
        except OSError:
            return None
        return entry

    def add(self, key: str, folder: Path, user: str) -> Path:
        """Move a folder into the cache, and return where its files are now; ``sweep`` when they are open.

        If another process was quicker, the folder is removed and that entry taken.

        Args:
            key: a file name.
            folder: complete, on the same file system.
            user: who uses it, a file name.

        Raises:
            OSError: it cannot be moved.
        """
        (folder / _USERS).mkdir()
        (folder / _USERS / user).touch()
        for path in _files(folder):  # a rename may survive a power failure that the content does not
            with path.open("rb") as file:
                os.fsync(file.fileno())
        make_private_folder(self._root)
        try:
            folder.rename(self._root / key)
        except OSError:
            found = self.find(key, user)
            if found is None:
                raise
            shutil.rmtree(folder)
            return found
        return self._root / key

    def remove(self, key: str) -> None:
        """Remove an entry; nothing happens if there is none."""
        with contextlib.suppress(OSError):  # another process was quicker, or holds on to it: the next sweep tries again
            aside = Path(tempfile.mkdtemp(dir=self._root, prefix=_GONE))
            (self._root / key).rename(aside / key)  # so that nobody finds half of it
        self._remove_gone()

    def sweep(self) -> None:
        """Remove the entries that were not used for the longest time, until the others are within the bound."""
        self._remove_gone()
        sizes = {entry: _size(entry) for entry in self._entries()}
        total = sum(sizes.values())
        for entry in sorted(sizes, key=_used_at):
            if total <= self._most_bytes:
                return
            total -= sizes[entry]
            self.remove(entry.name)

    def forget(self, user: str) -> None:
        """Remove the entries that nobody but this user has used."""
        self._forget(lambda name: name == user)

    def forget_others(self, users: Container[str]) -> None:
        """Remove the entries that none of these users has used."""
        self._forget(lambda name: name not in users)

    def _forget(self, is_gone: Callable[[str], bool]) -> None:
        for entry in self._entries():
            found = list((entry / _USERS).glob("*"))
            gone = [path for path in found if is_gone(path.name)]
            for path in gone:
                path.unlink(missing_ok=True)
            if gone and len(gone) == len(found):
                self.remove(entry.name)

    def _entries(self) -> Iterator[Path]:
        return (entry for entry in self._root.glob("*") if not entry.name.startswith("."))

    def _remove_gone(self) -> None:
        for aside in self._root.glob(f"{_GONE}*"):
            shutil.rmtree(aside, ignore_errors=True)


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.is_file())


def _size(entry: Path) -> int:
    total = 0
    with contextlib.suppress(OSError):  # it is going at this moment
        for path in _files(entry):
            total += path.stat().st_size
    return total


def _used_at(entry: Path) -> float:
    with contextlib.suppress(OSError):
        return entry.stat().st_mtime
    return 0.0
