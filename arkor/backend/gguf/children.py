"""The processes that convert: with limits on their memory and their time, and gone with what started them."""

from __future__ import annotations

import contextlib
import os
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from arkor.backend.models.hardware import total_bytes
from arkor.errors import ArkorError
from arkor.system.files import read_end
from arkor.system.processes import child, module_command
from arkor.text import last_lines

_LOOK_S = 0.2


def run(
    module: str,
    arguments: Sequence[str],
    folder: Path,
    environment: Mapping[str, str] | None = None,
    *,
    limit_s: float | None = None,
    stopping: threading.Event | None = None,
) -> None:
    """Run a module of a process that converts. It may take half of the machine's memory.

    Args:
        module: its name.
        arguments: of its command line.
        folder: takes its log.
        environment: what is set in it beside what is set here.
        limit_s: seconds after which it is given up; None for never.
        stopping: ends it when it is set.

    Raises:
        ArkorError: it failed, or was given up; the text has the end of its log.
    """
    log_path = folder / "convert.log"
    command = module_command("arkor.backend.gguf.limited", str(total_bytes() // 2), module, *arguments)
    deadline = None if limit_s is None else time.monotonic() + limit_s
    with (
        log_path.open("wb") as log_file,
        child(command, stdout=log_file, stderr=log_file, env={**os.environ, **(environment or {})}) as process,
    ):
        while not _has_ended(process):
            if stopping is not None and stopping.is_set():
                raise ArkorError("The conversion was stopped.")
            if deadline is not None and time.monotonic() >= deadline:
                raise ArkorError(f"The conversion was given up after {limit_s:g} s.")
    if process.returncode != 0:
        raise ArkorError(f"llama.cpp's scripts cannot convert the model.\n{last_lines(read_end(log_path))}".strip())
    log_path.unlink()


def _has_ended(process: subprocess.Popen[Any]) -> bool:
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_LOOK_S)
    return process.returncode is not None
