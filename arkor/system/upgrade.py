"""How this copy of arkor was installed, and so how it is upgraded."""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import shlex
import sys
from pathlib import Path

from arkor.system.origin import NAME, origin


def upgrade_command(package: Path | None = None, environment: Path | None = None) -> str:
    """Return the shell command that upgrades this copy of arkor.

    Args:
        package: the folder that arkor is imported from; by default this one.
        environment: the Python environment that it runs in; by default this one.
    """
    folder = (package or Path(__file__).parents[1]).parent
    environment = environment or Path(sys.prefix)
    name = shlex.quote(environment.name)  # pipx and uv name an environment as they name what is installed in it
    if (folder / ".git").exists():  # a checkout, most likely an editable install
        return f"git -C {shlex.quote(str(folder))} pull"
    if (environment / "pipx_metadata.json").is_file():
        return f"pipx upgrade {name}" if _is_pipx_own(environment) else f"pipx upgrade --include-injected {name}"
    if (environment / "uv-receipt.toml").is_file():
        return f"uv tool upgrade {name}"
    is_uv = _installer(folder) == "uv"
    if is_uv and _is_locked(environment.parent / "uv.lock"):
        return f"uv sync --upgrade-package {NAME}"
    return f"{'uv ' * is_uv}pip install --upgrade {shlex.quote(_newest(folder / NAME))}"


def _newest(package: Path) -> str:
    """Return what pip installs to upgrade a copy: its name alone only if a package index has it."""
    found = origin(package)
    if found is None:
        return NAME
    return "PATH-OF-A-NEWER-WHEEL" if found.newest is None else f"{NAME} @ {found.newest}"


def _is_pipx_own(environment: Path) -> bool:
    """Say whether pipx made the environment for arkor, and not for a program that arkor was added to."""
    try:
        main = json.loads((environment / "pipx_metadata.json").read_bytes())["main_package"]["package"]
    except (OSError, ValueError, LookupError, TypeError):
        return True
    return bool(main == NAME)


def _installer(folder: Path) -> str:
    """Return what the installer called itself in the metadata beside the package; empty where it did not."""
    with contextlib.suppress(OSError, ValueError):
        for distribution in importlib.metadata.distributions(name=NAME, path=[str(folder)]):
            return (distribution.read_text("INSTALLER") or "").strip()
    return ""


def _is_locked(file: Path) -> bool:
    """Say whether a lock file of uv has arkor in it."""
    with contextlib.suppress(OSError, ValueError):
        return f'\nname = "{NAME}"\n' in file.read_text(encoding="utf-8")
    return False
