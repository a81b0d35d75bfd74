"""An entry becomes one file: ``.arkor/build/index.pyz``.

The artifact is a zip file that Python can run. It holds the entry and every source that relative imports reach from it;
absolute imports stay outside and are resolved when it runs. The same sources give the same bytes.

Protocol: docs/protocol.md, "The project's folder".
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

import attrs

from arkor.entry.artifact import ARTIFACT, find_artifact, write_automatic, write_pinned
from arkor.entry.relative_imports import reached
from arkor.entry.source_tree import MANIFEST_NAME, SOURCES_FOLDER, DiskTree, locate, open_artifact, way_between
from arkor.errors import BuildError, EntryError

DEFAULT_ENTRY = PurePosixPath("src/arkor/index.py")

_MAIN = """\
import sys

from arkor.cli import main

main(["start", sys.argv[0], *sys.argv[1:]])
"""
_EPOCH = (1980, 1, 1, 0, 0, 0)
_UNIX = 3


@attrs.frozen
class Built:
    """An artifact as it was written or found; another build may have replaced the file since.

    Attributes:
        artifact: the file.
        content: its bytes.
        is_pinned: whether the user asked for this build; ``arkor start`` does not replace it then.
        changes: the sources for which an older artifact was replaced, each with ``changed``, ``added`` or ``removed``.
    """

    artifact: Path
    content: bytes = attrs.field(repr=False)
    is_pinned: bool = True
    changes: Mapping[PurePosixPath, str] = attrs.field(factory=dict, hash=False)


def build(entry: Path | None = None, project_dir: Path | None = None) -> Path:
    """Bundle an entry into the project's artifact, and return the file; see ``bundle``."""
    return bundle(entry, project_dir).artifact


def bundle(entry: Path | None = None, project_dir: Path | None = None) -> Built:
    """Bundle an entry into the project's artifact, which is pinned then.

    Args:
        entry: the file, relative to the project or absolute; by default ``src/arkor/index.py``.
        project_dir: the project's root; by default the working directory.

    Returns:
        The artifact, written in one step; after a failure the last one is still there.

    Raises:
        BuildError: the entry is missing, a source does not parse, or a relative import leads nowhere.
    """
    project = (project_dir or Path.cwd()).absolute()
    content = _bundled(entry, project)
    write_pinned(project, content)
    return Built(project / ARTIFACT, content)


def up_to_date(project_dir: Path | None = None) -> Built:
    """Return the artifact that runs if no entry is given.

    A pinned artifact is returned as it is. Otherwise the artifact is built from ``src/arkor/index.py``, again if its
    sources have changed.

    Args:
        project_dir: the project's root; by default the working directory.

    Raises:
        BuildError: as ``bundle``; the last artifact is still there.
        EntryError: the artifact cannot be read.
    """
    project = (project_dir or Path.cwd()).absolute()
    before = find_artifact(project)
    if before is not None and before.is_pinned:
        return Built(project / ARTIFACT, before.content)
    content = _bundled(None, project)
    if before is not None and before.content == content:
        return Built(project / ARTIFACT, content, is_pinned=False)
    now = write_automatic(project, content)
    changes = {} if before is None or now.is_pinned else _changes(project, before.content, content)
    return Built(project / ARTIFACT, now.content, now.is_pinned, changes)


def _bundled(entry: Path | None, project: Path) -> bytes:
    """Return the bytes of an entry's artifact."""
    root, name = locate(Path(entry or DEFAULT_ENTRY), project)
    file = root / name
    if not file.is_file():
        hint = "" if (project / DEFAULT_ENTRY).is_file() else " To set up a new project here, run: arkor init"
        raise BuildError(
            f"Build entry not found: {file}. Create src/arkor/index.py or pass an explicit entry argument.{hint}"
        )
    if file.suffix != ".py":
        raise BuildError("is not a Python source; the name of an entry ends in .py", file)
    manifest = {"entry": str(name)} | ({} if root == project else {"root": way_between(project, root)})
    return _zip(manifest, reached(DiskTree(root), name))


def _changes(project: Path, before: bytes, after: bytes) -> dict[PurePosixPath, str]:
    """Return the sources in which two artifacts of the default entry differ."""
    trees = (open_artifact(project / ARTIFACT, project, content)[0] for content in (before, after))
    old, new = (tree.files for tree in trees)
    return (
        {name: "changed" for name in sorted(old.keys() & new.keys()) if old[name] != new[name]}
        | dict.fromkeys(sorted(new.keys() - old.keys()), "added")
        | dict.fromkeys(sorted(old.keys() - new.keys()), "removed")
    )


def changed_source(artifact: Path, project_dir: Path | None = None) -> Path | None:
    """Return a source that has changed since it went into an artifact; None where none has, or none can be told.

    Args:
        artifact: what ``build`` returned.
        project_dir: the project's root; by default the working directory.
    """
    try:
        tree, _ = open_artifact(artifact, (project_dir or Path.cwd()).absolute())
        there = ((tree.root / name, content) for name, content in tree.files.items() if (tree.root / name).is_file())
        return next((file for file, content in there if file.read_bytes() != content), None)
    except (EntryError, OSError):  # whoever runs the artifact will say it better
        return None


def _zip(manifest: Mapping[str, str], found: Mapping[PurePosixPath, bytes | None]) -> bytes:
    """Return the artifact's bytes. A folder is in it by itself only where none of its files is."""
    folders_with_files = {parent for name, content in found.items() if content is not None for parent in name.parents}
    members = {"__main__.py": _MAIN.encode(), MANIFEST_NAME: json.dumps(manifest).encode()}
    for name, content in sorted(found.items()):
        if content is not None:
            members[f"{SOURCES_FOLDER}/{name}"] = content
        elif name not in folders_with_files:
            members[f"{SOURCES_FOLDER}/{name}/"] = b""
    buffer = io.BytesIO()
    buffer.write(b"#!/usr/bin/env python3\n")
    with zipfile.ZipFile(buffer, "a", zipfile.ZIP_STORED) as archive:
        for member, content in members.items():
            info = zipfile.ZipInfo(member, _EPOCH)
            info.create_system = _UNIX  # on Windows too: the same bytes everywhere
            archive.writestr(info, content)
    return buffer.getvalue()
