"""The templates of ``arkor init``: what each is about, and its files.

The files lie beside this module, in ``files/``. In those that end in ``.txt`` the values of one project are filled in.
"""

from __future__ import annotations

import importlib.resources
import json
import string
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import attrs

from arkor.text import many

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
        after: what to do after it, as lines of a shell.
        sources: the files in ``files/`` by their paths in the project. The entry is the last one, so that no project
            whose making was broken off looks complete.
        values: further values to fill in.
        copies: files of the user that are copied, by their paths in the project.
    """

    name: str
    summary: str
    about: str = ""
    is_local: bool = True
    before: Sequence[str] = ()
    start: str = "arkor start --local"
    after: Sequence[str] = ()
    sources: Mapping[str, str] = attrs.field(factory=lambda: _OWN, hash=False)
    values: Mapping[str, str] = attrs.field(factory=dict, hash=False)
    copies: Mapping[PurePosixPath, Path] = attrs.field(factory=dict, hash=False)

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
            **self.values,
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


def of_rows(
    file: Path, *, rows: int, asks: bool, columns: Mapping[str, str] | None, model: str, settings: Mapping[str, Any]
) -> Template:
    """Return the template of a project that trains on a user's file, which is copied into it.

    Args:
        file: the file of rows.
        rows: how many it has.
        asks: whether its rows are questions with answers, so that two models can be compared on them.
        columns: new names of its columns by their old ones, or None.
        model: the model to train.
        settings: further settings of the trainer, by their keywords; values of JSON.
    """
    copy = PurePosixPath("data", file.name)
    renamed = f", columns={_literal(dict(columns))}" if columns else ""
    compare = "python compare.py JOB"
    return Template(
        name="data",
        summary="your own rows",
        after=(compare,) if asks else (),
        sources={**({"compare.py": "{0}/compare.py.txt"} if asks else {}), **_OWN},
        copies={copy: file},
        values={
            "rows": str(copy),
            "count": many(rows, "row"),
            "dataset": f"LocalDataset({_literal(str(copy))}{renamed})",
            "model": _literal(model),
            "model_name": model,
            "settings": "\n".join(_lines(settings)),
            "compare": f"\n$ {compare}         # compare the adapter with the base model" if asks else "",
        },
    )


def _lines(settings: Mapping[str, Any]) -> Iterator[str]:
    for keyword, value in settings.items():
        if keyword == "eval_steps":
            yield "    # Held-out rows are not learned. For facts, remove these two lines: then all rows are."
        yield f"    {keyword}={_literal(value)},"


def _literal(value: Any) -> str:
    """Return a value of JSON as Python source."""
    return python_literal(value) if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
