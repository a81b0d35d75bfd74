"""An entry becomes one file: what goes in, what stays out, and what is wrong in which line."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from arkor.entry.artifact import ARTIFACT
from arkor.entry.bundle import build, changed_source
from arkor.errors import BuildError
from tests.support.full_disk import largest_file
from tests.support.sources import EVERY_WAY, REACHED, write_sources

INDEX = "src/arkor/index.py"
# Every statement that has blocks, with an import in each of them.
BLOCKS = """\
for i in ():
    from . import a
else:
    from . import b
while False:
    from . import c
else:
    from . import d
if False:
    from . import e
elif False:
    from . import f
else:
    from . import g
try:
    from . import h
except OSError:
    from . import i
else:
    from . import j
finally:
    from . import k
with open(__file__):
    from . import l
match 1:
    case 1:
        from . import m
    case _:
        from . import n
async def later():
    async with x:
        async for y in z:
            from . import o
class C:
    def f(self):
        from . import p
"""


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


def test_an_import_counts_in_every_block(project: Path) -> None:
    """Whichever of them runs in the end."""
    others = [f"src/arkor/{name}.py" for name in "abcdefghijklmnop"]
    write_sources(project, {INDEX: BLOCKS, **dict.fromkeys(others, "")})
    assert bundled(build()) == sorted([*others, INDEX])


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
        f"Build entry not found: {project}/{INDEX}. Create src/arkor/index.py or pass an explicit entry argument. "
        "To set up a new project here, run: arkor init"
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
        ("from __future__ import nosuch\n", 1, "does not parse: future feature nosuch is not defined"),
        ("x = 1\nreturn x\n", 2, "does not parse: 'return' outside function"),
        ("# coding: nosuch\n", None, "does not parse: "),
        ("x = 1\ny = " + "(" * 250 + ")" * 250, 2, "does not parse: too many nested parentheses"),
        ("from .index.deep import x\n", 1, "src/arkor/index.py is a module, not a package"),
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


# What is unusual about an entry


def test_an_entry_that_is_no_python_is_named(project: Path) -> None:
    """A notebook, or an artifact: by its name alone."""
    write_sources(project, {"train.ipynb": "{}"})
    with pytest.raises(BuildError, match=r"train\.ipynb: is not a Python source; the name of an entry ends in \.py"):
        build(Path("train.ipynb"))


def test_a_folder_is_no_entry(project: Path) -> None:
    """Though it has the name of one."""
    (project / INDEX).mkdir(parents=True)
    with pytest.raises(BuildError, match="Build entry not found: "):
        build()


@pytest.mark.parametrize("name", ["a b/träin.py", "my.app/v1.2/train.me.py", "src/日本/train.py"])
def test_an_entry_may_lie_in_any_folder(project: Path, name: str) -> None:
    """Spaces, dots and all of Unicode."""
    write_sources(project, {name: "from . import other\n", str(Path(name).parent / "other.py"): ""})
    assert sorted(bundled(build(Path(name)))) == sorted([name, str(Path(name).parent / "other.py")])


def test_a_source_that_cannot_be_read_is_named(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the reason, as an error of the build."""
    write_sources(project, {INDEX: ""})
    monkeypatch.setattr(Path, "read_bytes", lambda _: (_ for _ in ()).throw(PermissionError(13, "Permission denied")))
    with pytest.raises(BuildError) as raised:
        build()
    assert str(raised.value) == f"{project / INDEX}: cannot be read: Permission denied"


@pytest.mark.parametrize("source", ["from . import closed\n", "from .closed import x\n", "from .closed import *\n"])
def test_a_source_that_is_imported_and_cannot_be_read_is_named_by_its_import(
    project: Path, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    """It is no fault of the artifact's place."""
    write_sources(project, {INDEX: source, "src/arkor/closed.py": ""})
    read_bytes = Path.read_bytes

    def read(file: Path) -> bytes:
        if file.name == "closed.py":
            raise PermissionError(13, "Permission denied")
        return read_bytes(file)

    monkeypatch.setattr(Path, "read_bytes", read)
    with pytest.raises(BuildError, match="what it leads to cannot be read: Permission denied") as raised:
        build()
    assert (raised.value.path, raised.value.line) == (project / INDEX, 1)


def test_a_source_may_be_as_deep_as_python_takes_it(project: Path) -> None:
    """A sum of thousands, blocks in blocks, and hundreds of modules one behind the other."""
    nested = "".join(f"{' ' * depth}if True:\n" for depth in range(90)) + " " * 90 + "from .m0 import x\n"
    files = {f"src/arkor/m{i}.py": f"def f():\n    from . import m{i + 1}\nx = 1\n" for i in range(500)}
    write_sources(project, {INDEX: f"total = {' + '.join(['1'] * 800)}\n{nested}", **files, "src/arkor/m500.py": ""})
    assert len(bundled(build())) == 502


def test_an_import_that_may_fail_need_not_lead_anywhere(project: Path) -> None:
    """The source says that it does without; where it does not say so, it is an error."""
    guarded = "try:\n    from .fast import f\nexcept {}:\n    from .slow import f\n"
    write_sources(project, {"src/arkor/slow.py": "f = 1\n"})
    for caught in ("ImportError", "(OSError, ModuleNotFoundError)", "builtins.Exception"):
        write_sources(project, {INDEX: guarded.format(caught)})
        assert bundled(build()) == [INDEX, "src/arkor/slow.py"]
    write_sources(project, {INDEX: guarded.format("OSError")})
    with pytest.raises(BuildError, match=r"there is no src/arkor/fast\.py"):
        build()
    later = "try:\n    def f():\n        from .fast import x\nexcept ImportError:\n    pass\n"
    write_sources(project, {INDEX: later})
    with pytest.raises(BuildError, match=r"index\.py:3: .*there is no src/arkor/fast\.py"):
        build()


@pytest.mark.parametrize(
    "exports",
    [
        "__all__ = ['a']\n__all__ += ['b']\n",
        "__all__: list[str] = ['a', 'b']\n",
        "__all__ = ('a',)\n__all__.extend(['b', 'not there', ''])\n",
    ],
)
def test_a_star_import_brings_the_modules_that_are_exported(project: Path, exports: str) -> None:
    """As far as the names are written out."""
    write_sources(project, {INDEX: "from .parts import *\n", "src/arkor/parts/__init__.py": exports})
    write_sources(project, {f"src/arkor/parts/{name}.py": "" for name in "abc"})
    assert bundled(build())[1:] == [f"src/arkor/parts/{name}.py" for name in ("__init__", "a", "b")]


def test_a_star_import_of_a_package_that_does_not_parse_names_that_package(project: Path) -> None:
    """Its file and line, not those of whoever imports it."""
    write_sources(project, {INDEX: "from .parts import *\n", "src/arkor/parts/__init__.py": "x = 1\ndef f(:\n"})
    with pytest.raises(BuildError, match="does not parse") as raised:
        build()
    assert (raised.value.path, raised.value.line) == (project / "src/arkor/parts/__init__.py", 2)


# The same bytes, whole


BUILD = "from arkor.entry.bundle import build; build()"


def test_nothing_but_the_sources_decides_the_bytes(tmp_path: Path) -> None:
    """Not the folder, the time, the umask, nor the order of hashes."""
    seen = set()
    for number, seed in enumerate(("0", "1", "4711")):
        root = write_sources(tmp_path / f"folder {number}", EVERY_WAY)
        os.utime(root / INDEX, (number, number))
        command = [sys.executable, "-c", f"import os; os.umask(0o{number}77); {BUILD}"]
        subprocess.run(command, cwd=root, env={**os.environ, "PYTHONHASHSEED": seed}, check=True, timeout=30)
        seen.add((root / ARTIFACT).read_bytes())
    assert len(seen) == 1


def test_two_builds_at_once_leave_one_whole_artifact(project: Path) -> None:
    """Real processes, many times: whoever is last, it can be run, and nothing else is left."""
    write_sources(project, EVERY_WAY)
    other = {**EVERY_WAY, "src/arkor/other.py": EVERY_WAY[INDEX]}
    write_sources(project, other)
    again = "from arkor.entry.bundle import build; from pathlib import Path; [build(Path({!r})) for _ in range(20)]"
    running = [
        subprocess.Popen([sys.executable, "-c", again.format(name)], cwd=project)
        for name in (INDEX, "src/arkor/other.py", INDEX)
    ]
    assert [process.wait(30) for process in running] == [0, 0, 0]
    with zipfile.ZipFile(project / ARTIFACT) as bundle:
        assert bundle.testzip() is None
    assert [file.name for file in (project / ARTIFACT).parent.iterdir()] == ["index.pyz"]
    assert (project / ARTIFACT).read_bytes() in {
        build(Path(name)).read_bytes() for name in (INDEX, "src/arkor/other.py")
    }


def test_a_full_disk_leaves_the_last_artifact(project: Path) -> None:
    """And says so."""
    write_sources(project, {INDEX: "NAME = 1\n"})
    before = build().read_bytes()
    write_sources(project, {INDEX: f"NAME = {'x' * 5000!r}\n"})
    with largest_file(100), pytest.raises(BuildError, match=r"index\.pyz cannot be written: File too large"):
        build()
    assert (project / ARTIFACT).read_bytes() == before
    assert [file.name for file in (project / ARTIFACT).parent.iterdir()] == ["index.pyz"]


# Whether an artifact is up to date


def test_an_artifact_knows_which_source_has_changed(project: Path) -> None:
    """By content: neither a new time, nor a source that nobody imports, nor one that is gone counts."""
    write_sources(project, EVERY_WAY)
    artifact = build()
    os.utime(project / "src/arkor/late.py")
    write_sources(project, {"src/arkor/unused.py": "x = 1\n"})
    (project / "src/shared.py").unlink()
    assert changed_source(artifact) is None
    write_sources(project, {"src/arkor/late.py": "LATE = 1\n"})
    assert changed_source(artifact) == project / "src/arkor/late.py"


def test_the_sources_of_an_entry_outside_are_looked_for_where_they_are(project: Path) -> None:
    """Not in the project."""
    outside = write_sources(project.parent / "outside", {"train.py": ""}) / "train.py"
    write_sources(project, {"train.py": "another = 1\n"})
    artifact = build(outside)
    assert changed_source(artifact) is None
    outside.write_text("x = 1\n")
    assert changed_source(artifact) == outside


def test_what_cannot_be_compared_has_not_changed(project: Path) -> None:
    """Looking is never an error."""
    write_sources(project, {"index.pyz": b"no zip"})
    assert changed_source(project / "index.pyz") is None
    assert changed_source(project / "nosuch.pyz") is None
