"""A process in which the user's code runs for Studio: ``python -m arkor.cli.studio_child COMMAND``.

The commands are ``start …``, ``manifest`` and ``draft BACKEND``.

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
from typing import TYPE_CHECKING, Any, NoReturn, TextIO

if TYPE_CHECKING:
    from arkor.trainer.trainer import Trainer

_LEAVING_S = 3.0  # what the user's code has for its own ends


def main(arguments: list[str]) -> None:
    """Run one of the commands, and exit with its code."""
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)  # one that the shell put into the background has none
        signal.signal(signal.SIGTERM, _leave)
        studio = os.dup(0)  # what the user's code reads from its standard input is nobody's
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        threading.Thread(target=_end_with, args=(studio,), name="studio", daemon=True).start()
        if arguments[:1] == ["manifest"]:
            _answer(lambda _out: _manifest())
        if arguments[:1] == ["draft"]:
            _answer(lambda out: _draft(arguments[1], out))
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


def _answer(question: Callable[[TextIO], dict[str, Any]]) -> NoReturn:
    """Write an answer as JSON to the standard output, where nothing else goes, and end at once."""
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as out:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        json.dump(question(out), out)
        out.flush()
    os._exit(0)  # threads that the user's code has started would hold it up


def _manifest() -> dict[str, Any]:
    """Load the artifact that ``arkor start`` would run, and return the name of its trainer."""
    from arkor.errors import ArkorError

    try:
        trainer = _trainer()
    except ArkorError as exc:
        return {"error": str(exc)}
    return {"trainer": trainer and {"name": trainer.name}}


def _draft(backend: str, out: TextIO) -> dict[str, Any]:
    """Load the same artifact, send its trainer's rows to a backend, and return the settings of its job.

    Writes a line feed once the user's code is loaded: what follows may take long.
    """
    from arkor.errors import ArkorError
    from arkor.trainer.trainer import draft_of

    try:
        trainer = _trainer()
        out.write("\n")
        out.flush()
        if trainer is None:
            return {"trainer": None}
        return {"trainer": {"name": trainer.name}, "config": draft_of(trainer, backend).to_wire()}
    except ArkorError as exc:
        return {"error": str(exc)}


def _trainer() -> Trainer | None:
    """Return the trainer that ``arkor start`` would run; None if the entry exports none.

    Raises:
        ArkorError: the entry cannot be built, or its code raised.
    """
    from arkor.entry.bundle import up_to_date
    from arkor.entry.importer import load_entry
    from arkor.entry.runner import find_trainer
    from arkor.errors import EntryError

    built = up_to_date()
    module = load_entry(built.artifact, Path.cwd(), built.content)
    with contextlib.suppress(EntryError):
        return find_trainer(module)
    return None


if __name__ == "__main__":
    main(sys.argv[1:])
