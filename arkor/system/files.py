"""Where arkor keeps its files, and how it writes them: whole, private where needed, one writer at a time."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, BinaryIO

from arkor.errors import ConfigError

LOCK_POLL_S = 0.02
LOG_BYTES = 3000
LONGEST_LOG_BYTES = 10 * 1024**2
NO_SPACE_CODES = frozenset({errno.ENOSPC, errno.EDQUOT})
_BLOCK_BYTES = 1024**2
# Windows has no pipes in folders, but has two kinds of files.
_AT_ONCE = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)

STUDIO_ADDRESS = "studio-address"
"""The file in ``arkor_home()`` with the address of the Studio that was launched last."""


def arkor_home() -> Path:
    """Return ``~/.arkor``, the folder that all Arkor clients of this user share.

    Raises:
        ConfigError: this user has no home folder.
    """
    return expand_home("~") / ".arkor"


def expand_home(path: str) -> Path:
    """Return a path whose ``~`` or ``~user`` at the start, if any, is replaced by that home folder.

    Raises:
        ConfigError: there is no such home folder.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as exc:
        user = Path(path).parts[0].removeprefix("~")
        if user:
            raise ConfigError("path", f"{path!r} is in the home folder of {user!r}, and there is no such user") from exc
        raise ConfigError(
            "HOME",
            "is not set, and the system knows no home folder of this user. arkor keeps its files in ~/.arkor: set HOME "
            "to a folder that this user may write",
        ) from exc


def make_private_folder(folder: Path) -> None:
    """Create a folder and its missing parents for this user alone, whatever the umask; one that exists keeps its mode.

    Raises:
        OSError: it cannot be created.
    """
    if folder.exists():
        return
    make_private_folder(folder.parent)
    with contextlib.suppress(FileExistsError):  # another process was quicker
        folder.mkdir(mode=0o700)
        folder.chmod(0o700)  # the umask may have taken the owner's permissions


def write_atomically(path: Path, data: bytes, *, mode: int = 0o644, durable: bool = True) -> None:
    """Replace a file's content in one step, or leave it as it was.

    The bytes go to a temporary file in the same folder, which is created with ``mode`` (never wider, whatever
    the umask), flushed to the disk and renamed over ``path``. Whatever kills the process, the file is whole.

    Args:
        path: the file; missing parent folders are created.
        data: its new content.
        mode: permission bits, 0o600 for secrets.
        durable: flush it to the disk, so that it is whole after a power failure too; this takes milliseconds.

    Raises:
        OSError: the folder cannot be written or the disk is full; the old file is whole.
    """
    with replacing(path, mode=mode, durable=durable) as file:
        file.write(data)


@contextlib.contextmanager
def replacing(path: Path, *, mode: int = 0o644, durable: bool = True) -> Iterator[IO[bytes]]:
    """Replace a file by what is written inside the block, as ``write_atomically`` does; if it raises, not at all.

    Args:
        path: as for ``write_atomically``.
        mode: as for ``write_atomically``.
        durable: as for ``write_atomically``.

    Yields:
        The new file, open for writing.

    Raises:
        OSError: as ``write_atomically`` does.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            if mode != 0o600:  # mkstemp's own mode
                Path(name).chmod(mode)
            yield file
            file.flush()
            if durable:
                os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, as hexadecimal digits in lower case.

    Raises:
        OSError: it cannot be read.
    """
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def is_no_space(exc: OSError) -> bool:
    """Whether a file could not be written because the disk, or this user's part of it, is full."""
    return exc.errno in NO_SPACE_CODES


def open_regular(path: Path) -> BinaryIO:
    """Open a file to read its bytes, at once: who opens a pipe waits for its other end, and a device may have no end.

    Args:
        path: the file, or a link to it.

    Raises:
        OSError: it is not there, may not be read, or is no regular file.
    """
    descriptor = os.open(path, os.O_RDONLY | _AT_ONCE)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "is no regular file", str(path))
    return os.fdopen(descriptor, "rb")


def read_end(path: Path, *, longest: int = LOG_BYTES, start: int = 0) -> str:
    """Return the end of a text file, such as a log; empty if it cannot be read.

    Args:
        path: the file.
        longest: bytes, at most.
        start: nothing before this byte.
    """
    try:
        with path.open("rb") as file:
            file.seek(max(start, path.stat().st_size - longest))
            return file.read().decode(errors="replace")
    except OSError:  # a log that is not there says nothing, and is no reason to hide what it was read for
        return ""


def read_log_end(path: Path) -> str:
    """Return the end of a log that ``rotate_log`` may have emptied a moment ago; empty if it cannot be read."""
    end = read_end(path)
    return end if len(end.encode()) >= LOG_BYTES else read_end(_rotated(path)) + end


def rotate_log(path: Path, longest: int = LONGEST_LOG_BYTES) -> None:
    """Empty a log that has grown too long; its end is kept in ``<name>.1`` beside it, in place of an older one.

    A process that appends to the log goes on in the emptied file. A line that it writes at that very moment may be
    lost. A file that cannot be read or written is left as it is: a log is no reason to fail.

    Args:
        path: the log; does nothing where there is none.
        longest: how long it may be, and how much of it is kept, in bytes.
    """
    with contextlib.suppress(OSError):
        size = path.stat().st_size
        if size > longest:
            with path.open("r+b") as log:
                log.seek(size - longest)
                with contextlib.suppress(OSError):  # on a full disk its space is worth more than its past
                    write_atomically(_rotated(path), log.read(longest), mode=0o600, durable=False)
                log.truncate(0)


def _rotated(path: Path) -> Path:
    return path.with_name(f"{path.name}.1")


@contextlib.contextmanager
def file_lock(path: Path, pause: Callable[[float], object] = time.sleep) -> Iterator[None]:
    """Hold an exclusive lock between processes, waiting for whoever holds it.

    The lock lives in a file of its own, which is never removed. The operating system lets go of it when the
    process ends, however it ends.

    Args:
        path: the lock file; missing parent folders are created.
        pause: waits so many seconds between two tries; what it raises ends the waiting.

    Raises:
        OSError: the file cannot be made.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        while not _try_lock(file):
            pause(LOCK_POLL_S)
        try:
            yield
        finally:
            _unlock(file)


if sys.platform == "win32":
    import msvcrt

    def _try_lock(file: IO[bytes]) -> bool:
        file.seek(0)
        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

    def _unlock(file: IO[bytes]) -> None:
        file.seek(0)
        msvcrt.locking(file.fileno(), msvcrt.LK_UNLCK, 1)

else:
    import fcntl

    def _try_lock(file: IO[bytes]) -> bool:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _unlock(file: IO[bytes]) -> None:
        fcntl.flock(file, fcntl.LOCK_UN)
