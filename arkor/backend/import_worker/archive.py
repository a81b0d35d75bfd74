"""The two files of an adapter, out of the archive that a client sent: by their names, and nothing else."""

from __future__ import annotations

import shutil
import tarfile
from pathlib import Path

from arkor.backend.imports.task import ARCHIVE, CONFIG, FILES
from arkor.errors import ModelError
from arkor.text import short_repr

MAX_CONFIG_BYTES = 1024**2


def unpack(folder: Path) -> None:
    """Write the two files of the archive beside it, and remove the archive.

    Raises:
        ModelError: it is no tar, lacks a file, or has another one; the text names it.
        OSError: the disk is full.
    """
    archive = folder / ARCHIVE
    found: set[str] = set()
    try:
        with tarfile.open(archive, "r:") as tar:
            for member in tar:
                _check(member, found)
                content = tar.extractfile(member)
                assert content is not None  # it is a file
                with content, (folder / member.name).open("xb") as file:
                    shutil.copyfileobj(content, file)
                found.add(member.name)
    except tarfile.TarError as exc:
        raise ModelError(f"The archive is no whole tar: {exc}") from exc
    for name in FILES:
        if name not in found:
            raise ModelError(f"The archive lacks {name}")
    archive.unlink()


def _check(member: tarfile.TarInfo, found: set[str]) -> None:
    if member.name not in FILES or not member.isreg() or member.issparse():
        raise ModelError(
            f"The archive has {short_repr(member.name)}, and may have the files {' and '.join(FILES)} alone"
        )
    if member.name in found:
        raise ModelError(f"The archive has {member.name} twice")
    if member.name == CONFIG and member.size > MAX_CONFIG_BYTES:
        raise ModelError(f"{CONFIG} has {member.size:,} bytes, and may have {MAX_CONFIG_BYTES:,}")
