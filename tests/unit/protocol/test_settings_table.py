"""The table of settings in docs/protocol.md is the one of the code.

``python -m tests.unit.protocol.test_settings_table`` writes it anew.
"""

from __future__ import annotations

from pathlib import Path

from arkor.protocol.config import SETTINGS
from arkor.protocol.wire import wire_name

DOCUMENT = Path(__file__).parents[3] / "docs" / "protocol.md"
HEAD = "| field | meaning | range | when absent |\n|---|---|---|---|\n"


def _table() -> str:
    rows = (
        f"| `{wire_name(setting.name)}` | {setting.meaning} | {setting.check.words} | {setting.default} |\n"
        for setting in SETTINGS.values()
    )
    return HEAD + "".join(rows)


def _parts() -> tuple[str, str, str]:
    """Return the document before the table, the table, and the document after it."""
    before, head, rest = DOCUMENT.read_text(encoding="utf-8").partition(HEAD)
    rows, _, after = rest.partition("\n\n")
    return before, f"{head}{rows}\n", f"\n{after}"


def test_the_documented_settings_are_those_of_the_code() -> None:
    """Meaning, range and default of each; run this file as a module to write them anew."""
    assert _parts()[1] == _table()


if __name__ == "__main__":
    before, _, after = _parts()
    DOCUMENT.write_text(before + _table() + after, encoding="utf-8")
