"""The command that upgrades this copy of arkor, by how it was installed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import arkor
from arkor.system.upgrade import upgrade_command

PACKAGE = Path(arkor.__file__).parent


class Installed:
    """A copy in an environment of its own, with what its installer leaves there."""

    def __init__(self, folder: Path) -> None:
        self.environment = folder
        self.site = folder / "lib" / "python3.12" / "site-packages"
        self.package = self.site / "arkor"
        self.package.mkdir(parents=True)

    def by(self, installer: str | None) -> Installed:
        """Write the metadata that installers write."""
        metadata = self.site / "arkor-0.1.0.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: arkor\nVersion: 0.1.0\n")
        if installer is not None:
            (metadata / "INSTALLER").write_text(installer)
        return self

    @property
    def hint(self) -> str:
        """The command for this copy."""
        return upgrade_command(self.package, self.environment)


@pytest.mark.parametrize("installer", ["pip", "pip\n", "conda", "", None])
def test_pip_is_named_where_nothing_else_is_known(tmp_path: Path, installer: str | None) -> None:
    """It works in every environment that has it."""
    assert Installed(tmp_path / "env").by(installer).hint == "pip install --upgrade arkor"


def test_a_copy_without_metadata_is_pips(tmp_path: Path) -> None:
    """Nothing says more."""
    assert Installed(tmp_path / "env").hint == "pip install --upgrade arkor"


@pytest.mark.parametrize("installer", ["uv", "uv\n"])
def test_uv_is_named_where_it_installed_us(tmp_path: Path, installer: str) -> None:
    """An environment of uv has no pip."""
    assert Installed(tmp_path / "env").by(installer).hint == "uv pip install --upgrade arkor"


@pytest.mark.parametrize(
    ("lock", "hint"),
    [
        ('version = 1\n\n[[package]]\nname = "arkor"\nversion = "0.1.0"\n', "uv sync --upgrade-package arkor"),
        ('version = 1\n\n[[package]]\nname = "other"\nversion = "0.1.0"\n', "uv pip install --upgrade arkor"),
        ("\udcff", "uv pip install --upgrade arkor"),
    ],
    ids=["locked", "not-locked", "broken"],
)
def test_a_project_of_uv_upgrades_its_lock(tmp_path: Path, lock: str, hint: str) -> None:
    """Where arkor is in it: anything else would be undone by the next sync."""
    (tmp_path / "uv.lock").write_bytes(lock.encode(errors="surrogateescape"))
    assert Installed(tmp_path / ".venv").by("uv").hint == hint


@pytest.mark.parametrize(
    ("metadata", "hint"),
    [
        ({"main_package": {"package": "arkor"}}, "pipx upgrade arkor"),
        ({"main_package": {"package": "jupyterlab"}}, "pipx upgrade --include-injected arkor"),
        ({"main_package": None}, "pipx upgrade arkor"),
        ([], "pipx upgrade arkor"),
        ("not json", "pipx upgrade arkor"),
    ],
    ids=range(5),
)
def test_pipx_is_named_where_it_made_the_environment(tmp_path: Path, metadata: Any, hint: str) -> None:
    """Also where it added arkor to another program, and whatever is in its file."""
    copy = Installed(tmp_path / "arkor").by("pip")
    text = metadata if isinstance(metadata, str) else json.dumps(metadata)
    (copy.environment / "pipx_metadata.json").write_text(text)
    assert copy.hint == hint


def test_an_environment_is_called_by_its_own_name(tmp_path: Path) -> None:
    """``pipx install --suffix`` and ``uv tool install --with`` make others."""
    copy = Installed(tmp_path / "arkor beta").by("pip")
    (copy.environment / "pipx_metadata.json").write_text('{"main_package": {"package": "arkor"}}')
    assert copy.hint == "pipx upgrade 'arkor beta'"
    tool = Installed(tmp_path / "jupyterlab").by("uv")
    (tool.environment / "uv-receipt.toml").write_text("[tool]\n")
    assert tool.hint == "uv tool upgrade jupyterlab"


def test_a_tool_of_uv_is_upgraded_as_one(tmp_path: Path) -> None:
    """Not as a package of some environment."""
    copy = Installed(tmp_path / "arkor").by("uv")
    (copy.environment / "uv-receipt.toml").write_text('[tool]\nrequirements = [{ name = "arkor" }]\n')
    assert copy.hint == "uv tool upgrade arkor"


def test_a_checkout_is_pulled(tmp_path: Path) -> None:
    """An editable install, whoever made it."""
    copy = Installed(tmp_path / "env").by("uv")
    (copy.environment / "uv-receipt.toml").write_text("")
    sources = tmp_path / "my sources"
    (sources / "arkor").mkdir(parents=True)
    (sources / ".git").mkdir()
    assert upgrade_command(sources / "arkor", copy.environment) == f"git -C '{sources}' pull"


def test_this_copy_has_a_command_too() -> None:
    """Whatever it is."""
    assert upgrade_command().split()[0] in {"git", "pip", "pipx", "uv"}


def test_a_real_installation_is_recognised(tmp_path: Path) -> None:
    """From inside: a copy in a real environment, asked by its own Python."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "tools" / "arkor")], check=True)
    environment = tmp_path / "tools" / "arkor"
    python = environment / "bin" / "python"
    ask = "import sysconfig; print(sysconfig.get_path('purelib'))"
    site = Path(subprocess.run([python, "-c", ask], check=True, capture_output=True, text=True).stdout.strip())
    (site / "arkor" / "system").mkdir(parents=True)
    for name in ("__init__.py", "version.py", "system/__init__.py", "system/origin.py", "system/upgrade.py"):
        (site / "arkor" / name).write_bytes((PACKAGE / name).read_bytes())
    (environment / "uv-receipt.toml").write_text("[tool]\n")
    code = "from arkor.system.upgrade import upgrade_command; print(upgrade_command())"
    alone = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    told = subprocess.run([python, "-c", code], check=True, capture_output=True, text=True, cwd=tmp_path, env=alone)
    assert told.stdout == "uv tool upgrade arkor\n"
