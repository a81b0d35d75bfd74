"""What all commands have in common: help, errors, completion, and how they are called."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from arkor.cli import cli
from tests.support.cloud import Cloud
from tests.support.commands import Command, run
from tests.support.sources import write_sources
from tests.support.terminal import Terminal

INDEX = "src/arkor/index.py"
FAILS = "def train():\n    return 1 / 0\n\n\ntrain()\n"


def every_command(command: click.Command = cli, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield every command and every group."""
    yield path
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            assert inner is not None
            yield from every_command(inner, (*path, name))


@pytest.fixture
def arkor_on_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make ``arkor`` a command of the shell, as an installation does."""
    script = tmp_path / "arkor"
    script.write_text(f'#!/bin/sh\nexec {sys.executable} -m arkor "$@"\n')
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")


# Help


@pytest.mark.parametrize("command", list(every_command()), ids=" ".join)
def test_every_command_and_every_group_helps(command: tuple[str, ...]) -> None:
    """With an example to copy and exit code 0, on a terminal and in a pipe."""
    piped = Command(*command, "-h")
    with Terminal(*command, "--help") as terminal:
        code, seen = terminal.end()
    ended = piped.end()
    assert (code, ended.code) == (0, 0)
    for text in (seen, ended.out):
        assert f"Usage: {' '.join(['arkor', *command])}" in text
        assert f"Example: arkor {' '.join(command)}" in text


# How it is called


def test_the_command_line_is_a_module_too() -> None:
    """``python -m arkor``."""
    ended = Command("--version", program=("-m", "arkor")).end()
    assert (ended.code, ended.out.split()[0]) == (0, "arkor,")


def test_without_a_command_the_help_is_shown() -> None:
    """Nothing was asked for, which is wrong usage."""
    ended = run()
    assert ended.code == 2
    assert "Project:\n  init " in ended.err


@pytest.mark.parametrize(
    ("wrong", "meant"),
    [
        (("strat",), "arkor start"),
        (("status",), "arkor jobs"),
        (("jobs", "rm"), "arkor jobs delete"),
        (("models", "ls"), "arkor models list"),
    ],
)
def test_an_unknown_command_is_answered_with_a_suggestion(wrong: tuple[str, ...], meant: str) -> None:
    """In the program and in its groups; nothing is run."""
    ended = run(*wrong)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.endswith(f"Error: No such command '{wrong[-1]}'. Did you mean '{meant}'?\n")


def test_a_command_like_no_other_is_told_where_the_list_is() -> None:
    """Nothing is made up."""
    ended = run("zzz")
    assert ended.code == 2
    assert "Did you mean" not in ended.err
    assert "Try 'arkor --help' for help." in ended.err


@pytest.mark.usefixtures("arkor_on_path")
@pytest.mark.parametrize(("words", "completed"), [("arkor st", "start"), ("arkor start --loc", "--local")])
def test_bash_completes_commands_and_options(words: str, completed: str) -> None:
    """With the line of docs/commands.md, in a real shell."""
    script = (
        'eval "$(_ARKOR_COMPLETE=bash_source arkor)"\n'
        f"COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))\n"
        '_arkor_completion arkor; echo "${COMPREPLY[@]}"'
    )
    ended = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=30, check=True)
    assert (ended.stdout.strip(), ended.stderr) == (completed, "")


@pytest.mark.usefixtures("arkor_on_path")
@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_there_is_completion_for_other_shells(shell: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The script they read, and what it asks for."""
    monkeypatch.setenv("_ARKOR_COMPLETE", f"{shell}_source")
    assert "_ARKOR_COMPLETE" in run().out
    monkeypatch.setenv("_ARKOR_COMPLETE", f"{shell}_complete")
    monkeypatch.setenv("COMP_WORDS", "arkor sta")
    monkeypatch.setenv("COMP_CWORD", "sta" if shell == "fish" else "1")
    assert "start" in run().out


# Errors


@pytest.mark.parametrize("arguments", [("--debug", "start"), ("start", "--debug"), ("start", "--debug", "--detach")])
def test_debug_goes_anywhere(project: Path, arguments: tuple[str, ...]) -> None:
    """The traceback, with the same exit code."""
    write_sources(project, {INDEX: FAILS})
    ended = run(*arguments)
    assert ended.code == 2
    assert f'File "{project / INDEX}", line 2, in train\n    return 1 / 0' in ended.err


def test_after_two_dashes_debug_is_an_argument(project: Path) -> None:
    """As everything is."""
    ended = run("build", "--", "--debug")
    assert ended.code == 2
    assert ended.err.startswith(f"Error: Build entry not found: {project}/--debug.")


def test_without_debug_an_error_is_one_line_that_names_it(project: Path) -> None:
    """What, where, and how to see more."""
    write_sources(project, {INDEX: FAILS})
    ended = run("start")
    assert (ended.code, ended.err) == (
        2,
        f"Error: {project / INDEX}:2: ZeroDivisionError: division by zero (--debug shows the whole traceback)\n",
    )


@pytest.mark.parametrize(
    ("value", "term", "coloured"), [("", "xterm", True), ("1", "xterm", False), ("", "dumb", False)]
)
def test_no_color_is_honoured(value: str, term: str, coloured: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """So is a terminal that has no colours; an empty value means nothing."""
    monkeypatch.setenv("NO_COLOR", value)
    code = (
        "import click\nfrom arkor.cli import cli, main\n"
        "cli.commands['x'] = click.command('x')(lambda: click.secho('text', fg='red'))\n"
        "type(cli).get_command = lambda self, ctx, name: cli.commands[name]\nmain(['x'])"
    )
    with Terminal(program=("-c", code), term=term) as terminal:
        assert terminal.end() == (0, "\x1b[31mtext\x1b[0m\n" if coloured else "text\n")


# Artifacts


def test_start_says_that_a_source_has_changed(arkor_cloud: Cloud, project: Path) -> None:
    """One line; the artifact runs as it is. Nothing is said of a file that was only touched."""
    source = (
        "from arkor import create_trainer\nfrom .name import NAME\n"
        "trainer = create_trainer(name=NAME, model='m', dataset={'type': 'huggingface', 'name': 'a/b'})\n"
    )
    write_sources(project, {INDEX: source, "src/arkor/name.py": "NAME = 'built'\n"})
    run("build")
    (project / INDEX).touch()
    assert run("start").err == ""
    write_sources(project, {"src/arkor/name.py": "NAME = 'edited'\n"})
    ended = run("start")
    assert ended.code == 0
    assert ended.err == (
        "Warning: running .arkor/build/index.pyz, which is older than src/arkor/name.py. "
        "To run your edit: 'arkor build'. "
        "To let 'arkor start' rebuild by itself: delete .arkor/build/index.pyz.\n"
    )
    assert [job["name"] for job in arkor_cloud.jobs.values()] == ["built", "built"]


def test_the_artifact_itself_shows_the_users_own_lines(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run by Python from another folder, with its sources gone."""
    write_sources(project, {INDEX: FAILS})
    run("build")
    (project / INDEX).unlink()
    monkeypatch.chdir("/")
    ended = Command("--debug", program=(str(project / ".arkor/build/index.pyz"),)).end()
    assert ended.code == 2
    assert f'File "{project / INDEX}", line 2, in train\n    return 1 / 0' in ended.err
