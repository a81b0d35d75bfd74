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

from arkor.entry.relative_imports import reached
from arkor.entry.source_tree import MANIFEST_NAME, SOURCES_FOLDER, DiskTree, locate, open_artifact, way_between
from arkor.errors import BuildError, EntryError
from arkor.system.files import write_atomically

DEFAULT_ENTRY = PurePosixPath("src/arkor/index.py")
ARTIFACT = PurePosixPath(".arkor/build/index.pyz")

_MAIN = """\
import sys

from arkor.cli import main

main(["start", sys.argv[0], *sys.argv[1:]])
"""
_EPOCH = (1980, 1, 1, 0, 0, 0)
_UNIX = 3


@attrs.frozen
class Built:
    """An artifact as it was written; another build may have replaced the file since.

    Attributes:
        artifact: the file.
        content: its bytes.
    """

    artifact: Path
    content: bytes = attrs.field(repr=False)


def build(entry: Path | None = None, project_dir: Path | None = None) -> Path:
    """Bundle an entry into the project's artifact, and return the file; see ``bundle``."""
    return bundle(entry, project_dir).artifact


def bundle(entry: Path | None = None, project_dir: Path | None = None) -> Built:
    """Bundle an entry into the project's artifact.

    Args:
        entry: the file, relative to the project or absolute; by default ``src/arkor/index.py``.
        project_dir: the project's root; by default the working directory.

    Returns:
        The artifact, written in one step; after a failure the last one is still there.

    Raises:
        BuildError: the entry is missing, a source does not parse, or a relative import leads nowhere.
    """
    project = (project_dir or Path.cwd()).absolute()
    root, name = locate(Path(entry or DEFAULT_ENTRY), project)
    file = root / name
    if not file.is_file():
        raise BuildError(
            f"Build entry not found: {file}. Create src/arkor/index.py or pass an explicit entry argument."
        )
    if file.suffix != ".py":
        raise BuildError("is not a Python source; the name of an entry ends in .py", file)
    manifest = {"entry": str(name)} | ({} if root == project else {"root": way_between(project, root)})
    built = Built(project / ARTIFACT, _zip(manifest, reached(DiskTree(root), name)))
    try:
        write_atomically(built.artifact, built.content, mode=0o755)
    except OSError as exc:
        raise BuildError(f"{built.artifact} cannot be written: {exc.strerror}.") from exc
    return built


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
