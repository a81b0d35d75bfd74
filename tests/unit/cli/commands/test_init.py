"""What ``arkor init`` says about folders with strange names."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from arkor.cli.commands.init import init


@pytest.mark.parametrize(
    ("folder", "name", "shown"),
    [
        ("plain", "plain", "plain"),
        ("My Bot!", "my-bot", "'My Bot!'"),
        ("größer", "gr--er", "'größer'"),
        ("猫", "project", "'猫'"),
        ("it's", "it-s", "'it'\"'\"'s'"),
        ("a/b/c", "c", "a/b/c"),
        ("-y", "y", "./-y"),
        ("red\x1b[31m", "red--31m", "'red [31m'"),
    ],
)
def test_strange_folders_get_a_name_and_can_be_gone_to(folder: str, name: str, shown: str, project: Path) -> None:
    """The name is that of their project. The line with ``cd`` can be pasted, and is nothing that a terminal obeys."""
    ended = CliRunner().invoke(init, ["--template", "blank", "--skip-git", "--", folder])
    assert ended.exit_code == 0
    assert f'name="{name}",' in (project / folder / "src" / "arkor" / "trainer.py").read_text()
    assert f"  cd {shown}\n" in ended.output
