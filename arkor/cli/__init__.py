"""The command line: a command parses, calls one function of the library, and prints."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

import click

from arkor.version import __version__

_COMMANDS = {
    "attach": ("arkor.cli.commands.attach", "Follow a job to its end."),
    "build": ("arkor.cli.commands.build", "Bundle the training entry into one file."),
    "cancel": ("arkor.cli.commands.cancel", "Stop a job."),
    "chat": ("arkor.cli.commands.chat", "Talk to what a job trained, or to a model."),
    "dataset": ("arkor.cli.commands.dataset", "Look at a file of rows before it is trained on."),
    "dev": ("arkor.cli.commands.dev", "Serve Studio, a page to train, watch and chat."),
    "download": ("arkor.cli.commands.download", "Fetch what a job left."),
    "init": ("arkor.cli.commands.init", "Set up a project."),
    "jobs": ("arkor.cli.commands.jobs", "List the project's jobs, show one, or delete some."),
    "login": ("arkor.cli.commands.login", "Log in, with an account or anonymously."),
    "logout": ("arkor.cli.commands.logout", "Remove the identity that is stored."),
    "logs": ("arkor.cli.commands.logs", "Show what a job has told so far."),
    "metrics": ("arkor.cli.commands.metrics", "Show the history of a job's figures."),
    "models": ("arkor.cli.commands.models", "Models the backend on this machine knows by name."),
    "serve": ("arkor.cli.commands.serve", "Run a backend that scripts reach by its URL."),
    "start": ("arkor.cli.commands.start", "Run the project's trainer."),
    "whoami": ("arkor.cli.commands.whoami", "Say who you are to the backend."),
}


class _LazyGroup(click.Group):
    """A group that imports a command's module only when that command is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        command: click.Command = getattr(importlib.import_module(_COMMANDS[cmd_name][0]), cmd_name)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        near = [] if args[0] in _COMMANDS else _nearest(args[0])
        if near and not ctx.resilient_parsing:
            raise click.UsageError(f"No such command '{args[0]}'. Did you mean '{near[0]}'?", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in sorted(_COMMANDS.items())])


def _nearest(name: str) -> list[str]:
    from difflib import get_close_matches

    return get_close_matches(name, _COMMANDS, n=1)


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="arkor")
@click.option("--debug", is_flag=True, help="Show the whole traceback of an error; goes anywhere.")
def cli(debug: bool) -> None:
    """Fine-tune open-weight language models from plain Python.

    \b
    Exit codes: 0 completed; 1 the job failed or was cancelled; 2 usage, entry,
    build and data errors; 3 could not find out; 124 timeout; 130 interrupted.

    \b
    Example: arkor start --local
    """


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit the process with its code."""
    from arkor.cli.exits import run_and_exit

    run_and_exit(cli, list(sys.argv[1:] if arguments is None else arguments))
