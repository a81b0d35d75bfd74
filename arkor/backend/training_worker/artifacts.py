"""What a job leaves to its user: adapters, each packed into one tar with the same bytes for the same adapter.

Protocol: docs/protocol.md, "Artifacts".
"""

from __future__ import annotations

import io
import os
import re
import shutil
import tarfile
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO

import attrs

from arkor.backend.jobs.job_files import ARTIFACTS, JobFiles
from arkor.backend.storage.interface import Content
from arkor.backend.training_worker.provenance import Provenance
from arkor.protocol.jobs import Artifact
from arkor.system.files import replacing, sha256_of

CONFIG, WEIGHTS, _RECORD = ARCHIVED_FILES = ("adapter_config.json", "adapter_model.safetensors", "arkor.json")

_CHECKPOINT_TAR = re.compile(r"checkpoint-([0-9]+)\.tar")


def pack_adapter(source: Path, folder: Path, name: str, made_by: Provenance, step: int | None = None) -> Artifact:
    """Pack an adapter; the tar appears under its name only when it is whole and on the disk.

    Args:
        source: the folder with ``adapter_config.json`` and ``adapter_model.safetensors``.
        folder: where the tar belongs; created where missing.
        name: the artifact's name, without ``.tar``.
        made_by: what the archive says of the base model, and of the adapter's making.
        step: the optimizer step of a checkpoint, None for the final adapter.

    Raises:
        OSError: a file is missing or the disk is full; nothing new remains.
    """
    with (source / WEIGHTS).open("rb") as weights:
        content: dict[str, IO[bytes]] = {
            CONFIG: io.BytesIO(made_by.named((source / CONFIG).read_bytes())),
            WEIGHTS: weights,
            _RECORD: io.BytesIO(made_by.file()),
        }
        return attrs.evolve(pack(content, folder, name), step=step)


def pack(content: Mapping[str, IO[bytes]], folder: Path, name: str) -> Artifact:
    """Pack files into an artifact; the tar appears under its name only when it is whole and on the disk.

    Args:
        content: the files by their names, each open at any place.
        folder: where the tar belongs; created where missing.
        name: the artifact's name, without ``.tar``.

    Raises:
        OSError: the disk is full; nothing new remains.
    """
    folder.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=folder, prefix=f".{name}.", suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            with tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as tar:
                for member, data in content.items():
                    _add(tar, member, data)
            file.flush()
            os.fsync(file.fileno())
        target = folder / f"{name}.tar"
        Path(temporary).replace(target)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return describe(target)


def copy(tar: Path, folder: Path, name: str) -> Artifact:
    """Make an artifact of a tar that is packed already; it appears under its name only when it is whole.

    Args:
        tar: the tar, which stays.
        folder: where the copy belongs; created where missing.
        name: the artifact's name, without ``.tar``.

    Raises:
        OSError: the disk is full; nothing new remains.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tar.open("rb") as source, replacing(folder / f"{name}.tar") as target:
        shutil.copyfileobj(source, target)
    return describe(folder / f"{name}.tar")


def describe(tar: Path, step: int | None = None) -> Artifact:
    """Return what the backend and the user are told about a tar.

    Args:
        tar: the file.
        step: the optimizer step of a checkpoint, None for the final adapter.
    """
    return Artifact(name=tar.stem, step=step, size_bytes=tar.stat().st_size, sha256=sha256_of(tar))


def hand_over(files: JobFiles, artifact: Artifact) -> None:
    """Store an artifact that was packed in the job's folder.

    Raises:
        StorageError: the storage cannot be used.
    """
    content = Content(artifact.size_bytes, artifact.sha256 or "")
    files.hand_over(files.folder / ARTIFACTS / f"{artifact.name}.tar", content)


def packed_checkpoints(files: JobFiles) -> list[Artifact]:
    """Return the checkpoints packed so far, by step.

    Raises:
        StorageError: the storage cannot be used.
    """
    found = []
    for step, name in sorted(_checkpoint_tars(files).items()):
        content = files.storage.content(files.key(name))
        if content is not None:
            found.append(Artifact(name=Path(name).stem, step=step, size_bytes=content.size, sha256=content.sha256))
    return found


def keep_newest(files: JobFiles, count: int, best: int | None) -> None:
    """Remove packed checkpoints beyond a number.

    Args:
        files: the job's.
        count: how many of the newest stay, at least 1; fewer by one if that of the best evaluation is an older one.
        best: the step of the best evaluation, whose checkpoint stays; None before the first evaluation.

    Raises:
        StorageError: the storage cannot be used.
    """
    tars = _checkpoint_tars(files)
    newest_first = sorted(tars, reverse=True)
    kept = set(newest_first[:count])
    if best in tars and best not in kept:
        kept = {best, *newest_first[: max(1, count - 1)]}
    files.remove(*(tars[step] for step in tars.keys() - kept))


def _checkpoint_tars(files: JobFiles) -> dict[int, str]:
    """Return the names of the packed checkpoints by their steps."""
    matches = ((name, _CHECKPOINT_TAR.fullmatch(Path(name).name)) for name in files.names(ARTIFACTS))
    return {int(match[1]): name for name, match in matches if match}


def remove_unfinished(folder: Path) -> None:
    """Remove what an attempt that was killed while packing has left."""
    for part in folder.glob(".*.part"):
        part.unlink(missing_ok=True)


def _add(tar: tarfile.TarFile, name: str, content: IO[bytes]) -> None:
    # No time, owner or folder of this machine goes in, and the members have one order.
    member = tarfile.TarInfo(name)
    member.size = content.seek(0, os.SEEK_END)
    member.mode = 0o644
    content.seek(0)
    tar.addfile(member, content)
