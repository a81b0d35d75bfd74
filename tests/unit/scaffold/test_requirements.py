"""arkor among the requirements of a project: found in every form, and added without touching anything else."""

from __future__ import annotations

import re

import pytest
import tomllib
from hypothesis import given, strategies as st

from arkor.scaffold.requirements import (
    NotPatched,
    arkor_extras,
    is_project,
    named_in_pyproject,
    parse_pyproject,
    with_requirement,
)

ARKOR = "arkor[local]>=0.1.0"


def patched(text: str) -> str:
    """Add arkor to a ``pyproject.toml``."""
    return with_requirement(text.encode(), ARKOR).decode()


@pytest.mark.parametrize(
    ("requirement", "extras"),
    [
        ("arkor", set()),
        (" Arkor [Local, studio] >= 0.1 # comment", {"local", "studio"}),
        ("arkor@git+https://example.com/arkor", set()),
        ("arkor-tools", None),
        ("requests", None),
        ("# arkor", None),
        ("", None),
        (17, None),
    ],
)
def test_arkor_is_found_by_its_name(requirement: object, extras: set[str] | None) -> None:
    """Whatever extras, version and spaces come with it; never inside another name or a comment."""
    assert arkor_extras(["click", requirement]) == extras


@pytest.mark.parametrize(
    "text",
    [
        '[project]\ndependencies = ["arkor[local]"]\n',
        '[project.optional-dependencies]\ntrain = ["arkor[local]"]\n',
        '[dependency-groups]\ndev = [{include-group = "x"}, "arkor[local]"]\n',
        '[tool.poetry.dependencies]\narkor = {version = "*", extras = ["local"]}\n',
        '[tool.poetry.group.train.dependencies]\narkor = {version = "*", extras = ["local"]}\n',
    ],
)
def test_arkor_is_found_wherever_a_project_may_name_it(text: str) -> None:
    """So that it never gets a second entry."""
    assert arkor_extras(named_in_pyproject(parse_pyproject(text.encode()))) == {"local"}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "project = 1\ntool = 2\n",
        "[project]\ndependencies = 3\n[dependency-groups]\nx = 4\n",
        "[tool]\npoetry = []\n",
    ],
)
def test_tables_of_another_shape_name_nothing(text: str) -> None:
    """A file that its own tools would refuse is no reason to fail."""
    assert list(named_in_pyproject(parse_pyproject(text.encode()))) == []


@pytest.mark.parametrize(
    ("text", "yes"),
    [("[project]\n", True), ('[tool.poetry]\nname = "x"\n', True), ("[tool.ruff]\n", False), ("", False)],
)
def test_a_file_with_the_settings_of_tools_is_no_project(text: str, yes: bool) -> None:
    """There requirements.txt is the place."""
    assert is_project(parse_pyproject(text.encode())) is yes


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("dependencies = []", f'dependencies = ["{ARKOR}"]'),
        ('dependencies = ["a", "b"]  # why', f'dependencies = ["a", "b", "{ARKOR}"]  # why'),
        ('dependencies = ["a", ]', f'dependencies = ["a", "{ARKOR}" ]'),
        ('dependencies = [\n  "a",\n  "b",\n]', f'dependencies = [\n  "a",\n  "b",\n  "{ARKOR}",\n]'),
        (
            "dependencies = [\n\t'a>=1',\n\t'b[c]'  # [why],\n\t# last\n]",
            f"dependencies = [\n\t'a>=1',\n\t'b[c]',  # [why],\n\t\"{ARKOR}\"\n\t# last\n]",
        ),
        ('dependencies = ["a",\n"b"]', f'dependencies = ["a",\n"b", "{ARKOR}"]'),
        ('dependencies = ["a",\n]', f'dependencies = ["a",\n    "{ARKOR}",\n]'),
        ("dependencies = [\n    # none yet\n]", f'dependencies = [\n    "{ARKOR}",\n    # none yet\n]'),
    ],
)
@pytest.mark.parametrize("end", ["\n", "\r\n"], ids=["unix", "windows"])
def test_arkor_joins_a_list_in_its_style(before: str, after: str, end: str) -> None:
    """Quotes, indentation, commas, comments and line ends of the others stay as they are."""
    frame = '# mine\n[project] # main\nname = "x"\n{}\n\n# tools\n[tool.x]\ny = [1]\n'
    assert patched(frame.format(before).replace("\n", end)) == frame.format(after).replace("\n", end)


def test_a_project_without_dependencies_gets_the_list() -> None:
    """At the end of its own table, before the comment that belongs to the next."""
    before = '[project]\nname = "x"\n\n# tools\n[tool.x]\ny = 1\n'
    assert patched(before) == before.replace('"x"\n', f'"x"\ndependencies = ["{ARKOR}"]\n')


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[project]\ndynamic = ['dependencies']\n", "its dependencies are dynamic"),
        ("[project]\ndynamic = 3\ndependencies = 'a'\n", "its dependencies are no list"),
        ("[tool.poetry]\nname = 'x'\n", "it has no [project]"),
        ("[project]\nname = 'x'\ndependencies = 'a'\n", "its dependencies are no list"),
        ("[project", "it is not TOML"),
        ("\ufeff[project]\n", "it is not TOML"),
        ("project = {name = 'x'}\n", "it is written in an unusual way"),
        ("project.name = 'x'\n", "it is written in an unusual way"),
        ("[project]\nname = 'x'\n'dependencies' = ['a']\n", "it is written in an unusual way"),
        ("[project]\nname = '''\n[project]\n'''\ndependencies = ['a']\n", "it is written in an unusual way"),
    ],
)
def test_what_cannot_be_added_safely_is_not_added(text: str, why: str) -> None:
    """The reason is one that its user can act on."""
    with pytest.raises(NotPatched, match=re.escape(why)):
        patched(text)


def test_bytes_that_are_no_text_are_not_patched() -> None:
    """TOML is UTF-8."""
    with pytest.raises(NotPatched, match="it is not TOML"):
        with_requirement(b"[project]\nname = '\xff'\n", ARKOR)


names = st.sampled_from(["a", "b>=1", "c[d,e]~=2.0", "f @ https://example.com/#x", "g; python_version < '3.12'", "ü]"])
gaps = st.sampled_from(["", " ", "\n    ", '\n\t# a [comment], "quoted\n\t', "  # another ']\n  "])
others = st.sampled_from(
    ['name = "x"', 'readme = "dependencies = []"', "scripts = {a = 'b:c'}", "keywords = ['[project]']", "# note", ""]
)


@st.composite
def pyprojects(draw: st.DrawFn) -> str:
    """Return a ``pyproject.toml`` with an ordinary list of dependencies, written by somebody with own habits."""
    parts = ["["]
    for number, name in enumerate(draw(st.lists(names, max_size=4))):
        quoted = f'"{name}"' if "'" in name or draw(st.booleans()) else f"'{name}'"
        parts += [*([",", draw(gaps)] if number else [draw(gaps)]), quoted, draw(gaps)]
    parts += [",", draw(gaps)] if len(parts) > 1 and draw(st.booleans()) else [draw(gaps)]
    before, after = draw(st.lists(others, unique=True, max_size=3)), draw(st.sampled_from(["", "[tool.x]", "[[a.b]]"]))
    lines = ["# top", "[build-system]", "", "[project]", *before, f"dependencies = {''.join(parts)}]", "", after]
    return draw(st.sampled_from(["\n", "\r\n"])).join("\n".join(lines).split("\n"))


@given(pyprojects())
def test_any_ordinary_list_gets_arkor_and_nothing_else_changes(text: str) -> None:
    """As TOML it has one requirement more; as text, what was there is there, in its order."""
    after = patched(text)
    wanted = tomllib.loads(text)
    wanted["project"]["dependencies"].append(ARKOR)
    assert tomllib.loads(after) == wanted
    rest = iter(after)
    assert all(char in rest for char in text)
    assert len(after) <= len(text) + len(ARKOR) + 20
    assert ("\r\n" in text) == ("\r\n" in after)
    assert after.count("\n") == after.count("\r\n") or "\r\n" not in text


pieces = st.sampled_from(
    [
        "[project]",
        "[",
        "]",
        "dependencies",
        "=",
        '"a"',
        "'b'",
        ",",
        "\n",
        "\r\n",
        "#",
        '"""',
        "'''",
        "\\",
        "[tool]",
        "x=1",
        " ",
    ]
)


@given(st.lists(pieces, max_size=25).map("".join))
def test_no_text_is_ever_broken(text: str) -> None:
    """Whatever it is: patched as it should be, or refused."""
    try:
        after = patched(f"[project]\n{text}")
    except NotPatched:
        return
    assert tomllib.loads(after)["project"]["dependencies"][-1] == ARKOR
