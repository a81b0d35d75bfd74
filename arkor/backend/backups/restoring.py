"""Restoring a backup: each file is compared with what the backup knows of it, and the data folder appears whole."""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import tempfile
from pathlib import Path

from arkor.backend.backups.manifest import Manifest
from arkor.backend.storage.interface import Content
from arkor.backend.storage.local import SERVER_LOCK
from arkor.errors import LocalBackendError
from arkor.system.files import make_private_folder, replacing

_BLOCK_BYTES = 1024**2


def restore_backup(source: Path, data: Path) -> Manifest:
    """Make a data folder of a backup.

    Args:
        source: the backup's folder, which stays as it is.
        data: the data folder: empty, or not there.

    Returns:
        What was restored.

    Raises:
        LocalBackendError: the backup is not complete or was changed, or the data folder is in use or not empty.
        OSError: the disk is full; the data folder is as it was.
    """
    manifest = Manifest.read(source)
    _check_free(data)
    make_private_folder(data.parent)
    work = Path(tempfile.mkdtemp(dir=data.parent, prefix=f".{data.name}.restored."))  # for this user alone
    try:
        for path, content in manifest.files.items():
            _copy(source, path, work, content)
        work.replace(data)  # refused if somebody has put a file there meanwhile
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        raise
    return manifest


def _check_free(data: Path) -> None:
    if not data.exists():
        return
    if not data.is_dir():
        raise LocalBackendError(f"{data} is no folder: name another one with --data.")
    lock = data / SERVER_LOCK
    if lock.exists():
        with lock.open("ab") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise LocalBackendError(
                    f"A backend is using {data}: stop it, and name an empty folder with --data."
                ) from None
    if any(data.iterdir()):
        raise LocalBackendError(f"{data} is not empty: name an empty folder with --data, or move its content away.")


def _copy(source: Path, path: str, work: Path, content: Content) -> None:
    target = (work / path).resolve()
    if not target.is_relative_to(work.resolve()):
        raise LocalBackendError(f"The backup {source} names {path!r:.200}, which is outside of it.")
    make_private_folder(target.parent)
    digest, size = hashlib.sha256(), 0
    try:
        with (source / path).open("rb") as file, replacing(target, mode=0o600) as copy:
            while block := file.read(_BLOCK_BYTES):
                digest.update(block)
                size += len(block)
                copy.write(block)
            if not Content(size, digest.hexdigest()).fits(content):
                raise LocalBackendError(
                    f"{source / path} was changed since the backup was made: nothing was restored. Take another backup."
                )
    except FileNotFoundError:
        raise LocalBackendError(
            f"{source / path} is missing in the backup: nothing was restored. Take another backup."
        ) from None
