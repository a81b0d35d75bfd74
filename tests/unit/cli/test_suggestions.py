"""Unknown commands, and the one that each most likely stands for."""

from __future__ import annotations

import click
import pytest

from arkor.cli import cli
from arkor.cli.suggestions import _FOREIGN, suggestion


def group(line: str) -> click.Group:
    """Return the program, or one of its groups, by its command line."""
    found: click.Command | None = cli
    for name in line.split()[1:]:
        assert isinstance(found, click.Group)
        found = found.get_command(click.Context(found), name)
    assert isinstance(found, click.Group)
    return found


def suggested(line: str) -> str | None:
    """Return the suggestion for a command line whose last word is unknown."""
    before, _, word = line.rpartition(" ")
    names = group(before).list_commands(click.Context(cli))
    return suggestion(before, word, names)


@pytest.mark.parametrize(
    ("meant", "words"),
    [
        ("arkor jobs", "status ls ps list stat state stats Status statsu statu"),
        ("arkor start", "run strat Start submit"),
        ("arkor train", "trian Train finetune"),
        ("arkor cancel", "stop kill abort cancle"),
        ("arkor jobs pause", "pause suspend"),
        ("arkor jobs unpause", "unpause"),
        ("arkor jobs resume", "resume continue"),
        ("arkor init", "new create inti"),
        ("arkor dev", "ui studio studoi"),
        ("arkor jobs delete", "rm delete remove delte"),
        ("arkor login", "auth signin"),
        ("arkor build", "Build biuld"),
        ("arkor jobs", "job"),
        ("arkor logs", "log"),
        ("arkor whoami", "me"),
        ("arkor --help", "help"),
        ("arkor --version", "version"),
    ],
)
def test_a_word_of_another_tool_or_a_misspelt_one_has_its_command(meant: str, words: str) -> None:
    """By its meaning first, then by its spelling."""
    assert {word: suggested(f"arkor {word}") for word in words.split()} == dict.fromkeys(words.split(), meant)


@pytest.mark.parametrize(
    ("line", "meant"),
    [
        ("arkor jobs ls", "arkor jobs"),
        ("arkor jobs rm", "arkor jobs delete"),
        ("arkor jobs stop", "arkor cancel"),
        ("arkor jobs shwo", "arkor jobs show"),
        ("arkor jobs continue", "arkor jobs resume"),
        ("arkor jobs suspend", "arkor jobs pause"),
        ("arkor jobs unpuase", "arkor jobs unpause"),
        ("arkor models download", "arkor models pull"),
        ("arkor models lits", "arkor models list"),
        ("arkor dataset validate", "arkor dataset check"),
    ],
)
def test_a_group_suggests_whole_command_lines(line: str, meant: str) -> None:
    """Some of what is asked of a group is another command's."""
    assert suggested(line) == meant


@pytest.mark.parametrize("word", ["zzz", "stop-everything-now", "-x", "日本"])
def test_a_word_like_no_other_has_no_suggestion(word: str) -> None:
    """Nothing is made up."""
    assert suggested(f"arkor {word}") is None


@pytest.mark.parametrize("line", _FOREIGN)
def test_every_suggestion_is_a_command_and_no_word_is_one(line: str) -> None:
    """Each word leads to one line, which exists."""
    words = [word for words in _FOREIGN[line].values() for word in words.split()]
    assert len(words) == len(set(words))
    assert not set(words) & set(group(line).list_commands(click.Context(cli))) - {"jobs"}
    for meant in _FOREIGN[line]:
        *parents, name = meant.split()
        if not name.startswith("-"):
            assert group(" ".join(parents) or "arkor").get_command(click.Context(cli), name) is not None


def test_the_summary_of_a_command_agrees_with_its_help() -> None:
    """The list of commands is kept apart from them, so that it needs no import."""
    context = click.Context(cli)
    from arkor.cli import _COMMANDS

    for name, summary in _COMMANDS.items():
        command = cli.get_command(context, name)
        assert command is not None
        assert (command.help or "").partition("\n\n")[0].replace("\n", " ") == summary
