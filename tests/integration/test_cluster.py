"""The example of a whole installation, run as its reader would run it."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("psutil")

from tests.support.backend import ROOT
from tests.support.processes import processes_of
from tests.support.ray_cluster import require_ray


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder with a short name, as sockets lie below it; PostgreSQL may run as a user of its own."""
    with tempfile.TemporaryDirectory(prefix="c-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.mark.timeout(400)
def test_the_example_trains_on_a_cluster_and_leaves_nothing(model_home: Path, tmp_path: Path, folder: Path) -> None:
    require_ray()
    (tmp_path / ".arkor").mkdir()
    (tmp_path / ".arkor" / "models").symlink_to(model_home / ".arkor" / "models")
    command = [sys.executable, str(ROOT / "examples" / "cluster" / "cluster.py"), "--steps", "2"]
    environment = {**os.environ, "HOME": str(tmp_path), "TMPDIR": str(folder)}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=380, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    told = ended.stdout.splitlines()
    assert [line for line in told if line.startswith("step ")] != []
    assert [line for line in told if line.startswith("the second server has adapter: ")] != []
    assert told[-1] == "everything has ended"
    assert [path.name for path in folder.iterdir() if path.name.startswith(("arkor-", "ray-"))] == []
    assert processes_of(folder) == []
