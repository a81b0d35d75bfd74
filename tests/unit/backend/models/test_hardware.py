"""What a machine has."""

from __future__ import annotations

from pathlib import Path

import pytest

from arkor.backend.models import hardware


@pytest.mark.parametrize(
    ("machine", "text", "found"),
    [
        ("x86_64", "processor\t: 0\nflags\t\t: fpu avx2\n\nprocessor\t: 1\nflags\t\t: fpu\n", {"fpu", "avx2"}),
        ("AMD64", None, None),
        ("x86_64", "processor\t: 0\n", None),
        ("aarch64", "processor\t: 0\nflags\t\t: fpu\n", None),
    ],
)
def test_the_instructions_of_an_x86_processor(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, machine: str, text: str | None, found: set[str] | None
) -> None:
    """As Linux names them; None where nothing names them."""
    monkeypatch.setattr("platform.machine", lambda: machine)
    monkeypatch.setattr(hardware, "_CPU_INFO", tmp_path / "cpuinfo")
    if text is not None:
        (tmp_path / "cpuinfo").write_text(text)
    assert hardware.x86_instructions() == found
