"""``arkor metrics``, before it asks for anything."""

from __future__ import annotations

from click.testing import CliRunner

from arkor.cli.commands.metrics import metrics


def test_two_forms_at_once_are_refused() -> None:
    """Whoever reads it could take one for the other."""
    ended = CliRunner().invoke(metrics, ["job_1", "--csv", "--json"])
    assert (ended.exit_code, ended.stdout) == (2, "")
    assert "Use only one of --csv, --json and --plot." in ended.stderr
