"""A template and a folder: what would change, what is written, and what is left alone."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given, strategies as st

from arkor.data.files import check_file
from arkor.errors import ScaffoldError
from arkor.scaffold import git, layout
from arkor.scaffold.ignoring import with_ignored
from arkor.scaffold.layout import Action, Layout, has_entry, plan
from arkor.scaffold.templates import DEFAULT, ENTRY, TEMPLATES, Template, python_literal
from tests.support.backend import ROOT

COMMON = {"README.md", ".gitignore", "requirements.txt", "src/arkor/trainer.py", "src/arkor/index.py"}
BLANK = TEMPLATES["blank"]


def apply(folder: Path, template: Template = BLANK, name: str = "bot") -> dict[str, str]:
    """Set a project up; return what became of each file."""
    return {str(change.path): change.action.value for change in plan(folder, template, name).apply()}


def snapshot(folder: Path) -> dict[str, bytes]:
    """Return the content of every file in a folder."""
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


# Templates


@pytest.mark.parametrize("template", TEMPLATES.values(), ids=list(TEMPLATES))
def test_a_template_makes_a_project_out_of_nothing(project: Path, template: Template) -> None:
    """The files of every project; the local one has rows of its own, and a script that compares."""
    done = apply(project / "new", template)
    assert set(done) == COMMON | ({"data/orders.jsonl", "compare.py"} if template is DEFAULT else set())
    assert set(done.values()) == {"created"}
    assert set(snapshot(project / "new")) == set(done)
    assert list(done)[-1] == ENTRY
    assert not (project / "new" / "src" / "arkor" / "__init__.py").exists()


@pytest.mark.parametrize("template", TEMPLATES.values(), ids=list(TEMPLATES))
def test_a_second_time_everything_is_kept(project: Path, template: Template) -> None:
    """Byte for byte."""
    apply(project, template)
    before = snapshot(project)
    assert set(apply(project, template, "another").values()) == {"kept"}
    assert snapshot(project) == before


def test_the_rows_of_the_local_template_are_good(project: Path) -> None:
    """40 different orders of one form, that the check for rows has nothing against."""
    apply(project, DEFAULT)
    file = project / "data" / "orders.jsonl"
    assert check_file(file, "orders").rows == 40
    rows = [json.loads(line)["messages"] for line in file.read_text(encoding="utf-8").splitlines()]
    assert len({row[1]["content"] for row in rows}) == 40
    assert len({row[0]["content"] for row in rows}) == 1
    assert all(row[2]["content"].endswith((" / HERE", " / TO GO")) for row in rows)
    assert {row[2]["content"].rpartition(" / ")[2] for row in rows[-8:]} == {"HERE", "TO GO"}


@given(st.text(st.characters(exclude_categories=["C", "Zl", "Zp"]), min_size=1))
def test_any_name_is_one_text_in_the_code(text: str) -> None:
    """Quotes, backslashes and emoji never end it early."""
    assert ast.literal_eval(python_literal(text)) == text
    assert "\n" not in python_literal(text)


@pytest.mark.parametrize("name", ['say "hi"', "it's", "\\", 'both \' and " and "', "größer 😀", "$name ${x}"])
def test_the_trainer_gets_any_name(project: Path, name: str) -> None:
    """In the code as in the README."""
    apply(project, BLANK, name)
    tree = ast.parse((project / "src" / "arkor" / "trainer.py").read_text(encoding="utf-8"))
    given_names = [word.value for word in ast.walk(tree) if isinstance(word, ast.keyword) and word.arg == "name"]
    assert [ast.literal_eval(value) for value in given_names] == [name]
    assert (project / "README.md").read_text(encoding="utf-8").startswith(f"# {name}\n")


@pytest.mark.parametrize("name", ["", "  ", "two\nlines", "bell\a", "\udcff"])
def test_a_name_that_cannot_be_shown_is_refused(project: Path, name: str) -> None:
    """Nothing is written."""
    with pytest.raises(ScaffoldError, match="one line of printable text"):
        plan(project, BLANK, name)
    assert snapshot(project) == {}


def test_the_package_that_is_installed_has_the_templates(tmp_path: Path) -> None:
    """What setuptools would put into a wheel makes the same project as this checkout."""
    build = [sys.executable, "setup.py", "--quiet", "build_py", "--build-lib", str(tmp_path / "lib")]
    subprocess.run(build, cwd=ROOT, check=True, timeout=60, env={**os.environ, "PYTHONWARNINGS": "ignore"})
    script = (
        "import sys; from pathlib import Path; import arkor; from arkor.scaffold import layout, templates\n"
        "for name, template in templates.TEMPLATES.items():\n"
        "    list(layout.plan(Path(sys.argv[1], name), template, 'bot').apply())\n"
        "print(arkor.__file__)"
    )
    ended = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "installed")],
        env={**os.environ, "PYTHONPATH": str(tmp_path / "lib")},
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert ended.stdout.strip() == str(tmp_path / "lib" / "arkor" / "__init__.py")
    for name, template in TEMPLATES.items():
        apply(tmp_path / "here" / name, template)
    files = {folder: snapshot(tmp_path / folder) for folder in ("installed", "here")}
    for name in TEMPLATES:  # they come from different places
        assert files["here"].pop(f"{name}/requirements.txt") != files["installed"].pop(f"{name}/requirements.txt")
    assert files["installed"] == files["here"]


# What is there


def test_what_is_there_is_never_overwritten(project: Path) -> None:
    """Neither a file, nor a folder of that name, nor a link that leads nowhere."""
    (project / "src" / "arkor").mkdir(parents=True)
    (project / "src" / "arkor" / "trainer.py").write_text("mine = 1\n")
    (project / "README.md").mkdir()
    (project / "compare.py").symlink_to("nowhere")
    done = apply(project, DEFAULT)
    assert [done[path] for path in ("src/arkor/trainer.py", "README.md", "compare.py")] == ["kept"] * 3
    assert (project / "src" / "arkor" / "trainer.py").read_text() == "mine = 1\n"
    assert not (project / "nowhere").exists()


def test_a_plan_writes_nothing(project: Path) -> None:
    """Not even the folder."""
    layout = plan(project / "new", DEFAULT, "bot")
    assert {change.action for change in layout.changes} == {Action.CREATED}
    assert list(project.iterdir()) == []


@pytest.mark.parametrize("there", ["new", "new/src", "new/src/arkor", "new/data"])
def test_a_file_in_the_way_of_a_folder_is_named(project: Path, there: str) -> None:
    """Before anything is written."""
    (project / there).parent.mkdir(parents=True, exist_ok=True)
    (project / there).write_text("x")
    with pytest.raises(ScaffoldError, match=rf"{project / there} is a file.* Nothing was changed\."):
        plan(project / "new", DEFAULT, "bot")
    assert snapshot(project) == {there: b"x"}


def test_a_folder_without_permission_is_named(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything is written, where anything is to be written; the tests may run as root, so it is played."""
    monkeypatch.setattr(os, "access", lambda path, mode: path != project)
    with pytest.raises(ScaffoldError, match="you have no permission"):
        plan(project / "deep" / "er", BLANK, "bot")
    monkeypatch.undo()
    apply(project)
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert {change.action for change in plan(project, BLANK, "bot").changes} == {Action.KEPT}


def test_a_failure_in_the_middle_leaves_whole_files(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was yielded is in place, the rest is not there, and doing it again completes it."""
    layout = plan(project, BLANK, "bot")
    fine = Path.replace

    def replace(self: Path, target: Path) -> Path:
        if target.name == "trainer.py":
            raise OSError(28, "No space left on device")
        return fine(self, target)

    monkeypatch.setattr(Path, "replace", replace)
    done: list[str] = []
    with pytest.raises(ScaffoldError, match=r"trainer\.py cannot be written: No space left on device\."):
        done.extend(str(change.path) for change in layout.apply())
    assert set(snapshot(project)) == set(done)
    assert not has_entry(project)
    monkeypatch.undo()
    assert set(apply(project).values()) == {"kept", "created"}
    assert set(snapshot(project)) == COMMON


@pytest.mark.parametrize("path", ["src/arkor/__init__.py", "arkor.py", "arkor/__init__.py"])
def test_what_would_hide_arkor_is_named(project: Path, path: str) -> None:
    """It is left where it is."""
    (project / path).parent.mkdir(parents=True, exist_ok=True)
    (project / path).write_text("")
    layout = plan(project, BLANK, "bot")
    assert layout.notes == (f"{path} hides the installed arkor when the project runs; move or remove it.",)


# .gitignore


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"", b".arkor/\n"),
        (b"*.log\n", b"*.log\n.arkor/\n"),
        (b"*.log", b"*.log\n.arkor/\n"),
        (b"*.log\r\n", b"*.log\r\n.arkor/\r\n"),
        (b"*.log\r\n*.tmp", b"*.log\r\n*.tmp\r\n.arkor/\r\n"),
        (b"\xff\xfe caf\xe9\n", b"\xff\xfe caf\xe9\n.arkor/\n"),
        (b"#.arkor/\n", b"#.arkor/\n.arkor/\n"),
        (b"my.arkor/\n", b"my.arkor/\n.arkor/\n"),
    ],
)
def test_gitignore_gets_what_it_lacks(before: bytes, after: bytes) -> None:
    """With the line ends that it has, after a last line of its own; nothing else changes, whatever the encoding."""
    assert with_ignored(before, [".arkor/"]) == (after, [".arkor/"])
    assert with_ignored(after, [".arkor/"]) == (after, [])


@pytest.mark.parametrize("line", [".arkor", ".arkor/", "/.arkor", "/.arkor/", "**/.arkor/", ".arkor/*", " .arkor/** "])
def test_gitignore_is_left_alone_where_it_says_so_already(line: str) -> None:
    """In any of the usual forms."""
    content = f"\ufeff{line}\r\n".encode()
    assert with_ignored(content, [".arkor/"]) == (content, [])


def test_a_patched_file_keeps_its_link_and_its_mode(project: Path, tmp_path: Path) -> None:
    """A .gitignore that several projects share stays shared."""
    shared = tmp_path / "shared"
    shared.write_text("*.log\n")
    shared.chmod(0o664)
    (project / ".gitignore").symlink_to(shared)
    assert apply(project)[".gitignore"] == "patched"
    assert (project / ".gitignore").is_symlink()
    assert shared.read_text() == "*.log\n.arkor/\nadapters/\n"
    assert shared.stat().st_mode & 0o777 == 0o664


# Requirements


def dependency(layout: Layout) -> tuple[str, str]:
    """Return the file that says what the project needs, and what becomes of it."""
    return str(layout.changes[0].path), layout.changes[0].action.value


WHEEL = "file:///downloads/arkor-0.1.0-py3-none-any.whl"


@pytest.fixture
def from_wheel(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this copy come from a wheel."""
    monkeypatch.setattr(layout, "requirement", lambda extra: f"arkor{f'[{extra}]' * bool(extra)} @ {WHEEL}")


@pytest.fixture
def of_unknown_origin(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this copy not say where it came from."""
    monkeypatch.setattr(layout, "requirement", lambda _: None)


@pytest.mark.usefixtures("from_wheel")
def test_requirements_txt_installs_the_same_copy(project: Path) -> None:
    """Training on this machine needs the local extra, the cloud does not. The bare name is never written."""
    apply(project / "a", DEFAULT)
    apply(project / "b", TEMPLATES["triage"])
    comment = "# arkor is on no package index yet. This copy came from:\n"
    assert (project / "a" / "requirements.txt").read_text() == f"{comment}arkor[local] @ {WHEEL}\n"
    assert (project / "b" / "requirements.txt").read_text() == f"{comment}arkor @ {WHEEL}\n"
    assert plan(project / "a", DEFAULT, "bot").notes == ()


@pytest.mark.usefixtures("of_unknown_origin")
def test_a_copy_of_unknown_origin_writes_no_requirement(project: Path) -> None:
    """A comment says what belongs there, and a note that it is missing, as long as it is."""
    layout = plan(project, DEFAULT, "bot")
    assert [note.partition(" Add this requirement: ")[0] for note in layout.notes] == [
        "requirements.txt does not install arkor yet."
    ]
    apply(project, DEFAULT)
    lines = (project / "requirements.txt").read_text().splitlines()
    assert lines[1:] == [
        "# arkor[local] @ file:///path/to/arkor.whl",
        "# arkor[local] @ git+https://host/owner/arkor.git@COMMIT",
    ]
    assert all(line.startswith("# ") for line in lines)
    assert plan(project, DEFAULT, "bot").notes[0].startswith("requirements.txt does not name arkor.")
    (project / "requirements.txt").write_text("arkor[local] @ file:///found.whl\n")
    assert plan(project, DEFAULT, "bot").notes == ()


@pytest.mark.usefixtures("of_unknown_origin")
def test_a_copy_of_unknown_origin_leaves_pyproject_toml_alone(project: Path) -> None:
    """The note names the requirement."""
    (project / "pyproject.toml").write_text('[project]\nname = "x"\n')
    layout = plan(project, DEFAULT, "bot")
    assert dependency(layout) == ("pyproject.toml", "kept")
    assert layout.notes[0].startswith(
        'pyproject.toml does not name arkor. Add this requirement: "arkor[local] @ ADDRESS". '
    )


@pytest.mark.usefixtures("from_wheel")
@pytest.mark.parametrize(
    ("content", "note"),
    [
        ("click\n", f'requirements.txt does not name arkor. Add this requirement: "arkor[local] @ {WHEEL}"'),
        ("arkor\n", "requirements.txt names arkor without the extra for training on this machine. Add this"),
        ("arkor[local] @ file:///x\n", None),
    ],
)
def test_an_own_requirements_txt_is_kept(project: Path, content: str, note: str | None) -> None:
    """What it lacks is said."""
    (project / "requirements.txt").write_text(content)
    layout = plan(project, DEFAULT, "bot")
    assert dependency(layout) == ("requirements.txt", "kept")
    assert [told.startswith(note or "") for told in layout.notes] == [True] * (note is not None)


@pytest.mark.usefixtures("from_wheel")
def test_a_project_of_pyproject_toml_gets_an_entry_there(project: Path) -> None:
    """And no requirements.txt; the command installs arkor alone, never the project over it."""
    (project / "pyproject.toml").write_text('[project]\nname = "x"\ndependencies = ["click"]\n')
    layout = plan(project, DEFAULT, "bot")
    assert dependency(layout) == ("pyproject.toml", "patched")
    assert layout.install == f"pip install 'arkor[local] @ {WHEEL}'"
    assert set(apply(project, DEFAULT)) >= {"pyproject.toml"}
    assert not (project / "requirements.txt").exists()
    assert (project / "pyproject.toml").read_text().endswith(f'["click", "arkor[local] @ {WHEEL}"]\n')
    assert layout.install in (project / "README.md").read_text()
    assert dependency(plan(project, DEFAULT, "bot")) == ("pyproject.toml", "kept")


@pytest.mark.usefixtures("from_wheel")
@pytest.mark.parametrize("allowed", [True, False])
def test_hatchling_has_to_be_asked_to_take_an_address(project: Path, allowed: bool) -> None:
    """It refuses to build the project otherwise; the note says what to add."""
    setting = "[tool.hatch.metadata]\nallow-direct-references = true\n" * allowed
    build = "[build-system]\nbuild-backend = 'hatchling.build'\n"
    (project / "pyproject.toml").write_text(f'[project]\nname = "x"\n{build}{setting}')
    notes = plan(project, DEFAULT, "bot").notes
    assert ["allow-direct-references = true" in note for note in notes] == [True] * (not allowed)


def test_a_project_of_uv_is_installed_by_uv(project: Path) -> None:
    """Where its lock file is."""
    (project / "pyproject.toml").write_text('[project]\nname = "x"\n')
    (project / "uv.lock").write_text("")
    assert plan(project, DEFAULT, "bot").install == "uv sync"


@pytest.mark.usefixtures("from_wheel")
@pytest.mark.parametrize("content", ["[project]\ndynamic = ['dependencies']\n", "[tool.poetry]\nname = 'x'\n", "[pro"])
def test_a_pyproject_toml_that_cannot_be_patched_is_kept(project: Path, content: str) -> None:
    """One line says what to add by hand."""
    (project / "pyproject.toml").write_text(content)
    layout = plan(project, DEFAULT, "bot")
    assert dependency(layout) == ("pyproject.toml", "kept")
    assert len(layout.notes) == 1
    assert layout.notes[0].endswith(f'. Add this requirement: "arkor[local] @ {WHEEL}"')
    apply(project, DEFAULT)
    assert (project / "pyproject.toml").read_text() == content


def test_the_settings_of_tools_are_no_project(project: Path) -> None:
    """A pyproject.toml of that kind is not touched."""
    (project / "pyproject.toml").write_text("[tool.ruff]\nline-length = 99\n")
    done = apply(project)
    assert done["requirements.txt"] == "created"
    assert "pyproject.toml" not in done


# git


def test_a_folder_below_a_repository_is_in_it(project: Path) -> None:
    """Also where it is not there yet; a file .git, as of a worktree, counts too."""
    assert not git.is_in_repository(project / "new")
    (project / ".git").write_text("gitdir: elsewhere\n")
    assert git.is_in_repository(project / "new" / "er")


def test_a_repository_is_the_folders_own(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when git runs us in a hook of another repository; there is no commit."""
    monkeypatch.setenv("GIT_DIR", str(project / "other"))
    git.start_repository(project)
    assert (project / ".git" / "HEAD").is_file()
    assert not (project / "other").exists()
    assert list((project / ".git" / "refs" / "heads").iterdir()) == []


def test_a_git_that_fails_is_told_in_its_own_words(project: Path) -> None:
    """One line."""
    (project / ".git").write_text("nonsense")
    with pytest.raises(ScaffoldError, match=r"git init failed in .*: fatal: ") as raised:
        git.start_repository(project)
    assert "\n" not in str(raised.value)


def test_paths_are_those_of_the_project(project: Path) -> None:
    """With slashes, on every system."""
    assert PurePosixPath(ENTRY) in {change.path for change in plan(project, BLANK, "bot").changes}
