"""A folder that appears whole or not at all.

It is made in a hidden work folder beside its place. The last step renames it; until then what was there is untouched.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

from arkor.system.files import file_lock

LEFT_BEHIND_S = 60.0
TRIES = 100
_HIDDEN = ".arkor-download-"


@contextlib.contextmanager
def work_folder(dest: Path) -> Iterator[Path]:
    """Make a hidden folder in the destination for as long as the block lasts.

    What a killed process left there is removed first. After a failure nothing stays, nor the folders that were made to
    get there.

    Args:
        dest: created where missing.

    Raises:
        OSError: it cannot be written.

    Thread-safety: safe, also between processes: each has a folder of its own.
    """
    missing = [folder for folder in (dest, *dest.parents) if not folder.exists()]
    with contextlib.ExitStack() as undo:
        for folder in reversed(missing):
            undo.callback(_remove_empty, folder)
        dest.mkdir(parents=True, exist_ok=True)
        _remove_left_behind(dest)
        work = tempfile.TemporaryDirectory(dir=dest, prefix=_HIDDEN, ignore_cleanup_errors=True)
        undo.callback(_remove, work)
        with file_lock(Path(work.name) / "lock"):
            yield Path(work.name)


def put_in_place(folder: Path, target: Path, work: Path) -> None:
    """Rename a folder to its final name; what has that name moves to the work folder, and back after a failure.

    Args:
        folder: complete, on the same file system.
        target: its final name, in the destination that the work folder is in.
        work: the work folder.

    Raises:
        OSError: it cannot be renamed.
    """
    aside = None
    try:
        for tries_left in reversed(range(TRIES)):  # another process may put its own there at the same moment
            try:
                folder.rename(target)
            except OSError:
                if not tries_left:
                    raise
            else:
                return
            aside = work / f"{tries_left}" / target.name
            aside.parent.mkdir()
            with contextlib.suppress(FileNotFoundError):
                target.rename(aside)
    except BaseException:
        if aside is not None and os.path.lexists(aside) and not os.path.lexists(target):
            aside.rename(target)
        raise


def _remove_empty(folder: Path) -> None:
    with contextlib.suppress(OSError):  # what was downloaded is in it, or somebody else's file
        folder.rmdir()


def _remove(work: tempfile.TemporaryDirectory[str]) -> None:
    try:
        work.cleanup()
    except KeyboardInterrupt:
        work.cleanup()
        raise


def _remove_left_behind(dest: Path) -> None:
    """Remove the hidden folders of processes that were killed: those whose lock nobody holds."""

    def in_use(_: float) -> NoReturn:
        raise BlockingIOError

    for work in dest.glob(f"{_HIDDEN}*"):
        with contextlib.suppress(OSError):
            lock = work / "lock"
            if time.time() - lock.stat().st_mtime > LEFT_BEHIND_S:  # not one that is just being made
                with file_lock(lock, in_use):
                    for aside in work.glob("[0-9]*/*"):  # killed between the two renames
                        if not os.path.lexists(dest / aside.name):
                            aside.rename(dest / aside.name)
                    shutil.rmtree(work, ignore_errors=True)
