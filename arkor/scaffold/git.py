"""A git repository for a new project."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from arkor.errors import ScaffoldError

TIMEOUT_S = 30.0
# Set by git for its hooks: they would make another repository than the folder's.
_OF_ANOTHER = frozenset({"GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_COMMON_DIR", "GIT_OBJECT_DIRECTORY"})


def is_installed() -> bool:
    """Say whether there is a git to run."""
    return shutil.which("git") is not None


def is_in_repository(folder: Path) -> bool:
    """Say whether a folder, which need not be there, is in a git repository."""
    folder = folder.resolve()
    return any((parent / ".git").exists() for parent in (folder, *folder.parents))


def start_repository(folder: Path) -> None:
    """Make a folder a git repository, without a commit.

    Raises:
        ScaffoldError: git could not.
    """
    environment = {name: value for name, value in os.environ.items() if name not in _OF_ANOTHER}
    try:
        subprocess.run(
            ["git", "init", "--quiet"],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=TIMEOUT_S,
            check=True,
        )
    except subprocess.CalledProcessError as exc:
        last = exc.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        raise ScaffoldError(f"git init failed in {folder}: {last}") from exc
    except (OSError, subprocess.TimeoutExpired) as exc:
        raise ScaffoldError(f"git init failed in {folder}: {exc}") from exc
