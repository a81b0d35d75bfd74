"""A project's artifact on disk, and the mark beside it that says who built it.

An artifact is pinned if the user asked for it: ``arkor build`` and ``arkor start ENTRY`` do. The mark lists the SHA-256
of an artifact that ``arkor start`` or Studio built by itself, which may be replaced. The mark is written before such an
artifact, so a killed process leaves two files that fit each other. An artifact that the mark does not list is pinned.

Protocol: docs/protocol.md, "The project's folder".
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import attrs

from arkor.errors import BuildError, EntryError
from arkor.system.files import file_lock, write_atomically

ARTIFACT = PurePosixPath(".arkor/build/index.pyz")
MARK = PurePosixPath(".arkor/build/index.pyz.json")
LOCK = PurePosixPath(".arkor/build.lock")
BY_ITSELF = "start"


@attrs.frozen
class Found:
    """An artifact as it was read.

    Attributes:
        content: its bytes.
        is_pinned: whether the user asked for it.
    """

    content: bytes = attrs.field(repr=False)
    is_pinned: bool


def find_artifact(project: Path) -> Found | None:
    """Return a project's artifact, or None if there is no such file.

    Raises:
        EntryError: the file cannot be read.
    """
    automatic = _marked(project)  # before the artifact: another process writes them in this order
    try:
        content = (project / ARTIFACT).read_bytes()
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return None
    except OSError as exc:
        raise EntryError(f"{project / ARTIFACT} cannot be read: {exc.strerror}.") from exc
    return Found(content, _digest(content) not in automatic)


def write_pinned(project: Path, content: bytes) -> None:
    """Replace a project's artifact by one that the user asked for.

    Raises:
        BuildError: it cannot be written; the last artifact is whole.
    """
    with _writing(project):
        _mark(project, _marked(project) - {_digest(content)})
        write_atomically(project / ARTIFACT, content, mode=0o755)
        _mark(project, frozenset())


def write_automatic(project: Path, content: bytes) -> Found:
    """Replace a project's artifact, unless that is pinned.

    Returns:
        The artifact that is there now: this one, or the pinned one.

    Raises:
        BuildError: it cannot be written; the last artifact is whole.
    """
    with _writing(project):
        before = find_artifact(project)
        if before is not None and before.is_pinned:
            return before
        replaced = frozenset() if before is None else frozenset({_digest(before.content)})
        new = frozenset({_digest(content)})
        _mark(project, replaced | new)
        write_atomically(project / ARTIFACT, content, mode=0o755)
        _mark(project, new)
    return Found(content, is_pinned=False)


@contextlib.contextmanager
def _writing(project: Path) -> Iterator[None]:
    """Let one process at a time write the two files."""
    try:
        with file_lock(project / LOCK):
            yield
    except OSError as exc:
        raise BuildError(f"{project / ARTIFACT} cannot be written: {exc.strerror}.") from exc


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _marked(project: Path) -> frozenset[str]:
    """Return the SHA-256 of each artifact that the mark lists; none if it cannot be used: then all are pinned."""
    try:
        body = json.loads((project / MARK).read_bytes())
        listed = body["sha256"] if body["builtBy"] == BY_ITSELF else []
        return frozenset(item for item in listed if isinstance(item, str))
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return frozenset()


def _mark(project: Path, digests: frozenset[str]) -> None:
    """Write the mark; a mark that would list nothing is removed."""
    if digests:
        body = {"builtBy": BY_ITSELF, "sha256": sorted(digests)}
        write_atomically(project / MARK, json.dumps(body).encode() + b"\n")
    else:
        (project / MARK).unlink(missing_ok=True)
