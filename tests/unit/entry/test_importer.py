"""Entries are imported fresh, and the same from their sources as from an artifact."""

from __future__ import annotations

import dataclasses
import inspect
import pickle
import shutil
import sys
import threading
import traceback
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from arkor.entry.bundle import build, bundle
from arkor.entry.importer import load_entry
from arkor.errors import EntryError
from tests.support.sources import EVERY_WAY, FOUND, write_sources

INDEX = "src/arkor/index.py"


@pytest.fixture(autouse=True)
def _modules_as_before() -> Iterator[None]:
    """Let no test see what another imported."""
    path, finders, modules = list(sys.path), list(sys.meta_path), set(sys.modules)
    yield
    sys.path[:], sys.meta_path[:] = path, finders
    for name in set(sys.modules) - modules:
        if name.startswith("_arkor_entry_") or name == "beside":
            del sys.modules[name]


def from_sources(project: Path, files: Mapping[str, str | bytes]) -> Path:
    """Return an entry to load from its sources."""
    return write_sources(project, files) / INDEX


def from_artifact(project: Path, files: Mapping[str, str | bytes]) -> Path:
    """Return an artifact to load; its sources are gone."""
    write_sources(project, files)
    artifact = build()
    for name in files:
        (project / name).unlink()
    shutil.rmtree(project / "src")
    return artifact


Prepare = Callable[[Path, Mapping[str, str | bytes]], Path]
both = pytest.mark.parametrize("prepare", [from_sources, from_artifact])


@both
def test_an_entry_gives_the_same_module_from_either(project: Path, prepare: Prepare) -> None:
    """Whatever way it reaches its parts."""
    assert load_entry(prepare(project, EVERY_WAY), project).VALUE == FOUND


@both
@pytest.mark.parametrize(
    ("files", "value"),
    [
        ({INDEX: b"# coding: latin-1\nVALUE = '\xe9'\n"}, "é"),
        ({INDEX: b"\xef\xbb\xbfVALUE = 1\r\n"}, 1),
        ({INDEX: "from .data import rows\nVALUE = rows.x\n", "src/arkor/data/rows.py": "x = 1\n"}, 1),
        ({INDEX: "from . import VALUE\n", "src/arkor/__init__.py": "VALUE = 3\n"}, 3),
        ({INDEX: "from .a import b\nVALUE = b.x\n", "src/arkor/a/b/__init__.py": "x = 4\n"}, 4),
        (
            {
                INDEX: "import importlib\nVALUE = importlib.import_module('.o', __package__).x\nfrom . import o\n",
                "src/arkor/o.py": "x = 5\n",
            },
            5,
        ),
    ],
    ids=["latin-1", "mark and CRLF", "folder", "own package", "nested package", "import_module"],
)
def test_projects_of_every_make_load(
    project: Path, prepare: Prepare, files: Mapping[str, str | bytes], value: object
) -> None:
    """As Python would have it."""
    module = load_entry(prepare(project, files), project)
    assert value == module.VALUE


def test_what_was_built_runs_also_where_another_build_came_after(project: Path) -> None:
    """Two commands in one folder, each with an entry of its own: neither runs the other's."""
    write_sources(project, {INDEX: "VALUE = 1\n", "other.py": "VALUE = 2\n"})
    mine = bundle()
    build(Path("other.py"))
    assert load_entry(mine.artifact, project, mine.content).VALUE == 1
    assert load_entry(mine.artifact, project).VALUE == 2


@both
def test_modules_know_the_users_own_files(project: Path, prepare: Prepare) -> None:
    """Their ``__file__`` is where the source is, or was."""
    module = load_entry(prepare(project, EVERY_WAY), project)
    assert module.__file__ == str(project / INDEX)
    assert module.settings.__file__ == str(project / "src/arkor/settings.py")


@both
def test_tools_that_look_at_modules_work(project: Path, prepare: Prepare) -> None:
    """Data classes, pickle and inspect find the module and its source."""
    source = (
        "from __future__ import annotations\nimport dataclasses\n"
        "@dataclasses.dataclass\nclass Row:\n    text: str = 'a'\n"
    )
    module = load_entry(prepare(project, {INDEX: source}), project)
    row = module.Row()
    assert dataclasses.asdict(row) == {"text": "a"}
    assert pickle.loads(pickle.dumps(row)) == row
    assert "class Row" in inspect.getsource(module.Row)


@both
def test_a_traceback_names_the_users_own_files(project: Path, prepare: Prepare) -> None:
    """File, line and text of the source, also when the code comes from an artifact."""
    files = {INDEX: "from .other import fail\n\n\nfail()\n", "src/arkor/other.py": "def fail():\n    return 1 / 0\n"}
    with pytest.raises(EntryError) as raised:
        load_entry(prepare(project, files), project)
    shown = "".join(traceback.format_exception(raised.value.__cause__))
    assert f'File "{project / INDEX}", line 4' in shown
    assert f'File "{project}/src/arkor/other.py", line 2, in fail\n    return 1 / 0' in shown


@both
@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({INDEX: "x = 1\nint('x')\n"}, "{root}/src/arkor/index.py:2: ValueError: invalid literal for int()"),
        (
            {INDEX: "from .other import f\nf()\n", "src/arkor/other.py": "def f():\n    raise KeyError('k')\n"},
            "{root}/src/arkor/other.py:2: KeyError: 'k'",
        ),
        ({INDEX: "import json\njson.loads('{')\n"}, "{root}/src/arkor/index.py:2: JSONDecodeError: "),
        (
            {INDEX: "from arkor.errors import ArkorError\nraise ArkorError('words')\n"},
            "{root}/src/arkor/index.py:2: words",
        ),
        (
            {INDEX: "x = 1\nexit()\n"},
            "{root}/src/arkor/index.py:2: ends the program while it is imported: exit()",
        ),
        ({INDEX: "import no_such_package\n"}, "{root}/src/arkor/index.py:1: ModuleNotFoundError: No module named"),
    ],
)
def test_an_entry_that_raises_is_told_with_its_place(
    project: Path, prepare: Prepare, files: Mapping[str, str | bytes], says: str
) -> None:
    """The last line of the user's own code; arkor's own errors speak for themselves."""
    with pytest.raises(EntryError) as raised:
        load_entry(prepare(project, files), project)
    assert str(raised.value).startswith(says.format(root=project))
    assert raised.value.__cause__ is not None


def test_a_source_that_does_not_parse_is_told_with_its_place(project: Path) -> None:
    """The line that is wrong, in the module that is wrong."""
    write_sources(project, {INDEX: "from . import other\n", "src/arkor/other.py": "x = 1\n\nif\n"})
    with pytest.raises(EntryError, match=f"{project}/src/arkor/other.py:3: SyntaxError: invalid syntax"):
        load_entry(project / INDEX, project)


def test_every_load_is_fresh(project: Path) -> None:
    """What was edited since counts, and no two loads share a module."""
    write_sources(project, {INDEX: "from . import part\nVALUE = part.x\n", "src/arkor/part.py": "x = 1\n"})
    first = load_entry(project / INDEX, project)
    write_sources(project, {"src/arkor/part.py": "x = 2\n"})
    second = load_entry(project / INDEX, project)
    assert (first.VALUE, second.VALUE) == (1, 2)
    assert first.part is not second.part


def test_loading_leaves_nothing_beside_the_sources(project: Path) -> None:
    """No bytecode: an edit within the same second counts too."""
    write_sources(project, EVERY_WAY)
    load_entry(project / INDEX, project)
    assert list(project.rglob("__pycache__")) == []


@both
def test_the_project_is_importable(project: Path, prepare: Prepare) -> None:
    """As it is for ``python -m``; such modules are not bundled."""
    entry = prepare(project, {INDEX: "import beside\nVALUE = beside.x\n"})
    write_sources(project, {"beside.py": "x = 7\n"})
    assert load_entry(entry, project).VALUE == 7


def test_the_users_modules_do_not_hide_installed_ones(project: Path) -> None:
    """A project has a folder named arkor: it is not this package."""
    write_sources(project, {INDEX: "import arkor, attrs\nVALUE = arkor.__version__\n", "src/arkor/attrs.py": "1 / 0\n"})
    assert load_entry(project / INDEX, project).VALUE


@pytest.mark.parametrize("relative", [False, True])
def test_an_entry_outside_of_the_project_loads(project: Path, relative: bool) -> None:
    """From its sources and from the artifact it becomes."""
    elsewhere = write_sources(
        project.parent / "elsewhere", {"train.py": "from .other import x\nVALUE = x\n", "other.py": "x = 3\n"}
    )
    entry = project / "../elsewhere/train.py" if relative else elsewhere / "train.py"
    assert load_entry(entry, project).VALUE == 3
    assert load_entry(build(entry), project).VALUE == 3


@pytest.mark.parametrize("name", ["my-train.py", "train.v2.py", "2nd.py", "a folder/tr ain.py", "my.app/train.py"])
def test_an_entry_may_have_any_name(project: Path, name: str) -> None:
    """It is a file, not a module of anybody's."""
    write_sources(project, {name: "VALUE = 1\n"})
    assert load_entry(project / name, project).VALUE == 1
    assert load_entry(build(Path(name)), project).VALUE == 1


def test_folders_with_dots_reach_their_neighbours(project: Path) -> None:
    """Relative imports work there too."""
    write_sources(project, {"my.app/train.py": "from . import more\nVALUE = more.x\n", "my.app/more.py": "x = 1\n"})
    assert load_entry(project / "my.app/train.py", project).VALUE == 1
    assert load_entry(build(Path("my.app/train.py")), project).VALUE == 1


@pytest.mark.parametrize("content", [b"", b"no zip", b"PK\x03\x04broken"])
def test_what_is_no_artifact_is_named(project: Path, content: bytes) -> None:
    """With what to do."""
    write_sources(project, {"index.pyz": content})
    with pytest.raises(EntryError, match=r"index\.pyz is not an artifact of arkor build"):
        load_entry(project / "index.pyz", project)


@pytest.mark.parametrize("manifest", [None, b"{", b"[]", b"{}", b'{"entry": 3}'])
def test_an_archive_of_something_else_is_named(project: Path, manifest: bytes | None) -> None:
    """A zip file alone is not enough."""
    with zipfile.ZipFile(project / "index.pyz", "w") as archive:
        archive.writestr("__main__.py", "")
        if manifest is not None:
            archive.writestr("arkor-bundle.json", manifest)
    with pytest.raises(EntryError, match="is not an artifact of arkor build"):
        load_entry(project / "index.pyz", project)


def test_an_interrupt_while_an_entry_is_imported_is_not_an_error_of_it(project: Path) -> None:
    """KeyboardInterrupt is for whoever runs it."""
    write_sources(project, {INDEX: "raise KeyboardInterrupt\n"})
    with pytest.raises(KeyboardInterrupt):
        load_entry(project / INDEX, project)


# Fresh, and without a trace


def test_loading_many_times_leaves_one_finder(project: Path) -> None:
    """Imports of everybody else do not get slower; a load that fails leaves nothing at all."""
    write_sources(project, EVERY_WAY)
    load_entry(project / INDEX, project)
    finders, before = len(sys.meta_path), set(sys.modules)
    for _ in range(5):
        load_entry(project / INDEX, project)
    assert len(sys.meta_path) == finders
    names = {name.partition(".")[0] for name in set(sys.modules) - before}
    assert len({name for name in names if name.startswith("_arkor_entry_")}) == 5
    before = set(sys.modules)
    write_sources(project, {"src/arkor/late.py": "1 / 0\n"})
    with pytest.raises(EntryError):
        load_entry(project / INDEX, project)
    assert {name for name in set(sys.modules) - before if name.startswith("_arkor_entry_")} == set()


@both
def test_the_text_in_a_traceback_is_that_of_the_code_that_runs(project: Path, prepare: Prepare) -> None:
    """Though the file was edited since, in a thread too."""
    source = "def fail():\n    return 1 / 0\n"
    entry = prepare(project, {INDEX: source})
    module = load_entry(entry, project)
    write_sources(project, {INDEX: "# another\n# text\n"})
    said = []

    def run() -> None:
        try:
            module.fail()
        except ZeroDivisionError:
            said.append(traceback.format_exc())

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert f'File "{project / INDEX}", line 2, in fail\n    return 1 / 0' in said[0]
    assert inspect.getsource(module.fail) == source
    assert pickle.loads(pickle.dumps(module.fail)) is module.fail


@both
def test_files_beside_the_sources_are_found(project: Path, prepare: Prepare) -> None:
    """By ``__file__``, and by importlib.resources from a folder and from a package."""
    source = (
        "from importlib.resources import files\nfrom pathlib import Path\nfrom . import parts\n"
        "here = Path(__file__).with_name('rows.txt')\n"
        "VALUE = lambda: [here.read_text(), files(__package__).joinpath('rows.txt').read_text(),"
        " files(parts).joinpath('more.txt').read_text()]\n"
    )
    module = load_entry(prepare(project, {INDEX: source, "src/arkor/parts/__init__.py": ""}), project)
    write_sources(project, {"src/arkor/rows.txt": "rows", "src/arkor/parts/more.txt": "more"})
    assert module.VALUE() == ["rows", "rows", "more"]


@both
@pytest.mark.parametrize(
    ("files", "value"),
    [
        ({INDEX: "from . import empty\nfrom .empty import inner\nVALUE = inner.__name__[-5:]\n"}, "inner"),
        ({INDEX: "from .a import b\nVALUE = b\n", "src/arkor/a/__init__.py": "b = 1\n", "src/arkor/a/b.py": ""}, 1),
        ({INDEX: "from .a import x\nVALUE = x\n", "src/arkor/a.py": "x = 1\n", "src/arkor/a/y.py": "x = 2\n"}, 1),
        ({INDEX: "from ... import NAME\nVALUE = NAME\n", "__init__.py": "NAME = 2\n"}, 2),
        ({INDEX: "try:\n    from . import no\nexcept ImportError as exc:\n    VALUE = exc.name[-9:]\n"}, "src.arkor"),
    ],
    ids=["empty folders", "attribute first", "module before folder", "the root is a package", "optional"],
)
def test_imports_mean_what_they_mean_to_python(
    project: Path, prepare: Prepare, files: Mapping[str, str | bytes], value: object
) -> None:
    """In the corners too."""
    (project / "src/arkor/empty/inner").mkdir(parents=True)
    module = load_entry(prepare(project, files), project)
    assert value == module.VALUE


@pytest.mark.parametrize("name", ["src/arkor/__init__.py", "__init__.py", "../elsewhere/__init__.py"])
def test_a_package_may_be_an_entry(project: Path, name: str) -> None:
    """Its relative imports are its own modules; it runs once."""
    write_sources(project, {name: "from .other import x\nVALUE = x\nassert not hasattr(x, 'seen')\nx.seen = 1\n"})
    write_sources(project, {str(Path(name).with_name("other.py")): "def x(): ...\n"})
    assert load_entry(project / name, project).VALUE.seen == 1
    assert load_entry(build(Path(name)), project).VALUE.seen == 1


def test_an_entry_outside_is_named_in_tracebacks(project: Path) -> None:
    """Also from the artifact it became."""
    outside = write_sources(project.parent / "outside", {"train.py": "1 / 0\n"}) / "train.py"
    with pytest.raises(EntryError) as raised:
        load_entry(build(outside), project)
    assert str(raised.value) == f"{outside}:1: ZeroDivisionError: division by zero"


def test_an_artifact_brings_its_own_project(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run from anywhere, its absolute imports are found."""
    write_sources(project, {INDEX: "import beside\nVALUE = beside.x\n", "beside.py": "x = 8\n"})
    artifact = build()
    monkeypatch.chdir("/")
    assert load_entry(artifact, Path("/")).VALUE == 8


def test_what_is_neither_source_nor_artifact_is_named(project: Path) -> None:
    """With what there may be."""
    write_sources(project, {"train.ipynb": "{}"})
    with pytest.raises(EntryError, match=r"train\.ipynb is neither a Python source \(\.py\) nor an artifact"):
        load_entry(project / "train.ipynb", project)


def test_a_syntax_error_in_a_text_is_told_where_it_was_run(project: Path) -> None:
    """Not as a line of a file that is none."""
    write_sources(project, {INDEX: "x = 1\neval('1 +')\n"})
    with pytest.raises(EntryError, match=f"{project}/{INDEX}:2: SyntaxError: "):
        load_entry(project / INDEX, project)
