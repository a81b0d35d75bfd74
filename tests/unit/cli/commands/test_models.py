"""``arkor models``: what it takes from the process that looks after models."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from arkor.cli import cli


def test_what_a_library_prints_meanwhile_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where it happens to be JSON."""
    program = tmp_path / "python"
    program.write_text("""#!/bin/sh\nprintf '%s\\n' Loading 42 null '{"id": "small", "ready": true}'\n""")
    program.chmod(0o755)
    monkeypatch.setattr("arkor.client.local_backend.check_packages", lambda: None)
    monkeypatch.setattr(sys, "executable", str(program))
    listed = CliRunner().invoke(cli, ["models", "list"])
    assert (listed.exit_code, listed.output.split()) == (0, ["small", "ready"])
