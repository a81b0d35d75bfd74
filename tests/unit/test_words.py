"""Plain words: documents and help texts keep to nouns, and away from the words that stand in for them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import click
import pytest

from arkor.cli import cli

WORDS = frozenset(["where", "what", "whoever", "whatever", "none", "nobody", "anew", "told", "tells", "behind", "such"])
MOST_PER_1000 = 8.0
_CODE = re.compile(r"^(?P<fence>```|~~~).*?^(?P=fence)|`[^`\n]*`|^ {4}\S.*$", re.MULTILINE | re.DOTALL)


def helps(command: click.Command = cli, line: str = "arkor") -> Iterator[str]:
    """Yield the help of every command, as ``--help`` prints it."""
    context = click.Context(command, info_name=line)
    yield command.get_help(context)
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            assert inner is not None
            yield from helps(inner, f"{line} {name}")


# Each document with what returns its text.
DOCUMENTS: dict[str, Callable[[], str]] = {"arkor --help": lambda: "\n".join(helps())}


def prose(markdown: str) -> str:
    """Return a text of Markdown without its code."""
    return _CODE.sub(" ", markdown)


def share(text: str) -> tuple[float, list[str]]:
    """Return how many of the words there are for every 1,000 words of a text, and which."""
    words = re.findall(r"[a-z]+(?:'[a-z]+)?", text.lower())
    found = [word for word in words if word in WORDS]
    return 1000 * len(found) / len(words), found


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_document_is_written_in_plain_words(name: str) -> None:
    """At most 8 of the words in every 1,000, as in the documents of httpx or flask."""
    text = DOCUMENTS[name]()
    rate, found = share(text)
    assert len(text.split()) > 100
    assert rate <= MOST_PER_1000, found


def test_the_counting_is_right() -> None:
    """Whole words in any case, outside of code."""
    text = "Where is it? `what` none-such\n```sh\nwhat\n```\n~~~\nwhat\n~~~\nSomewhere nowhere.\n"
    assert share(prose(text))[1] == ["where", "none", "such"]
