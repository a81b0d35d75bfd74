"""Adapters out of their artifacts, where the chat process can load them."""

from __future__ import annotations

import shutil
import tarfile
import tempfile
import threading
from pathlib import Path

from arkor.backend.storage.interface import Content, Storage

_FILES = ("adapter_config.json", "adapter_model.safetensors")


class AdapterFolder:
    """A folder with unpacked adapters, each named by the SHA-256 of its tar. Thread-safe.

    Args:
        folder: where they go; what an earlier process left there is removed before the first one.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._is_ours = False

    def unpack(self, key: str, content: Content, storage: Storage) -> Path:
        """Return the folder of an adapter, unpacked where it was not.

        Args:
            key: of the artifact.
            content: of the artifact.
            storage: has the artifact.

        Raises:
            StorageError: the artifact is gone, or the storage cannot be used.
            OSError: the disk is full.
        """
        target = self._folder / content.sha256
        with self._lock:
            if not self._is_ours:
                shutil.rmtree(self._folder, ignore_errors=True)
                self._folder.mkdir(mode=0o700, parents=True)
                self._is_ours = True
            if target.is_dir():
                return target
        self._unpack(key, content, storage, target)  # a slow storage keeps no other chat waiting
        return target

    def remove(self, sha256: str) -> None:
        """Remove an adapter, where it is there.

        Args:
            sha256: of its tar.
        """
        with self._lock:
            shutil.rmtree(self._folder / sha256, ignore_errors=True)

    def _unpack(self, key: str, content: Content, storage: Storage, target: Path) -> None:
        work = Path(tempfile.mkdtemp(dir=self._folder, prefix=".part-"))
        fetched = work / "fetched.tar"
        try:
            with tarfile.open(storage.bring(key, fetched, content)) as archive:
                for name in _FILES:  # by name: nothing else in the tar is ever written
                    packed = archive.extractfile(name)
                    assert packed is not None  # it is a file: the worker packed it
                    with packed, (work / name).open("wb") as file:
                        shutil.copyfileobj(packed, file)
            fetched.unlink(missing_ok=True)
            with self._lock:
                if not target.is_dir():  # another chat was not quicker
                    work.replace(target)
        finally:
            shutil.rmtree(work, ignore_errors=True)
