"""How a process begins, talks and ends that works on what jobs have made."""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

from arkor.backend.inference import side_process
from arkor.backend.task_worker.server_line import ServerLine
from arkor.backend.training_worker.failures import explain
from arkor.backend.training_worker.limits.device import prepare_environment
from arkor.errors import ArkorError, DatasetError
from arkor.serving.refusal import Refusal

log = logging.getLogger("arkor.tasks")

Work = Callable[[Mapping[str, Any], ServerLine], Mapping[str, Any]]
"""Takes what the server asks for and the server, and returns what was made: the ``made`` of ``tasks.run``."""


def serve(work: Work, memory_gib: int) -> NoReturn:
    """Read the task, do it, tell how that ended, and leave.

    Args:
        work: does it.
        memory_gib: how much memory the process may take.
    """
    pipes = side_process.begin(memory_gib)
    lines = iter(pipes)
    told, line = next(lines), ServerLine(pipes.say)
    threading.Thread(target=_hear, args=(line, lines), daemon=True).start()
    prepare_environment(1)
    run(work, told, line)
    sys.stderr.flush()
    os._exit(0)  # taking the libraries down in order lasts 1.5 s


def run(work: Work, told: Mapping[str, Any], line: ServerLine) -> None:
    """Do a task, and tell the server how that ended."""
    try:
        line.tell(made=work(told, line))
    except Refusal as exc:
        line.tell(failure=exc.error)
    except DatasetError as exc:
        line.tell(failure=str(exc))
    except Exception as exc:  # libraries raise anything; the log has all of it
        if not isinstance(exc, ArkorError):
            log.exception("The work failed")
        line.tell(failure=explain(exc, Path(told["folder"])))


def _hear(line: ServerLine, lines: Iterator[Mapping[str, Any]]) -> None:
    line.hear(lines)
    os._exit(1)  # the server is gone
