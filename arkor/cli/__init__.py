"""The command line: each command parses its arguments, calls one function of the library, and prints."""

from __future__ import annotations

import importlib
import keyword
import sys
from collections.abc import Sequence

import click

from arkor.cli.suggestions import SuggestingGroup
from arkor.version import __version__

_SECTIONS: dict[str, dict[str, str]] = {
    "Project": {
        "init": "Set up a project.",
        "build": "Bundle the training entry into one file.",
        "start": "Run the project's trainer.",
        "train": "Train a model on a file of rows, without a project.",
        "dev": "Open Studio, a web page to train, watch and chat.",
    },
    "Jobs": {
        "jobs": "List, show, pause, resume or delete the project's jobs.",
        "attach": "Follow a job to its end.",
        "logs": "Print a job's events.",
        "metrics": "Print a job's metrics: loss, learning rate, speed.",
        "cancel": "Stop a job.",
        "evaluate": "Find out whether a job's adapter is better than its base model.",
        "report": "Print the newest report of a job.",
        "download": "Download a job's adapter and checkpoints.",
        "export": "Make a folder of a job's adapter that other programs load.",
        "import": "Make a finished job of a LoRA adapter that was trained elsewhere.",
        "reproduce": "Train a job once more, and compare the adapters byte by byte.",
    },
    "Models and data": {
        "chat": "Chat with a trained adapter or a base model.",
        "models": "List and fetch models for training on this machine.",
        "dataset": "Check rows before training, and see them as a model does.",
    },
    "Account and servers": {
        "login": "Log in, with an account or anonymously.",
        "logout": "Log out, and remove the stored identity.",
        "whoami": "Show your identity and the project of this folder.",
        "serve": "Run a backend that other programs reach by its URL.",
        "server": "Back up the data of a server, and restore them.",
    },
}
_COMMANDS = {name: summary for commands in _SECTIONS.values() for name, summary in commands.items()}


class _LazyGroup(SuggestingGroup):
    """A group that imports a command's module only when that command is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        name = f"{cmd_name}_" if keyword.iskeyword(cmd_name) else cmd_name
        command: click.Command = getattr(importlib.import_module(f"arkor.cli.commands.{name}"), name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        widest = max(map(len, _COMMANDS))
        for title, commands in _SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(name.ljust(widest), summary) for name, summary in commands.items()])


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="arkor")
@click.option("--debug", is_flag=True, help="Show the traceback of an error. Allowed anywhere on the line.")
def cli(debug: bool) -> None:
    """Fine-tune open-weight language models from plain Python.

    \b
    Example: arkor start --local

    \b
    Exit codes:
      0    completed
      1    the job, evaluation or export failed or was cancelled, or bytes differ
      2    usage, entry, build or data error
      3    no answer, not logged in, not permitted, or no project
      130  interrupted (Ctrl-C); 129, 143: by SIGHUP, SIGTERM; 124: timeout
    """


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit the process with its code."""
    from arkor.cli.exits import run_and_exit

    run_and_exit(cli, list(sys.argv[1:] if arguments is None else arguments))
