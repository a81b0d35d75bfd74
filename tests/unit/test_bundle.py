"""An entry becomes one file: what goes in, what stays out, and what is wrong in which line."""

from __future__ import annotations

import stat
import zipfile
from pathlib import Path

import pytest

from arkor.bundle import ARTIFACT, build
from arkor.errors import BuildError
from tests.support.sources import EVERY_WAY, REACHED, write_sources

INDEX = "src/arkor/index.py"


def bundled(artifact: Path) -> list[str]:
    """Return the names of the sources in an artifact."""
    with zipfile.ZipFile(artifact) as bundle:
        return [name.removeprefix("sources/") for name in bundle.namelist() if name.startswith("sources/")]


def test_everything_that_relative_imports_reach_goes_in(project: Path) -> None:
    """Packages, star imports, functions, parents; nothing that only the type checker sees, nothing else."""
    write_sources(project, EVERY_WAY)
    artifact = build()
    assert artifact == project / ".arkor" / "build" / "index.pyz"
    assert bundled(artifact) == REACHED


@pytest.mark.parametrize("entry", [Path(INDEX), None, Path("src/arkor/../arkor/./index.py")])
def test_an_entry_may_be_given_in_several_ways(project: Path, entry: Path | None) -> None:
    """Relative, by default, or roundabout: the artifact is the same."""
    write_sources(project, EVERY_WAY)
    absolute = build(project / INDEX).read_bytes()
    assert build(entry).read_bytes() == absolute


def test_absolute_imports_stay_outside(project: Path) -> None:
    """They are resolved when it runs, also those of the project's own modules."""
    write_sources(project, {INDEX: "import json, helpers\nfrom src.arkor import other\n", "helpers.py": ""})
    assert bundled(build()) == [INDEX]


def test_the_same_sources_give_the_same_bytes(tmp_path: Path) -> None:
    """Whenever and wherever it is built."""
    one = build(project_dir=write_sources(tmp_path / "one", EVERY_WAY)).read_bytes()
    two = build(project_dir=write_sources(tmp_path / "two", dict(reversed(list(EVERY_WAY.items()))))).read_bytes()
    assert one == two
    with zipfile.ZipFile(tmp_path / "one" / ARTIFACT) as bundle:
        assert {item.date_time for item in bundle.infolist()} == {(1980, 1, 1, 0, 0, 0)}


def test_the_artifact_can_be_run(project: Path) -> None:
    """It has the first line for it, and the permission."""
    write_sources(project, {INDEX: ""})
    artifact = build()
    assert artifact.read_bytes().startswith(b"#!/usr/bin/env python3\n")
    assert stat.S_IMODE(artifact.stat().st_mode) == 0o755


def test_a_missing_entry_says_where_it_was_looked_for(project: Path) -> None:
    """The message of the documentation, with the whole path."""
    with pytest.raises(BuildError) as raised:
        build()
    assert str(raised.value) == (
        f"Build entry not found: {project}/{INDEX}. Create src/arkor/index.py or pass an explicit entry argument."
    )
    with pytest.raises(BuildError, match=f"Build entry not found: {project}/other.py"):
        build(Path("other.py"))


@pytest.mark.parametrize(
    ("source", "line", "says"),
    [
        (
            "x = 1\nfrom .nosuch import y\n",
            2,
            "relative import 'from .nosuch import …': there is no src/arkor/nosuch.py",
        ),
        ("from . import nosuch\n", 1, "relative import 'from . import …': there is no src/arkor/nosuch.py"),
        ("def f():\n    from .a.b import c\n", 2, "there is no src/arkor/a.py and no folder src/arkor/a in "),
        ("from ....up import x\n", 1, "relative import 'from ....up import …': it leads out of the project"),
        ("from ... import nosuch\n", 1, "there is no nosuch.py"),
        ("x = 1\nif\n", 2, "does not parse: invalid syntax"),
        ("x = 1\n  y = 2\n", 2, "does not parse: unexpected indent"),
        ("from . import\n", 1, "does not parse: "),
        ("x = '\0'\n", None, "does not parse: source code string cannot contain null bytes"),
    ],
)
def test_what_cannot_be_bundled_is_named_with_its_place(
    project: Path, source: str, line: int | None, says: str
) -> None:
    """File and line, as editors understand them."""
    write_sources(project, {INDEX: source})
    with pytest.raises(BuildError) as raised:
        build()
    assert raised.value.path == project / INDEX
    assert raised.value.line == line
    place = f"{project / INDEX}:{line}" if line else str(project / INDEX)
    assert str(raised.value).startswith(f"{place}: ")
    assert says in str(raised.value)


@pytest.mark.parametrize(
    "source",
    [b"# coding: latin-1\nNAME = '\xe9'\n", b"\xef\xbb\xbfNAME = 1\n", b"NAME = 1\r\nOTHER = 2\r\n", b""],
    ids=["latin-1", "byte order mark", "CRLF", "empty"],
)
def test_sources_of_every_make_are_bundled_as_they_are(project: Path, source: bytes) -> None:
    """Python decides what their bytes mean."""
    write_sources(project, {INDEX: "from . import other\n", "src/arkor/other.py": source})
    with zipfile.ZipFile(build()) as bundle:
        assert bundle.read("sources/src/arkor/other.py") == source


def test_a_source_that_is_not_utf8_is_an_error_of_the_build(project: Path) -> None:
    """With its file."""
    write_sources(project, {INDEX: b"NAME = '\xe9'\n"})
    with pytest.raises(BuildError, match="does not parse") as raised:
        build()
    assert raised.value.path == project / INDEX


def test_an_error_in_a_reached_module_names_that_module(project: Path) -> None:
    """Not the entry."""
    write_sources(project, {INDEX: "from . import other\n", "src/arkor/other.py": "\n\nfrom .nosuch import x\n"})
    with pytest.raises(BuildError) as raised:
        build()
    assert (raised.value.path, raised.value.line) == (project / "src/arkor/other.py", 3)


def test_a_failed_build_leaves_the_last_artifact(project: Path) -> None:
    """What worked can still be run."""
    write_sources(project, {INDEX: "NAME = 1\n"})
    before = build().read_bytes()
    write_sources(project, {INDEX: "if\n"})
    with pytest.raises(BuildError):
        build()
    assert (project / ARTIFACT).read_bytes() == before
    assert [file.name for file in (project / ARTIFACT).parent.iterdir()] == ["index.pyz"]


def test_modules_that_import_each_other_are_bundled_once(project: Path) -> None:
    """A circle has an end."""
    write_sources(project, {INDEX: "from . import a\n", "src/arkor/a.py": "from . import b, index\n"})
    write_sources(project, {"src/arkor/b.py": "from . import a\n"})
    assert bundled(build()) == ["src/arkor/a.py", "src/arkor/b.py", INDEX]


def test_the_other_branch_of_a_type_checking_block_goes_in(project: Path) -> None:
    """It is what runs."""
    source = (
        "import typing\nif typing.TYPE_CHECKING:\n    from . import types_only\nelif True:\n    from . import a\n"
        "else:\n    from . import b\n"
    )
    write_sources(project, {INDEX: source, "src/arkor/a.py": "", "src/arkor/b.py": ""})
    assert bundled(build()) == ["src/arkor/a.py", "src/arkor/b.py", INDEX]


def test_a_folder_without_init_is_a_package_too(project: Path) -> None:
    """As Python has it."""
    write_sources(project, {INDEX: "from .data import rows\nfrom .data.more import x\n"})
    write_sources(project, {"src/arkor/data/rows.py": "", "src/arkor/data/more/x.py": ""})
    assert bundled(build()) == ["src/arkor/data/more/x.py", "src/arkor/data/rows.py", INDEX]


def test_an_attribute_of_a_package_is_no_module(project: Path) -> None:
    """``from .package import name`` may name either."""
    write_sources(project, {INDEX: "from .parts import NAME, part\n", "src/arkor/parts/__init__.py": "NAME = 1\n"})
    write_sources(project, {"src/arkor/parts/part.py": "", "src/arkor/parts/NAME.txt": ""})
    assert bundled(build()) == [INDEX, "src/arkor/parts/__init__.py", "src/arkor/parts/part.py"]


def test_an_entry_in_the_projects_root_is_fine(project: Path) -> None:
    """Without any folder."""
    write_sources(project, {"train.py": "from . import other\nfrom .other import x\n", "other.py": "x = 1\n"})
    assert bundled(build(Path("train.py"))) == ["other.py", "train.py"]


@pytest.mark.parametrize("relative", [False, True])
def test_an_entry_outside_of_the_project_brings_its_own_folder(project: Path, tmp_path: Path, relative: bool) -> None:
    """Its relative imports reach that folder, and no further; the artifact is the project's."""
    elsewhere = write_sources(project.parent / "elsewhere", {"train.py": "from . import other\n", "other.py": ""})
    entry = Path("../elsewhere/train.py") if relative else elsewhere / "train.py"
    artifact = build(entry)
    assert artifact == project / ARTIFACT
    assert bundled(artifact) == ["other.py", "train.py"]
    write_sources(elsewhere, {"train.py": "from .. import other\n"})
    with pytest.raises(BuildError, match="it leads out of the project"):
        build(entry)


def test_a_place_that_cannot_be_written_is_named(project: Path) -> None:
    """One of our own errors."""
    write_sources(project, {INDEX: "", ".arkor": "a file"})
    with pytest.raises(BuildError, match=r"index\.pyz cannot be written"):
        build()
