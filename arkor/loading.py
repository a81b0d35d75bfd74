"""Import an entry, from its sources or from a build artifact, fresh each time.

The entry and what it imports relatively become modules of a package that stands for the project's root, under a name
of its own for each load. Sources are compiled as they are now, without a bytecode cache. Tracebacks name the user's
own files, also when the code comes from an artifact.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import itertools
import json
import os
import sys
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from types import CodeType, ModuleType
from typing import Protocol

from arkor.errors import EntryError

MANIFEST_NAME = "arkor-bundle.json"
SOURCES_FOLDER = "sources"

_numbers = itertools.count(1)
_DOT = "\u2024"  # stands in module names for a dot in the name of a file or folder


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
    """The sources of a folder."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def read(self, name: PurePosixPath) -> bytes | None:
        """Return a file's content, or None where there is no such file."""
        file = self.root / name
        return file.read_bytes() if file.is_file() else None

    def has_folder(self, name: PurePosixPath) -> bool:
        """Say whether there is a folder of that name."""
        return (self.root / name).is_dir()


class BundledTree:
    """The sources inside a build artifact.

    Args:
        artifact: the file; it is read once.
        root: the folder the sources were in.
    """

    def __init__(self, artifact: Path, root: Path) -> None:
        self.root = root
        with zipfile.ZipFile(artifact) as bundle:
            prefix = f"{SOURCES_FOLDER}/"
            names = [name for name in bundle.namelist() if name.startswith(prefix)]
            self._files: Mapping[str, bytes] = {name.removeprefix(prefix): bundle.read(name) for name in names}

    def read(self, name: PurePosixPath) -> bytes | None:
        """Return a file's content, or None where there is no such file."""
        return self._files.get(str(name))

    def has_folder(self, name: PurePosixPath) -> bool:
        """Say whether there is a folder of that name."""
        return any(file.startswith(f"{name}/") for file in self._files)


class _Loader(importlib.abc.InspectLoader):
    def __init__(self, tree: SourceTree, name: PurePosixPath) -> None:
        self._tree = tree
        self._name = name

    def is_package(self, fullname: str) -> bool:
        return self._name.name == "__init__.py"

    def get_source(self, fullname: str) -> str:
        return importlib.util.decode_source(self._tree.read(self._name) or b"")

    def get_code(self, fullname: str) -> CodeType:
        return self.source_to_code(self._tree.read(self._name) or b"", str(self._tree.root / self._name))


class _Finder(importlib.abc.MetaPathFinder):
    """Finds the modules of one load."""

    def __init__(self, package: str, tree: SourceTree) -> None:
        self._package = package
        self._tree = tree

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        first, *rest = fullname.split(".")
        if first != self._package:
            return None
        folder = PurePosixPath(*(part.replace(_DOT, ".") for part in rest))
        for name in (folder / "__init__.py", folder.with_name(f"{folder.name}.py")) if rest else ():
            if self._tree.read(name) is not None:
                return self._spec_of(fullname, name)
        if self._tree.has_folder(folder) or not rest:
            spec = importlib.machinery.ModuleSpec(fullname, None, is_package=True)
            spec.submodule_search_locations = [str(self._tree.root / folder)]
            return spec
        return None

    def _spec_of(self, fullname: str, name: PurePosixPath) -> importlib.machinery.ModuleSpec | None:
        loader = _Loader(self._tree, name)
        spec = importlib.util.spec_from_loader(fullname, loader, origin=str(self._tree.root / name))
        if spec is not None:
            spec.has_location = True
            if loader.is_package(fullname):
                spec.submodule_search_locations = [str(self._tree.root / name.parent)]
        return spec


def load_entry(entry: Path, project_dir: Path) -> ModuleType:
    """Import an entry and return its module.

    Args:
        entry: a Python file, or a build artifact (``.pyz``).
        project_dir: the project's root; it becomes importable, as it is for ``python -m``.

    Raises:
        EntryError: the file is no Python and no artifact, or its code raised; the error is its cause.
    """
    entry = normal_path(project_dir / entry)
    tree, name = _open(entry, project_dir)
    if str(project_dir) not in sys.path:
        sys.path.insert(0, str(project_dir))
    package = f"_arkor_entry_{next(_numbers)}"
    parts = [part.replace(".", _DOT) for part in name.with_suffix("").parts]
    sys.meta_path.insert(0, _Finder(package, tree))
    importlib.invalidate_caches()
    try:
        return importlib.import_module(".".join([package, *parts]))
    except Exception as exc:
        raise EntryError(f"{_place(exc, tree.root, entry)}: {_text(exc)}") from exc


def normal_path(path: Path) -> Path:
    """Return a path without ``.`` and ``..``, which would hide whether it lies in the project."""
    return Path(os.path.normpath(path))


def entry_root(entry: Path, project_dir: Path) -> Path:
    """Return the folder that relative imports may reach up to: the project, or the entry's own folder outside of it."""
    return project_dir if entry.is_relative_to(project_dir) else entry.parent


def _open(entry: Path, project_dir: Path) -> tuple[SourceTree, PurePosixPath]:
    """Return the sources an entry belongs to, and its name among them."""
    if entry.suffix != ".pyz":
        root = entry_root(entry, project_dir)
        return DiskTree(root), PurePosixPath(entry.relative_to(root).as_posix())
    try:
        with zipfile.ZipFile(entry) as bundle:
            name = PurePosixPath(json.loads(bundle.read(MANIFEST_NAME))["entry"])
    except (zipfile.BadZipFile, KeyError, TypeError, ValueError) as exc:
        raise EntryError(f"{entry} is not an artifact of arkor build. Build it again.") from exc
    return BundledTree(entry, _built_in(entry) or project_dir), name


def _built_in(artifact: Path) -> Path | None:
    """Return the project that an artifact lies in, where it lies where ``arkor build`` puts it."""
    folders = artifact.absolute().parents
    return folders[2] if [folder.name for folder in folders[:2]] == ["build", ".arkor"] else None


def _text(exc: Exception) -> str:
    from arkor.errors import ArkorError

    return str(exc) if isinstance(exc, ArkorError) else f"{type(exc).__name__}: {exc}"


def _place(exc: Exception, root: Path, entry: Path) -> str:
    """Return file and line of the user's own code where an exception came from."""
    if isinstance(exc, SyntaxError) and exc.filename:
        return f"{exc.filename}:{exc.lineno}"
    place = str(entry)
    traceback = exc.__traceback__
    while traceback is not None:
        file = Path(traceback.tb_frame.f_code.co_filename)
        if file.is_relative_to(root) and "site-packages" not in file.parts:
            place = f"{file}:{traceback.tb_lineno}"
        traceback = traceback.tb_next
    return place
