"""Python sources below a root: in a folder, or in the artifact that was built from it; and how they are named.

Inside arkor a source is named by its path below the root, with forward slashes on every system.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path, PurePath, PurePosixPath
from typing import Protocol, TypeVar

from arkor.errors import EntryError

MANIFEST_NAME = "arkor-bundle.json"
SOURCES_FOLDER = "sources"

_P = TypeVar("_P", bound=PurePath)


class SourceTree(Protocol):
    """Python sources below a root.

    Attributes:
        root: the folder they are, or were, in.
    """

    root: Path

    def read(self, name: PurePosixPath) -> bytes | None:
        """Return a file's content, or None where there is no such file."""

    def has_folder(self, name: PurePosixPath) -> bool:
        """Say whether there is a folder of that name."""


class DiskTree:
    """The sources of a folder, each as it was when it was first read."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._read: dict[PurePosixPath, bytes] = {}

    def read(self, name: PurePosixPath) -> bytes | None:
        """Return a file's content, or None where there is no such file."""
        if name not in self._read:
            file = self.root / name
            if not file.is_file():
                return None
            self._read[name] = file.read_bytes()
        return self._read[name]

    def has_folder(self, name: PurePosixPath) -> bool:
        """Say whether there is a folder of that name."""
        return (self.root / name).is_dir()


class BundledTree:
    """The sources inside a build artifact.

    Attributes:
        root: the folder the sources were in.
        files: every source by its name.
    """

    def __init__(self, root: Path, files: Mapping[PurePosixPath, bytes], folders: frozenset[PurePosixPath]) -> None:
        self.root = root
        self.files = files
        self._folders = folders

    def read(self, name: PurePosixPath) -> bytes | None:
        """Return a file's content, or None where there is no such file."""
        return self.files.get(name)

    def has_folder(self, name: PurePosixPath) -> bool:
        """Say whether there is a folder of that name."""
        return name in self._folders


def open_artifact(artifact: Path, project_dir: Path, content: bytes | None = None) -> tuple[BundledTree, PurePosixPath]:
    """Read an artifact.

    Args:
        artifact: the file; it is read once.
        project_dir: the project it belongs to.
        content: what to take for its content, where that is known already.

    Returns:
        Its sources, and the name of the entry among them.

    Raises:
        EntryError: the file is no artifact.
    """
    try:
        with zipfile.ZipFile(artifact if content is None else io.BytesIO(content)) as bundle:
            manifest = json.loads(bundle.read(MANIFEST_NAME))
            entry, root = PurePosixPath(manifest["entry"]), project_dir / manifest.get("root", "")
            found = {name: bundle.read(name) for name in bundle.namelist() if name.startswith(f"{SOURCES_FOLDER}/")}
    except (OSError, zipfile.BadZipFile, AttributeError, KeyError, TypeError, ValueError) as exc:
        raise EntryError(f"{artifact} is not an artifact of arkor build. Build it again.") from exc
    named = {PurePosixPath(name).relative_to(SOURCES_FOLDER): content for name, content in found.items()}
    folders = {PurePosixPath(name).relative_to(SOURCES_FOLDER) for name in found if name.endswith("/")}
    files = {name: content for name, content in named.items() if name not in folders}
    return BundledTree(normal_path(root), files, frozenset(folders.union(*(name.parents for name in named)))), entry


def module_file(tree: SourceTree, name: PurePosixPath) -> PurePosixPath | None:
    """Return the file of a module or package, named by its path without a suffix; None where it has none."""
    candidates = (name / "__init__.py", name.with_name(f"{name.name}.py")) if name.parts else (name / "__init__.py",)
    return next((file for file in candidates if tree.read(file) is not None), None)


def locate(entry: Path, project_dir: Path) -> tuple[Path, PurePosixPath]:
    """Find the place of an entry.

    Args:
        entry: relative to the project or absolute.
        project_dir: the project's root.

    Returns:
        The folder that relative imports may reach up to, and the entry's name in it. It is the project, or the entry's
        own package outside of it.
    """
    file = normal_path(project_dir / entry)
    real, real_project = file.parent.resolve() / file.name, project_dir.resolve()
    if not file.is_relative_to(project_dir) and real.is_relative_to(real_project):
        file = project_dir / real.relative_to(real_project)  # written through a symbolic link, as /tmp is on macOS
    package = file.parent.parent if file.name == "__init__.py" else file.parent
    root = project_dir if file.is_relative_to(project_dir) else package
    return root, name_below(file, root)


def normal_path(path: _P) -> _P:
    """Return an absolute path without ``..``, which would hide whether it lies in the project."""
    parts: list[str] = []
    for part in path.relative_to(path.anchor).parts:
        parts[len(parts) - (part == "..") :] = [] if part == ".." else [part]
    return type(path)(path.anchor, *parts)


def name_below(file: PurePath, root: PurePath) -> PurePosixPath:
    """Return a file's name below a root, with forward slashes."""
    return PurePosixPath(file.relative_to(root).as_posix())


def way_between(project_dir: PurePath, folder: PurePath) -> str:
    """Return the way from the project to a folder, with forward slashes; the whole path where there is none."""
    for ups, parent in enumerate((project_dir, *project_dir.parents)):
        if folder.is_relative_to(parent):
            return str(PurePosixPath(*[".."] * ups, name_below(folder, parent)))
    return folder.as_posix()
