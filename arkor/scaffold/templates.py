"""The templates of ``arkor init``: what each is about, and its files.

The files lie beside this module, in ``files/``. In those that end in ``.txt`` the values of one project are filled in.
"""

from __future__ import annotations

import importlib.resources
import json
import string
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable  # Python 3.11; the type checker alone reads it

ENTRY = "src/arkor/index.py"
GITIGNORE = ".gitignore"
_COMMON = {GITIGNORE: "gitignore.txt", "src/arkor/trainer.py": "{0}/trainer.py.txt", ENTRY: "index.py.txt"}
_OWN = {"README.md": "{0}/README.md.txt", **_COMMON}
_CLOUD = {"README.md": "cloud/README.md.txt", **_COMMON}


@attrs.frozen(kw_only=True)
class Template:
    """One kind of project.

    Attributes:
        name: what ``--template`` calls it.
        summary: what it is, in a line.
        about: what its README begins with, where that is not the file's own text.
        is_local: whether it trains on the user's own machine.
        before: what to do before the first training, as lines of a shell.
        start: the command that trains.
        sources: the files in ``files/`` by their paths in the project. The entry is the last one, so that no project
            whose making was broken off looks complete.
    """

    name: str
    summary: str
    about: str = ""
    is_local: bool = True
    before: Sequence[str] = ()
    start: str = "arkor start --local"
    sources: Mapping[str, str] = attrs.field(factory=lambda: _OWN, hash=False)

    @property
    def extra(self) -> str:
        """The extra of arkor that the project needs; empty if it needs none."""
        return "local" if self.is_local else ""

    def render(self, name: str, install: str) -> dict[PurePosixPath, bytes]:
        """Return the content of each file of a project, by its path in it.

        Args:
            name: what the project and its trainer are called; one line of printable text.
            install: the shell command that installs what it needs.
        """
        values = {
            "name": python_literal(name),
            "title": name,
            "about": self.about,
            "dataset": f"arkorlab/{self.name}-demo",
            "install": install,
        }
        return {
            PurePosixPath(path): _filled_in(source.format(self.name), values) for path, source in self.sources.items()
        }


def _filled_in(source: str, values: Mapping[str, str]) -> bytes:
    content = _files().joinpath(source).read_bytes()
    return string.Template(content.decode()).substitute(values).encode() if source.endswith(".txt") else content


def _files() -> Traversable:
    return importlib.resources.files("arkor.scaffold") / "files"


def python_literal(text: str) -> str:
    """Return printable text as Python source: in double quotes, unless that takes more backslashes than single ones."""
    return repr(text) if text.count('"') > text.count("'") else json.dumps(text, ensure_ascii=False)


TEMPLATES: Mapping[str, Template] = {
    template.name: template
    for template in (
        Template(
            name="local",
            summary="orders of a coffee bar become tickets; trains on this machine, in minutes",
            sources={"data/orders.jsonl": "{0}/orders.jsonl", "compare.py": "{0}/compare.py.txt", **_OWN},
        ),
        Template(
            name="triage",
            summary="support tickets get a category, an urgency and a next action; Arkor Cloud, about 7 minutes",
            about=(
                "A language model learns to triage support tickets. Its answer is a JSON object with `category`,\n"
                "`urgency`, `summary` and `nextAction`."
            ),
            is_local=False,
            start="arkor start",
            sources=_CLOUD,
        ),
        Template(
            name="translate",
            summary="messages in nine languages become English; Arkor Cloud, about 7 minutes",
            about=(
                "A language model learns to translate messages to a support desk, in nine languages. Its answer is a\n"
                "JSON object with `translation` and `detectedLanguage`."
            ),
            is_local=False,
            start="arkor start",
            sources=_CLOUD,
        ),
        Template(
            name="redaction",
            summary="personal data is struck out of texts; Arkor Cloud, about 12 minutes",
            about=(
                "A language model learns to strike personal data out of texts. Its answer is a JSON object with\n"
                "`redactedText`, `redactedCount` and `tags`, such as `EMAIL`."
            ),
            is_local=False,
            start="arkor start",
            sources=_CLOUD,
        ),
        Template(
            name="blank",
            summary="the smallest trainer, for your own rows",
            before=("# put your rows into data/rows.jsonl", "arkor dataset check data/rows.jsonl"),
        ),
    )
}
DEFAULT = TEMPLATES["local"]
# For a project that has its entry already, whatever it trains.
AROUND = Template(
    name="",
    summary="what a project needs around its trainer",
    is_local=False,
    start="arkor start        # on this machine: arkor start --local",
    sources={GITIGNORE: _COMMON[GITIGNORE], ENTRY: _COMMON[ENTRY]},
)
