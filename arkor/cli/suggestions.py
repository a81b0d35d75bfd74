"""The command that a misspelt or foreign word stands for: suggested in an error, never run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import click

FARTHEST_OURS, FARTHEST_FOREIGN = 0.6, 0.8  # ratios of difflib
SHORTEST_MISSPELT = 5  # shorter words are near to too many others: "stat" to "start"
# What other tools, and other people, call it. Checked before the spelling: "status" is spelt much like "start".
_FOREIGN: Mapping[str, Mapping[str, str]] = {
    "arkor": {
        "arkor attach": "follow join tail wait watch",
        "arkor build": "bundle compile pack package",
        "arkor cancel": "abort halt interrupt kill stop terminate",
        "arkor chat": "ask complete generate infer inference predict prompt query talk",
        "arkor dataset check": "check data datasets lint rows validate verify",
        "arkor dataset show": "preview tokenize tokens",
        "arkor dev": "board dashboard gui open page playground studio tensorboard ui web",
        "arkor download": "adapter adapters artifact artifacts checkpoints fetch get",
        "arkor evaluate": "benchmark compare eval score test",
        "arkor export": "convert merge merged save",
        "arkor import": "bring register-adapter upload",
        "arkor init": "add create make new project scaffold setup template",
        "arkor jobs": "find history list ll ls ps queue runs stat state states stats status top",
        "arkor jobs delete": "clean del delete destroy purge remove rm",
        "arkor jobs pause": "hold pause suspend",
        "arkor jobs prune": "gc prune",
        "arkor jobs resume": "continue proceed recover restore resume",
        "arkor jobs show": "cat describe inspect show view",
        "arkor jobs unpause": "unpause",
        "arkor login": "account auth authenticate authorize key register sign-in signin signup",
        "arkor logout": "sign-out signout unregister",
        "arkor logs": "events output stderr stdout",
        "arkor metrics": "chart curve curves figures loss plot",
        "arkor models list": "catalog catalogue",
        "arkor models pull": "pull",
        "arkor reproduce": "again repeat replicate replay",
        "arkor serve": "backend daemon host up",
        "arkor server backup": "backup dump snapshot",
        "arkor start": "exec go launch rerun restart retry run submit trainer",
        "arkor train": "fine-tune finetune fit sft tune",
        "arkor whoami": "config env id identity info me who",
        "arkor --help": "commands help man usage",
        "arkor --version": "version",
    },
    "arkor dataset": {
        "arkor dataset check": "lint list stats test validate verify",
        "arkor dataset show": "cat inspect preview print render tokenize tokens view",
    },
    "arkor jobs": {
        "arkor attach": "attach follow wait watch",
        "arkor cancel": "abort cancel kill stop",
        "arkor download": "download fetch",
        "arkor jobs": "all list ll ls ps status",
        "arkor jobs delete": "del destroy remove rm",
        "arkor jobs pause": "hold suspend",
        "arkor jobs prune": "clean gc purge",
        "arkor jobs resume": "continue recover restart restore retry",
        "arkor jobs show": "cat describe get info inspect view",
        "arkor logs": "events log logs",
        "arkor metrics": "loss metrics",
        "arkor start": "create launch new run start submit train",
    },
    "arkor models": {
        "arkor chat": "chat run",
        "arkor models list": "all ls ps show status",
        "arkor models pull": "add download fetch get install",
    },
    "arkor server": {
        "arkor serve": "launch run serve start up",
        "arkor server backup": "copy dump save snapshot",
        "arkor server restore": "import load recover",
    },
}


class SuggestingGroup(click.Group):
    """A group that answers an unknown command with the one that was probably meant."""

    def resolve_command(  # noqa: D102 (as click's)
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if self.get_command(ctx, args[0]) is None and not args[0].startswith("-") and not ctx.resilient_parsing:
            meant = suggestion(ctx.command_path, args[0], self.list_commands(ctx))
            if meant is not None:
                raise click.UsageError(f"No such command '{args[0]}'. Did you mean '{meant}'?", ctx)
        return super().resolve_command(ctx, args)


def suggestion(group: str, word: str, commands: Iterable[str]) -> str | None:
    """Return the command line that an unknown word of a group most likely stands for; None if there is no such one.

    Args:
        group: the group as it is typed, such as ``arkor jobs``.
        word: the unknown word.
        commands: the names of the group's commands.
    """
    ours = {name: f"{group} {name}" for name in commands}
    foreign = {name: line for line, names in _FOREIGN.get(group, {}).items() for name in names.split()}
    lines, key = {**foreign, **ours}, word.lower()
    near = key if key in lines else _nearest(key, ours, [name for name in foreign if len(name) >= SHORTEST_MISSPELT])
    return lines[near] if near else None


def _nearest(word: str, ours: Iterable[str], foreign: Iterable[str]) -> str | None:
    """Return the name that is spelled most like a word. One of ours may differ more, and wins a tie."""
    from difflib import SequenceMatcher

    names = [*((name, True, FARTHEST_OURS) for name in ours), *((name, False, FARTHEST_FOREIGN) for name in foreign)]
    found = [(SequenceMatcher(None, name, word).ratio(), is_ours, name, least) for name, is_ours, least in names]
    return max((one[:3] for one in found if one[0] >= one[3]), default=(0.0, False, None))[2]
