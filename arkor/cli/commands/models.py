"""``arkor models``: the models that the backend on this machine knows by name."""

from __future__ import annotations

import contextlib
import json
import subprocess
from collections.abc import Iterator
from typing import Any

import click

from arkor.cli.display.phase_bars import PhaseBars
from arkor.cli.suggestions import SuggestingGroup
from arkor.errors import ModelError
from arkor.system.processes import child, module_command


@click.group(cls=SuggestingGroup)
def models() -> None:
    """List and fetch models for training on this machine.

    \b
    Example: arkor models list
    """


@models.command()
@click.argument("name")
def pull(name: str) -> None:
    """Fetch a model, so that training starts without a download.

    NAME: a name from arkor models list.

    \b
    Example: arkor models pull smollm2-135m
    """
    from arkor.client.local_backend import check_packages

    check_packages()
    with PhaseBars() as bars:
        for report in _lines("pull", name):
            if "error" in report:
                raise ModelError(report["error"])
            bars.update({**report, "model": name})
    click.echo(f"Model {name} is ready.")


@models.command("list")
def list_models() -> None:
    """List the named models and whether they are ready.

    Besides these names, a trainer accepts any Hugging Face model id and any folder with a model.

    \b
    Example: arkor models list
    """
    from arkor.client.local_backend import check_packages

    check_packages()
    for model in _lines("list"):
        size = f"{model['sizeBytes'] / 2**20:.0f} MiB" if model.get("sizeBytes") else ""
        click.echo(f"{model['id']:30} {'ready' if model['ready'] else 'not fetched':12} {size}".rstrip())


def _lines(*arguments: str) -> Iterator[dict[str, Any]]:
    """Yield what the backend's model command prints; torch stays out of this process."""
    command = module_command("arkor.backend.models", *arguments)
    with child(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None  # PIPE
        for line in process.stdout:
            with contextlib.suppress(ValueError):  # a library's chatter
                report = json.loads(line)
                if isinstance(report, dict):
                    yield report
    if process.returncode != 0:
        raise ModelError(f"The model command failed with exit code {process.returncode}.")
