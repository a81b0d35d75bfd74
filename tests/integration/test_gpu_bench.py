"""``bench/gpu.py`` without a GPU: it trains, resumes and chats, and TRL alone does, too."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.training
@pytest.mark.timeout(600)
def test_the_table_has_all_figures() -> None:
    """A model of random weights on the processor; a kill changes no loss."""
    command = [sys.executable, "bench/gpu.py", "--cpu", "--steps", "8"]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=580).stdout
    lines = [line.strip("|").split("|") for line in said.splitlines() if line.startswith("| ")]
    figures = {what.strip(): [float(cell) for cell in cells if cell.strip()] for what, *cells in lines[1:]}
    assert list(figures) == [
        "start to first step, s",
        "a step, s",
        "loss at step 8",
        "kill to next step, s",
        "largest difference of a loss after it",
        "an answer, tokens/s",
    ]
    assert figures["largest difference of a loss after it"] == [pytest.approx(0.0, abs=1e-4)]
    ours, theirs = figures["loss at step 8"]
    assert ours == pytest.approx(theirs, rel=0.02)
