"""Unpack an archive that nobody vouches for: files and folders below one folder, and nothing else.

Stricter than the ``data`` filter of ``tarfile``, which allows links and sparse files, mends absolute names without a
word, and is missing from Python before 3.10.12 and 3.11.4. ``tarfile`` also takes a damaged header for the end.
"""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO

from arkor.http.abort import AbortScope, current_scope

COPY_BYTES = 1024 * 1024


def unpack(archive: IO[bytes], folder: Path) -> None:
    """Unpack an uncompressed tar into a new folder, and flush its files to the disk.

    Args:
        archive: the tar.
        folder: created; what is in it after an error is the caller's to remove.

    Raises:
        tarfile.TarError: it is no whole tar, or has a member that is not a file or folder below its top.
        OSError: the folder cannot be written.
        Aborted, WaitTimeout: as the active abort scope says.
    """
    folder.mkdir()
    archive.seek(0)
    try:
        with tarfile.open(fileobj=archive, mode="r:") as tar:
            for member in _members(tar):
                _write(tar, member, folder / member.name)
            _check_end(archive, tar.offset)
    except tarfile.ExtractError:
        raise
    except (FileExistsError, NotADirectoryError) as exc:
        raise tarfile.ExtractError("two of its members have the same place") from exc
    except (tarfile.TarError, ValueError, EOFError, OverflowError) as exc:  # what is in its headers can be anything
        raise tarfile.ReadError(f"it is not a whole tar file ({exc})") from exc


def _members(tar: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    """Yield the members, each checked."""
    end = -1
    for member in tar:
        _check(member)
        if tar.offset <= end:  # CVE-2025-8194: a negative size leads back, for ever
            raise tarfile.ReadError("a size is negative")
        end = tar.offset
        yield member


def _check(member: tarfile.TarInfo) -> None:
    windows = PureWindowsPath(member.name)
    if member.name.startswith("/") or windows.anchor or ".." in (*PurePosixPath(member.name).parts, *windows.parts):
        raise tarfile.ExtractError(f"its member {member.name!r:.200} would be written outside of its folder")
    if member.issparse():  # a few bytes could become as many as the disk has
        raise tarfile.ExtractError(f"its member {member.name!r:.200} is a sparse file")
    if not (member.isreg() or member.isdir()):
        raise tarfile.ExtractError(f"its member {member.name!r:.200} is neither a file nor a folder")


def _check_end(archive: IO[bytes], offset: int) -> None:
    """Raise where an archive goes on after what ``tarfile`` took for its end, or has no end."""
    archive.seek(offset)
    rest = archive.read(tarfile.BLOCKSIZE)
    if len(rest) < tarfile.BLOCKSIZE or rest.strip(b"\0"):
        raise tarfile.ReadError("its end is missing")


def _write(tar: tarfile.TarFile, member: tarfile.TarInfo, target: Path) -> None:
    scope = current_scope() or AbortScope(None)
    if member.isdir():
        target.mkdir(parents=True, exist_ok=True)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    source = tar.extractfile(member)
    assert source is not None  # it is a file
    with source, target.open("xb") as file:
        while piece := source.read(COPY_BYTES):
            file.write(piece)
            scope.check()
        file.flush()
        os.fsync(file.fileno())
