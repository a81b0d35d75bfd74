"""A project has a folder ``src/arkor`` without ``__init__.py``: nobody takes it for the installed package."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.sources import write_sources

FILES = {
    "src/arkor/index.py": "import arkor\nfrom .trainer import VALUE\nFOUND = (arkor.__version__, VALUE)\n",
    "src/arkor/trainer.py": "from arkor import create_trainer\nVALUE = create_trainer\n",
}
TEST = "import arkor\nfrom arkor import Trainer\n\ndef test_it():\n    assert arkor.__file__ == {!r}\n"


@pytest.mark.parametrize("folder", [".", "src"])
def test_python_finds_the_installed_package(project: Path, installed: Path, folder: str) -> None:
    """From the project's root and from its src folder, which are then first on the path."""
    write_sources(project, FILES)
    code = "import arkor, arkor.trainer.trainer; print(arkor.__file__, arkor.trainer.trainer.__file__)"
    ended = subprocess.run(
        [sys.executable, "-c", code], cwd=project / folder, capture_output=True, text=True, check=True, timeout=30
    )
    assert ended.stdout.split() == [str(installed / "__init__.py"), str(installed / "trainer" / "trainer.py")]


@pytest.mark.parametrize("settings", ["", "pythonpath = src\n"])
def test_pytest_finds_the_installed_package(
    project: Path, installed: Path, monkeypatch: pytest.MonkeyPatch, settings: str
) -> None:
    """In a user's own tests, with src on its path and without."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")  # those of this environment take seconds to load
    test = TEST.format(str(installed / "__init__.py"))
    write_sources(project, {**FILES, "tests/test_it.py": test, "pytest.ini": f"[pytest]\n{settings}"})
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    ended = subprocess.run(command, cwd=project, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 0, ended.stdout


@pytest.mark.usefixtures("installed")
@pytest.mark.skipif(importlib.util.find_spec("pyright") is None, reason="pyright is not installed")
def test_pyright_finds_the_installed_package(project: Path) -> None:
    """It reads the names of the package, and the user's own modules by their relative imports."""
    write_sources(project, {**FILES, "wrong.py": "from arkor import Trainer\nTrainer.nosuch\n"})
    command = [sys.executable, "-m", "pyright", "--outputjson", "--pythonpath", sys.executable]
    ended = subprocess.run(command, cwd=project, capture_output=True, text=True, timeout=60, check=False)
    said = json.loads(ended.stdout)["generalDiagnostics"]
    errors = [one for one in said if one["severity"] == "error"]
    assert [(Path(one["file"]).name, one["rule"]) for one in errors] == [("wrong.py", "reportAttributeAccessIssue")]
