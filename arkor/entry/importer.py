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
import linecache
import sys
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from types import CodeType, ModuleType

from arkor.entry.source_tree import DiskTree, SourceTree, locate, module_file, normal_path, open_artifact
from arkor.errors import ArkorError, EntryError

_numbers = itertools.count(1)
_DOT = "\u2024"  # stands in module names for a dot in the name of a file or folder


class _Loader(importlib.machinery.SourceFileLoader):
    """Runs one source of a tree; a folder without ``__init__.py`` counts as an empty one."""

    def __init__(self, fullname: str, tree: SourceTree, name: PurePosixPath) -> None:
        super().__init__(fullname, str(tree.root / name))
        self._tree = tree
        self._name = name

    def get_source(self, fullname: str) -> str:
        return importlib.util.decode_source(self._tree.read(self._name) or b"")

    def get_code(self, fullname: str) -> CodeType:
        code = self.source_to_code(self._tree.read(self._name) or b"", self.path)
        source = self.get_source(fullname)  # tracebacks shall show what runs, whatever the file has become since
        linecache.cache[self.path] = (len(source), None, source.splitlines(keepends=True), self.path)
        return code


class _Finder(importlib.abc.MetaPathFinder):
    """Finds the modules of every load. A load's modules stay until the process ends, as all modules do.

    Attributes:
        trees: the sources of each load, by the package that stands for their root.
    """

    def __init__(self) -> None:
        self.trees: dict[str, SourceTree] = {}

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        package, *rest = fullname.split(".")
        tree = self.trees.get(package)
        if tree is None:
            return None
        folder = PurePosixPath(*(part.replace(_DOT, ".") for part in rest))
        name = module_file(tree, folder)
        if name is None and not tree.has_folder(folder):
            return None
        loader = _Loader(fullname, tree, name or folder / "__init__.py")
        spec = importlib.util.spec_from_loader(fullname, loader, is_package=loader.is_package(fullname))
        if spec is not None and spec.submodule_search_locations is not None:
            spec.submodule_search_locations[:] = [str(tree.root / folder)]
        if spec is not None and name is None:
            spec.origin, spec.has_location = None, False
        return spec


_finder = _Finder()


def load_entry(entry: Path, project_dir: Path, content: bytes | None = None) -> ModuleType:
    """Import an entry and return its module.

    Args:
        entry: a Python file, or a build artifact (``.pyz``).
        project_dir: the project's root; it becomes importable, as it is for ``python -m``. For an artifact that lies
            in a project, that project is meant.
        content: the artifact's, where that is known already; the file may be another's by now.

    Raises:
        EntryError: the file is no Python and no artifact, or its code raised or called ``exit()``; that is its cause.
    """
    entry = normal_path(project_dir / entry)
    project = _built_in(entry) or project_dir
    tree, name = _open(entry, project, content)
    if str(project) not in sys.path:
        sys.path.insert(0, str(project))
    if _finder not in sys.meta_path:
        sys.meta_path.insert(0, _finder)
    importlib.invalidate_caches()
    package = f"_arkor_entry_{next(_numbers)}"
    _finder.trees[package] = tree
    try:
        return importlib.import_module(".".join([package, *_module_parts(name)]))
    except BaseException as exc:
        _forget(package)
        if isinstance(exc, (Exception, SystemExit)):  # exit() would pass for a run that completed
            raise EntryError(f"{_place(exc, tree.root, tree.root / name)}: {_text(exc)}") from exc
        raise


def _module_parts(name: PurePosixPath) -> list[str]:
    parts = name.parent.parts if name.name == "__init__.py" else name.with_suffix("").parts
    return [part.replace(".", _DOT) for part in parts]


def _forget(package: str) -> None:
    """Let go of a load that failed."""
    del _finder.trees[package]
    for name in [name for name in list(sys.modules) if name.partition(".")[0] == package]:
        del sys.modules[name]


def _open(entry: Path, project: Path, content: bytes | None) -> tuple[SourceTree, PurePosixPath]:
    """Return the sources an entry belongs to, and its name among them."""
    if entry.suffix == ".pyz":
        return open_artifact(entry, project, content)
    root, name = locate(entry, project)
    if name.suffix != ".py":
        raise EntryError(f"{root / name} is neither a Python source (.py) nor an artifact of arkor build (.pyz).")
    return DiskTree(root), name


def _built_in(entry: Path) -> Path | None:
    """Return the project of an artifact that lies where ``arkor build`` puts it."""
    return entry.parents[2] if entry.parts[-3:-1] == (".arkor", "build") else None


def _text(exc: Exception | SystemExit) -> str:
    if isinstance(exc, SystemExit):
        return f"ends the program while it is imported: exit({'' if exc.code is None else repr(exc.code)})"
    return str(exc) if isinstance(exc, ArkorError) else f"{type(exc).__name__}: {exc}"


def _place(exc: BaseException, root: Path, entry: Path) -> str:
    """Return file and line of the user's own code where an exception came from."""
    if isinstance(exc, SyntaxError) and exc.filename and not exc.filename.startswith("<"):
        return f"{exc.filename}:{exc.lineno}"
    place = str(entry)
    traceback = exc.__traceback__
    while traceback is not None:
        file = Path(traceback.tb_frame.f_code.co_filename)
        if file.is_relative_to(root) and "site-packages" not in file.parts:
            place = f"{file}:{traceback.tb_lineno}"
        traceback = traceback.tb_next
    return place
