"""The packages that a project names, and whether arkor is among them."""

from __future__ import annotations

import contextlib
import copy
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

_NAME = re.compile(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)\s*(?:\[([^\]]*)\])?")
_HEADER = re.compile(r"^[ \t]*\[[ \t]*project[ \t]*\][ \t]*(?:#[^\r\n]*)?(?=\r?$)", re.MULTILINE)
_NEXT_HEADER = re.compile(r"^[ \t]*\[", re.MULTILINE)
_DEPENDENCIES = re.compile(r"^[ \t]*dependencies[ \t]*=[ \t]*\[", re.MULTILINE)
_TOKEN = re.compile(
    r'''
    """(?:\\.|[^\\])*?""" | "(?:\\.|[^"\\\n])*"  # with escapes
    | \'{3}.*?\'{3} | \'[^\'\n]*\'  # without
    | (?P<comment>\#[^\n]*)
    | [\[\],]
    ''',
    re.DOTALL | re.VERBOSE,
)
_UNUSUAL = "it is written in an unusual way"


class NotPatched(Exception):
    """A ``pyproject.toml`` that is left as it is; the text says why."""


def arkor_extras(requirements: Iterable[object]) -> set[str] | None:
    """Return the extras of arkor in some requirements, or None where arkor is not among them."""
    for requirement in requirements:
        match = _NAME.match(requirement) if isinstance(requirement, str) else None
        if match and re.sub(r"[-_.]+", "-", match[1]).lower() == "arkor":
            return {extra.strip().lower() for extra in (match[2] or "").split(",")} - {""}
    return None


def named_in_pyproject(project: Mapping[str, Any]) -> Iterator[object]:
    """Yield every requirement of a parsed ``pyproject.toml``: dependencies, extras, groups, and Poetry's."""
    main, poetry = _table(project, "project"), _table(project, "tool", "poetry")
    groups = [*_table(main, "optional-dependencies").values(), *_table(project, "dependency-groups").values()]
    for group in (main.get("dependencies"), *groups):
        yield from group if isinstance(group, list) else ()
    for table in (poetry, *_table(poetry, "group").values()):
        for name, wanted in _table(table, "dependencies").items():
            extras = wanted.get("extras", ()) if isinstance(wanted, Mapping) else ()
            yield f"{name}[{','.join(map(str, extras))}]"


def is_project(pyproject: Mapping[str, Any]) -> bool:
    """Say whether a parsed ``pyproject.toml`` describes a project, and not only the settings of tools."""
    return "project" in pyproject or bool(_table(pyproject, "tool", "poetry"))


def takes_addresses(pyproject: Mapping[str, Any]) -> bool:
    """Say whether the build backend accepts a dependency with an address: ``name @ url``."""
    backend = str(_table(pyproject, "build-system").get("build-backend", ""))
    allowed = _table(pyproject, "tool", "hatch", "metadata").get("allow-direct-references") is True
    return allowed or not backend.startswith("hatchling")


def parse_pyproject(content: bytes) -> dict[str, Any]:
    """Parse a ``pyproject.toml``.

    Raises:
        NotPatched: it is not TOML, or this Python cannot tell.
    """
    if sys.version_info < (3, 11):
        raise NotPatched("Python 3.10 cannot read TOML")
    import tomllib

    try:
        return tomllib.loads(content.decode())
    except (ValueError, RecursionError) as exc:
        raise NotPatched(f"it is not TOML ({exc})") from exc


def with_requirement(content: bytes, requirement: str) -> bytes:
    """Add a requirement to the dependencies of a ``pyproject.toml``, and change nothing else, comments included.

    Args:
        content: the file as it is.
        requirement: as pip writes it, without double quotes.

    Raises:
        NotPatched: the dependencies are not a plain list under ``[project]``.
    """
    before = parse_pyproject(content)
    project = _table(before, "project")
    if not project:
        raise NotPatched("it has no [project]")
    dynamic = project.get("dynamic")
    if isinstance(dynamic, list) and "dependencies" in dynamic:
        raise NotPatched("its dependencies are dynamic")
    if not isinstance(project.get("dependencies", []), list):
        raise NotPatched("its dependencies are no list")
    wanted = copy.deepcopy(before)
    wanted["project"].setdefault("dependencies", []).append(requirement)
    patched = _inserted(content.decode(), f'"{requirement}"').encode()
    with contextlib.suppress(NotPatched):
        if parse_pyproject(patched) == wanted:
            return patched
    raise NotPatched(_UNUSUAL)  # the scanner below knows less of TOML than the parser


def _table(value: Any, *path: str) -> Mapping[str, Any]:
    """Return a table inside a table; empty where there is none."""
    for name in path:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value if isinstance(value, Mapping) else {}


def _inserted(text: str, literal: str) -> str:
    header = _HEADER.search(text)
    if header is None:
        raise NotPatched(_UNUSUAL)
    following = _NEXT_HEADER.search(text, header.end())
    section_end = following.start() if following else len(text)
    array = _DEPENDENCIES.search(text, header.end(), section_end)
    if array is None:
        return _with_new_list(text, header.end(), section_end, literal)
    return _with_item(text, array.end(), literal)


def _with_new_list(text: str, start: int, end: int, literal: str) -> str:
    """Add the list after the section's last line that says something."""
    at = start
    for line in re.finditer(r"[^\r\n]+", text[start:end]):
        if line[0].strip() and not line[0].lstrip().startswith("#"):
            at = start + line.end()
    return f"{text[:at]}{_line_end(text)}dependencies = [{literal}]{text[at:]}"


def _with_item(text: str, start: int, literal: str) -> str:
    """Add an item to the list that begins at ``start``, after its bracket, in the style of the items that are there."""
    close = _closing_bracket(text, start)
    last, is_comma = start, True
    for token in _TOKEN.finditer(text, start, close):
        if not token["comment"]:
            last, is_comma = token.end(), token[0] == ","
    before = text[:last] if is_comma else f"{text[:last]},"
    rest_of_line, line_end, _ = text[last:close].partition(_line_end(text))
    if not line_end:  # the list ends on the line of its last item
        return f"{before}{' ' if last > start else ''}{literal}{text[last:]}"
    item = f"{line_end}{_indent(text, start, last)}{literal}{',' if is_comma else ''}"
    return f"{before}{rest_of_line}{item}{text[last + len(rest_of_line) :]}"


def _closing_bracket(text: str, start: int) -> int:
    depth = 1
    for token in _TOKEN.finditer(text, start):
        depth += {"[": 1, "]": -1}.get(token[0], 0)
        if depth == 0:
            return token.start()
    raise NotPatched(_UNUSUAL)


def _indent(text: str, start: int, last: int) -> str:
    """Return what the line of the last item begins with; four spaces where that is the line of the list's key."""
    line_start = text.rfind("\n", 0, last) + 1
    line = text[line_start:last]
    return line[: len(line) - len(line.lstrip())] if line_start > start else "    "


def _line_end(text: str) -> str:
    return "\r\n" if "\r\n" in text else "\n"
