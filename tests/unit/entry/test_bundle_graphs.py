"""Projects made at random: Python, ``load_entry`` and the artifact agree about what they do, and what is in it."""

from __future__ import annotations

import importlib
import re
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from types import ModuleType

import attrs
import pytest
from hypothesis import given, settings, strategies as st

from arkor.entry.bundle import build
from arkor.entry.importer import load_entry
from arkor.errors import EntryError

INDEX = PurePosixPath("src/arkor/index.py")
FOLDERS = [PurePosixPath(name) for name in ("src", "src/arkor", "src/arkor/p", "src/arkor/p/q", "src/arkor/q", "lib")]
MODULES = [folder / name for folder in FOLDERS for name in ("m.py", "n.py")]
FORMS = {
    "plain": "{it}",
    "in a function": "def f{i}():\n    {it}\n    return v{i}\nv{i} = f{i}()",
    "in a function that nobody calls": "def f{i}():\n    {it}",
    "optional": "try:\n    {it}\nexcept ImportError:\n    v{i} = 'nothing'",
    "in a class": "class C{i}:\n    {it}\nv{i} = C{i}.v{i}",
    "for the type checker": "if TYPE_CHECKING:\n    {it}",
    "for everybody else": "if not TYPE_CHECKING:\n    {it}\nelse:\n    from .nosuch import x",
    "missing, optional": "try:\n    from .no import x as v{i}\nexcept ImportError as e:\n    v{i} = type(e).__name__",
}
SOURCE = """\
from typing import TYPE_CHECKING
import seen
seen.order.append({file!r})
VALUE = {file!r}
{body}
FOUND = {{k: v if isinstance(v, str) else v.__name__.partition(".")[2] for k, v in globals().items() if k[0] == "v"}}
"""


@attrs.frozen
class Import:
    """One relative import: of a module, of its ``VALUE`` or of all there is, in some form."""

    target: PurePosixPath
    what: str
    form: str

    def line(self, importer: PurePosixPath, i: int) -> str:
        """Write it down for an importer."""
        package = self.target.parent if self.target.name == "__init__.py" else self.target.with_suffix("")
        if self.what == "module":
            return FORMS[self.form].format(
                i=i, it=f"from {dotted(importer.parent, package.parent)} import {package.name} as v{i}"
            )
        where = dotted(importer.parent, package)
        if self.what == "star" and self.form in ("plain", "optional", "for the type checker", "for everybody else"):
            return FORMS[self.form].format(i=i, it=f"from {where} import *")
        return FORMS[self.form].format(i=i, it=f"from {where} import VALUE as v{i}")


def dotted(here: PurePosixPath, there: PurePosixPath) -> str:
    """Return the relative way from a package to another."""
    common = next(n for n in range(len(here.parts), -1, -1) if here.parts[:n] == there.parts[:n])
    return "." * (len(here.parts) - common + 1) + ".".join(there.parts[common:])


@attrs.frozen
class Project:
    """Files, each with what it imports; packages may say what they export."""

    files: Mapping[PurePosixPath, Sequence[Import]]
    exports: Mapping[PurePosixPath, Sequence[str]]

    def write(self, root: Path) -> None:
        """Write all files."""
        for file, imports in self.files.items():
            lines = [one.line(file, i) for i, one in enumerate(imports)]
            lines += [f"__all__ = {['VALUE', *self.exports[file]]}"] if file in self.exports else []
            (root / file).parent.mkdir(parents=True, exist_ok=True)
            (root / file).write_text(SOURCE.format(file=str(file), body="\n".join(lines)))

    def reached(self) -> list[str]:
        """Return the files that relative imports reach, by what they were made from."""
        found: set[PurePosixPath] = set()
        pending = [INDEX]
        while pending:
            file = pending.pop()
            if file in self.files and file not in found:
                found.add(file)
                pending += [parent / "__init__.py" for parent in file.parents]
                for one in self.files[file]:
                    if one.form not in ("for the type checker", "missing, optional"):
                        names = self.exports.get(one.target, ()) if "import *" in one.line(file, 0) else ()
                        pending += [one.target, *(one.target.with_name(f"{name}.py") for name in names)]
        return sorted(str(file) for file in found)


@st.composite
def projects(draw: st.DrawFn) -> Project:
    """Make a project."""
    inits = [folder / "__init__.py" for folder in draw(st.lists(st.sampled_from(FOLDERS), unique=True))]
    modules = draw(st.lists(st.sampled_from(MODULES), unique=True, min_size=1))
    targets = st.sampled_from([*inits, *modules, INDEX])
    imports = st.builds(Import, targets, st.sampled_from(["module", "value", "star"]), st.sampled_from(list(FORMS)))
    files = {file: draw(st.lists(imports, max_size=3)) for file in (INDEX, *inits, *modules)}
    exporting = draw(st.lists(st.sampled_from(inits), unique=True)) if inits else []
    return Project(
        files, {init: [name for name in "mn" if init.with_name(f"{name}.py") in files] for init in exporting}
    )


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    path, finders, modules = list(sys.path), list(sys.meta_path), set(sys.modules)
    sys.modules["seen"] = ModuleType("seen")
    yield
    sys.path[:], sys.meta_path[:] = path, finders
    for name in set(sys.modules) - modules:
        if name == "seen" or name.startswith(("_arkor_entry_", "project_")):
            del sys.modules[name]


def outcome(module: str | Path, root: Path) -> object:
    """Import an entry; return which sources ran in which order, and what it found or how it failed."""
    order: list[str] = []
    vars(sys.modules["seen"])["order"] = order
    try:
        entry = importlib.import_module(module) if isinstance(module, str) else load_entry(module, root)
    except (EntryError, ImportError, AttributeError) as exc:  # the last where a circle of imports is not closed yet
        cause = exc.__cause__ if isinstance(exc, EntryError) else exc
        return order, type(cause), re.sub(r"(_arkor_entry_|project_)\w+", "package", str(cause))
    return order, entry.FOUND


@settings(max_examples=60)
@given(project=projects())
def test_what_runs_from_source_runs_from_the_artifact(project: Project) -> None:
    """The same sources in the same order, the same result or error; and it has no source more than is reached."""
    with tempfile.TemporaryDirectory(prefix="project_") as folder:
        root = Path(folder).resolve()
        project.write(root)
        sys.path.insert(0, str(root.parent))
        importlib.invalidate_caches()
        by_python = outcome(f"{root.name}.src.arkor.index", root)
        sys.path.remove(str(root.parent))
        assert outcome(root / INDEX, root) == by_python
        artifact = build(project_dir=root)
        with zipfile.ZipFile(artifact) as bundle:
            names = [name.removeprefix("sources/") for name in bundle.namelist() if name.endswith(".py")]
        assert sorted(names[1:]) == project.reached()
        shutil.rmtree(root / "src")
        assert outcome(artifact, root) == by_python
