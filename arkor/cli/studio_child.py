"""A process in which the user's code runs for Studio: ``python -m arkor.cli.studio_child start …``, or ``… manifest``.

Its standard input is a pipe that Studio holds open and never writes to. When that ends, Studio is gone, by whatever
death: then this process ends too, as if it had been asked to. A job that it waits for goes on.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

_LEAVING_S = 3.0  # what the user's code has for its own ends


def main(arguments: list[str]) -> None:
    """Run one of the two commands, and exit with its code."""
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)  # one that the shell put into the background has none
        signal.signal(signal.SIGTERM, _leave)
        studio = os.dup(0)  # what the user's code reads from its standard input is nobody's
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        threading.Thread(target=_end_with, args=(studio,), name="studio", daemon=True).start()
        if arguments == ["manifest"]:
            _answer(_manifest)
        from arkor.cli import main as run

        run(arguments)
    except KeyboardInterrupt:  # before the command could take it
        sys.exit(130)


def _leave(number: int, _frame: object) -> NoReturn:
    raise SystemExit(128 + number)


def _end_with(studio: int) -> None:
    """End this process, and those that it started, when Studio's end of the pipe is closed."""
    os.read(studio, 1)
    os.kill(os.getpid(), signal.SIGTERM)
    threading.Event().wait(_LEAVING_S)  # the user's code may not heed it
    os.killpg(os.getpgrp(), signal.SIGKILL)


def _answer(question: Callable[[], dict[str, Any]]) -> NoReturn:
    """Write an answer as JSON to the standard output, where nothing else goes, and end at once."""
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as out:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        json.dump(question(), out)
        out.flush()
    os._exit(0)  # threads that the user's code has started would hold it up


def _manifest() -> dict[str, Any]:
    """Load the artifact that ``arkor start`` would run, and return the name of its trainer."""
    from arkor.entry.bundle import up_to_date
    from arkor.entry.importer import load_entry
    from arkor.entry.runner import find_trainer
    from arkor.errors import ArkorError, EntryError

    try:
        built = up_to_date()
        module = load_entry(built.artifact, Path.cwd(), built.content)
    except ArkorError as exc:
        return {"error": str(exc)}
    with contextlib.suppress(EntryError):
        return {"trainer": {"name": find_trainer(module).name}}
    return {"trainer": None}


if __name__ == "__main__":
    main(sys.argv[1:])
