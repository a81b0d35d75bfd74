from __future__ import annotations

import os
import pwd
import subprocess
import sys
from pathlib import Path

import pytest

from arkor.backend.models.catalogue import is_model_folder

ROOT = Path(__file__).parents[2]
MODEL = "smollm2-135m"


@pytest.fixture(scope="session")
def model_home(pytestconfig: pytest.Config) -> Path:
    """A HOME with the model in it: this user's own where it is ready there, else one that is kept between runs."""
    own = Path(pwd.getpwuid(os.getuid()).pw_dir)
    if is_model_folder(own / ".arkor" / "models" / MODEL):
        return own
    home = pytestconfig.cache.mkdir("arkor-home")
    command = [sys.executable, "-m", "arkor.backend.models", "pull", MODEL]
    environment = {**os.environ, "HOME": str(home), "PYTHONPATH": str(ROOT)}
    subprocess.run(command, env=environment, check=True, timeout=200)
    return home
