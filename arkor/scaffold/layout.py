"""What a template would change in a folder, decided before anything is written; and the writing.

What is there is never overwritten. ``.gitignore`` and ``pyproject.toml`` get what is missing, once.
"""

from __future__ import annotations

import filecmp
import os
import shlex
import shutil
import stat
from collections.abc import Iterator
from enum import Enum
from pathlib import Path, PurePosixPath

import attrs

from arkor.errors import ScaffoldError
from arkor.scaffold.ignoring import with_ignored
from arkor.scaffold.requirements import (
    NotPatched,
    arkor_extras,
    is_project,
    named_in_pyproject,
    parse_pyproject,
    takes_addresses,
    with_requirement,
)
from arkor.scaffold.templates import ENTRY, GITIGNORE, Template
from arkor.system.files import replacing, write_atomically
from arkor.system.origin import requirement

PYPROJECT = "pyproject.toml"
REQUIREMENTS = "requirements.txt"
IGNORED = (".arkor/", "adapters/")
_EXAMPLES = ("file:///path/to/arkor.whl", "git+https://host/owner/arkor.git@COMMIT")
_HATCHLING = "hatchling accepts the address of arkor only with allow-direct-references = true in [tool.hatch.metadata]."
# Each would be imported in place of the installed arkor: the project's root is importable when its entry runs.
SHADOWS = ("src/arkor/__init__.py", "src/arkor.py", "arkor/__init__.py", "arkor.py")


class Action(str, Enum):
    """What becomes of a file."""

    CREATED = "created"
    KEPT = "kept"
    PATCHED = "patched"


@attrs.frozen
class Change:
    """One file of a project.

    Attributes:
        path: relative to the project's folder.
        action: what becomes of it.
        content: its new content; empty where it is kept.
        detail: what is added, where it is patched.
        copy_of: the file that it is a copy of; None for the content.
    """

    path: PurePosixPath
    action: Action
    content: bytes = attrs.field(default=b"", repr=False)
    detail: str = ""
    copy_of: Path | None = None


@attrs.frozen
class Layout:
    """What a template would change in a folder.

    Attributes:
        folder: the project's folder, which may not be there yet.
        template: the template.
        changes: every file, in the order in which they are written.
        install: the shell command that installs what the project needs.
        notes: what the user has to see to.
    """

    folder: Path
    template: Template
    changes: tuple[Change, ...]
    install: str
    notes: tuple[str, ...] = ()

    def apply(self) -> Iterator[Change]:
        """Write file by file, and yield each change when it is done.

        Raises:
            ScaffoldError: a file cannot be written; those yielded before are in place, and it is as it was.
        """
        for change in self.changes:
            if change.action is not Action.KEPT:
                self._write(change)
            yield change

    def _write(self, change: Change) -> None:
        file = self.folder / change.path
        try:
            if change.action is Action.PATCHED:  # it may be a link, and keeps its mode
                write_atomically(file.resolve(), change.content, mode=stat.S_IMODE(file.stat().st_mode))
            elif change.copy_of is not None:
                mode = stat.S_IMODE(change.copy_of.stat().st_mode)
                with change.copy_of.open("rb") as source, replacing(file, mode=mode) as copy:
                    shutil.copyfileobj(source, copy)
            else:
                write_atomically(file, change.content)
        except OSError as exc:
            raise ScaffoldError(f"{file} cannot be written: {exc.strerror}.") from exc


def plan(folder: Path, template: Template, name: str) -> Layout:
    """Decide what a template changes in a folder. Nothing is written.

    Args:
        folder: the project's folder; it need not be there.
        template: the template.
        name: what the project and its trainer are called.

    Raises:
        ScaffoldError: the name is not one line of printable text, something is in the way of a folder, a file that is
            to be patched cannot be read, or the folder cannot be written.
    """
    if not name.strip() or not name.isprintable():
        raise ScaffoldError(f"The name must be one line of printable text, not {name!r}.")
    there = _existing_part(folder)
    dependency, install, notes = _dependency(folder, template)
    changes = [*(_copy(folder, path, source) for path, source in template.copies.items()), dependency]
    for path, content in template.render(name, install).items():
        changes.append(_ignored(folder, content) if str(path) == GITIGNORE else _file(folder, path, content))
    if any(change.action is not Action.KEPT for change in changes) and not os.access(there, os.W_OK | os.X_OK):
        raise ScaffoldError(f"{there} cannot be written: you have no permission. Nothing was changed.")
    return Layout(folder, template, tuple(changes), install, (*notes, *_shadows(folder)))


def has_entry(folder: Path) -> bool:
    """Say whether a folder is an arkor project already."""
    return os.path.lexists(folder / ENTRY)


def _existing_part(folder: Path) -> Path:
    """Return the folder, or the nearest one above it that is there."""
    there = next(parent for parent in (folder, *folder.absolute().parents) if os.path.lexists(parent))
    if not there.is_dir():
        raise ScaffoldError(f"{there} is a file, not a folder. Nothing was changed.")
    return there


def _file(folder: Path, path: PurePosixPath, content: bytes) -> Change:
    for parent in list(path.parents)[-2::-1]:
        if os.path.lexists(folder / parent) and not (folder / parent).is_dir():
            raise ScaffoldError(f"{folder / parent} is a file, and {path} needs a folder there. Nothing was changed.")
    there = os.path.lexists(folder / path)
    return Change(path, Action.KEPT) if there else Change(path, Action.CREATED, content)


def _copy(folder: Path, path: PurePosixPath, source: Path) -> Change:
    change, there = _file(folder, path, b""), folder / path
    if change.action is not Action.KEPT:
        return attrs.evolve(change, copy_of=source)
    try:
        is_same = there.is_file() and filecmp.cmp(there, source, shallow=False)
    except OSError as exc:
        raise ScaffoldError(f"{exc.filename} cannot be read: {exc.strerror}. Nothing was changed.") from exc
    if not is_same:
        raise ScaffoldError(f"{there} exists, and is not {source}: rename one of the two. Nothing was changed.")
    return change


def _ignored(folder: Path, content: bytes) -> Change:
    path = PurePosixPath(GITIGNORE)
    if not (folder / path).is_file():
        return _file(folder, path, content)
    patched, added = with_ignored(_read(folder / path), IGNORED)
    return Change(path, Action.PATCHED, patched, ", ".join(added)) if added else Change(path, Action.KEPT)


def _dependency(folder: Path, template: Template) -> tuple[Change, str, list[str]]:
    """Return the file that names arkor, the command that installs what it names, and notes about what is missing."""
    need = requirement(template.extra)
    if (folder / PYPROJECT).is_file():
        found = _in_pyproject(folder, template, need)
        if found is not None:
            return found
    path, install = PurePosixPath(REQUIREMENTS), f"pip install -r {REQUIREMENTS}"
    if not (folder / path).is_file():
        notes = [] if need else [f"{REQUIREMENTS} does not install arkor yet. {_by_hand(template, need)}"]
        return _file(folder, path, _requirements(template, need).encode()), install, notes
    lines = _read(folder / path).decode(errors="replace").splitlines()
    return Change(path, Action.KEPT), install, _missing(REQUIREMENTS, arkor_extras(lines), template, need)


def _requirements(template: Template, need: str | None) -> str:
    """Return the content of a ``requirements.txt``."""
    if need:
        return f"# arkor is on no package index yet. This copy came from:\n{need}\n"
    lines = ["arkor is on no package index yet, and this copy does not record its origin. Add a line such as:"]
    lines += [f"{_name(template)} @ {address}" for address in _EXAMPLES]
    return "".join(f"# {line}\n" for line in lines)


def _in_pyproject(folder: Path, template: Template, need: str | None) -> tuple[Change, str, list[str]] | None:
    """Return the same of a project's ``pyproject.toml``; None if it has only the settings of tools."""
    path, shown = PurePosixPath(PYPROJECT), need or _placeholder(template)
    # Not "pip install .": that would put the project's own src/arkor beside, or over, the installed package.
    install = "uv sync" if (folder / "uv.lock").is_file() else f"pip install {shlex.quote(shown)}"
    kept, content = Change(path, Action.KEPT), _read(folder / path)
    try:
        pyproject = parse_pyproject(content)
        if not is_project(pyproject):
            return None
        extras = arkor_extras(named_in_pyproject(pyproject))
        if extras is not None:
            return kept, install, _missing(PYPROJECT, extras, template, need)
        if need is None:
            return kept, install, [f"{PYPROJECT} does not name arkor. {_by_hand(template, need)}"]
        notes = [] if takes_addresses(pyproject) else [f"{PYPROJECT}: {_HATCHLING}"]
        return Change(path, Action.PATCHED, with_requirement(content, need), need), install, notes
    except NotPatched as exc:
        return kept, install, [f"{PYPROJECT}: {exc}. {_by_hand(template, need)}"]


def _missing(file: str, extras: set[str] | None, template: Template, need: str | None) -> list[str]:
    """Return notes about what a file that the user wrote lacks."""
    if extras is None:
        return [f"{file} does not name arkor. {_by_hand(template, need)}"]
    if template.extra and template.extra not in extras:
        return [f"{file} names arkor without the extra for training on this machine. {_by_hand(template, need)}"]
    return []


def _by_hand(template: Template, need: str | None) -> str:
    if need:
        return f'Add this requirement: "{need}"'
    unknown = "This copy does not record its origin: put the path of its wheel or the address of its repository there."
    return f'Add this requirement: "{_placeholder(template)}". {unknown}'


def _placeholder(template: Template) -> str:
    return f"{_name(template)} @ ADDRESS"


def _name(template: Template) -> str:
    return f"arkor[{template.extra}]" if template.extra else "arkor"


def _shadows(folder: Path) -> Iterator[str]:
    for path in SHADOWS:
        if os.path.lexists(folder / path):
            yield f"{path} hides the installed arkor when the project runs; move or remove it."


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as exc:
        raise ScaffoldError(f"{file} cannot be read: {exc.strerror}. Nothing was changed.") from exc
