"""Import an entry, from its sources or from a build artifact, fresh each time.

The entry and what it imports relatively become modules of a package that stands for the project's root, under a name
of its own for each load. Sources are compiled as they are now, without a bytecode cache. Tracebacks name the user's
own files, also when the code comes from an artifact.

Child processes of ``multiprocessing`` can import these modules too, under the same names: see ``_ProjectPath``.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import itertools
import linecache
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from types import CodeType, ModuleType
from typing import Any

from arkor.entry.source_tree import DiskTree, SourceTree, locate, module_file, normal_path, open_artifact
from arkor.errors import ArkorError, EntryError
from arkor.system.children import importing

_numbers = itertools.count(1)
_DOT = "\u2024"  # stands in module names for a dot in the name of a file or folder


class _Loader(importlib.machinery.SourceFileLoader):
    """Runs one source of a tree; a folder without ``__init__.py`` counts as an empty one."""

    def __init__(self, fullname: str, tree: SourceTree, name: PurePosixPath, *, in_child: bool) -> None:
        super().__init__(fullname, str(tree.root / name))
        self._tree = tree
        self._name = name
        self._in_child = in_child

    def exec_module(self, module: ModuleType) -> None:
        with importing() if self._in_child else contextlib.nullcontext():
            super().exec_module(module)

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
        inherited: the packages of loads that a parent process made.
    """

    def __init__(self) -> None:
        self.trees: dict[str, SourceTree] = {}
        self.inherited: set[str] = set()

    def install(self) -> None:
        """Have Python ask this finder for modules."""
        if self not in sys.meta_path:
            sys.meta_path.insert(0, self)
        importlib.invalidate_caches()

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
        loader = _Loader(fullname, tree, name or folder / "__init__.py", in_child=package in self.inherited)
        spec = importlib.util.spec_from_loader(fullname, loader, is_package=loader.is_package(fullname))
        if spec is not None and spec.submodule_search_locations is not None:
            spec.submodule_search_locations[:] = [str(tree.root / folder)]
        if spec is not None and name is None:
            spec.origin, spec.has_location = None, False
        return spec


_finder = _Finder()


class _ProjectPath(str):
    """A project's root in ``sys.path``, which takes the loads along to child processes.

    ``multiprocessing`` pickles a function by the name of its module. A child of ``spawn`` or ``forkserver`` knows no
    module of this process, but it gets ``sys.path`` before anything else. So the loads travel in this entry: the child
    imports the sources that run here, even if the files were edited or the artifact was built again.
    """

    def __reduce__(self) -> tuple[Any, ...]:
        return _in_child, (str(self), _finder.trees)


def _in_child(project: str, trees: Mapping[str, SourceTree]) -> _ProjectPath:
    """Make the loads of a parent process importable here; return the entry for ``sys.path``."""
    for package in trees.keys() - _finder.trees.keys():
        _finder.trees[package] = trees[package]
        _finder.inherited.add(package)
    _finder.install()
    return _ProjectPath(project)


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
    project = project_of_artifact(entry) or project_dir
    tree, name = _open(entry, project, content)
    _make_importable(_ProjectPath(project))
    _finder.install()
    package = next(name for name in map("_arkor_entry_{}".format, _numbers) if name not in _finder.trees)
    _finder.trees[package] = tree
    try:
        return _run(".".join([package, *_module_parts(name)]))
    except BaseException as exc:
        _forget(package)
        if isinstance(exc, (Exception, SystemExit)):  # exit() would pass for a run that completed
            raise EntryError(f"{_place(exc, tree.root, tree.root / name)}: {_text(exc)}") from exc
        raise


def _make_importable(project: _ProjectPath) -> None:
    """Put a project's root into ``sys.path``; one that is there already keeps its place."""
    if project in sys.path:
        sys.path[sys.path.index(project)] = project
    else:
        sys.path.insert(0, project)


def _run(name: str) -> ModuleType:
    """Import a module without the lock that Python holds meanwhile on any other than ``__main__``.

    A pool of processes that the module itself starts pickles functions on another thread, which would wait for it.
    """
    spec = importlib.util.find_spec(name)  # imports the packages that the module is in
    if spec is None or spec.loader is None:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)
    if name in sys.modules:  # its own package has imported it
        return sys.modules[name]
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    parent, _, own = name.rpartition(".")
    if parent:
        setattr(sys.modules[parent], own, module)
    spec.loader.exec_module(module)
    return sys.modules[name]


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


def project_of_artifact(entry: Path) -> Path | None:
    """Return the project of an artifact that lies where ``arkor build`` puts it; None for any other file."""
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
