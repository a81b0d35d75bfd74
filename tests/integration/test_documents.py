"""What the documents show is run: the README's script, the examples, and the commands that they name."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from arkor.cli import cli
from tests.support.backend import ROOT, BackendProcess
from tests.support.tiny_model import write_tiny_model

TIMEOUT_S = 30.0


@pytest.fixture
def backend(home: Path) -> Iterator[BackendProcess]:
    """This user's own backend, with the small model in place and workers that train nothing."""
    running = BackendProcess(home / ".arkor" / "local")
    write_tiny_model(running.home / ".arkor" / "models" / "smollm2-135m")
    yield running.start()
    running.close()


def run_python(*arguments: str, cwd: Path) -> str:
    """Run Python in a folder; return what it printed."""
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env={**os.environ, "PYTHONWARNINGS": "error"},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def run_snippets(document: str, project: Path) -> str:
    """Run the Python of a document, where a later block goes on where the one before ended; return what it printed."""
    blocks = re.findall(r"^```python\n(.*?)^```", (ROOT / document).read_text(), re.DOTALL | re.MULTILINE)
    (project / "examples").symlink_to(ROOT / "examples")
    (project / "script.py").write_text("\n".join(blocks))
    return run_python("script.py", cwd=project)


def test_the_scripts_of_the_readme_run_as_they_stand(backend: BackendProcess, project: Path) -> None:
    """From the repository's folder, it trains and leaves an adapter."""
    printed = run_snippets("README.md", project)
    assert "step 20: loss 0.05" in printed
    assert "finished with status=completed" in printed
    assert printed.endswith('{"category": "technical"}')  # what the scripted model always says
    assert (project / "adapters" / "adapter" / "adapter_model.safetensors").is_file()


def test_the_scripts_about_waiting_run_as_they_stand(backend: BackendProcess, project: Path) -> None:
    """An abort and another wait, a remembered job, and a loop over events."""
    printed = run_snippets("docs/waiting.md", project)
    left, *statuses = printed.splitlines()
    assert re.fullmatch(r"left job job_\w+ alone after event \d+", left)
    assert statuses[:2] == ["completed", "completed"]
    assert [line.split()[0] for line in statuses[2:-1]] == ["1", "2", "3", "4", "5"]
    assert statuses[-1] == "training.started training.completed"
    assert not (project / "nightly.json").exists()


def test_the_demo_of_the_triage_example_runs(backend: BackendProcess, project: Path) -> None:
    """The script behind ``make demo``: falling losses, the status, and where the adapter is."""
    for name in ("src", "data", "demo.py", "evaluate.py"):
        (project / name).symlink_to(ROOT / "examples" / "triage" / name)
    printed = run_python("demo.py", "here", cwd=project)
    assert "step 60  loss 0.017" in printed
    assert re.search(r"The loss fell from 1\.000 to 0\.017", printed)
    assert "finished with status=completed" in printed
    assert f"Adapter: {project / 'here' / 'adapter'}" in printed
    assert "Asked the checkpoint of step 60: {'category': 'technical'}" in printed
    assert re.search(r"^valid JSON +20 +20$", printed, re.MULTILINE)


def commands(group: click.Group, path: str) -> Iterator[tuple[str, click.Command]]:
    """Yield every command below a group with its whole name."""
    for name in group.list_commands(click.Context(group)):
        command = group.get_command(click.Context(group), name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from commands(command, f"{path} {name}")
        if not isinstance(command, click.Group) or command.invoke_without_command:
            yield f"{path} {name}", command


def test_every_command_and_option_is_documented() -> None:
    """What there is no word about does not exist for its users."""
    rows = [line for line in (ROOT / "docs" / "commands.md").read_text().splitlines() if line.startswith("| `arkor ")]
    for name, command in commands(cli, "arkor"):
        row = "".join(row for row in rows if f"`{name}" in row)
        assert row, name
        options = [option for option in command.params if isinstance(option, click.Option)]
        assert [option.opts for option in options if not any(word in row for word in option.opts)] == [], name


def test_every_command_is_in_the_readme() -> None:
    """At least by its name."""
    readme = (ROOT / "README.md").read_text()
    for name in cli.list_commands(click.Context(cli)):
        assert re.search(rf"`(arkor )?{name}\b", readme), name
