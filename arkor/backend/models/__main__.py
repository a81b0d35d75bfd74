"""``python -m arkor.backend.models``: the models of this machine, in lines of JSON.

``pull NAME`` fetches one. Each line is ``{"phase", "done", "total"}``; the last is ``{"ready": true}`` (exit 0) or
``{"error"}`` (exit 1). ``list`` prints a line ``{"id", "ready", "sizeBytes"?}`` for each.
"""

from __future__ import annotations

import json
import signal
import sys
import time
from typing import Any

from arkor.backend.models import listing
from arkor.backend.models.pulling import pull
from arkor.errors import ModelError

_MIN_INTERVAL_S = 0.2


class _Lines:
    """Says progress a few times a second at most; each phase's beginning and end always."""

    def __init__(self) -> None:
        self._said = 0.0
        self._phase = ""

    def report(self, phase: str, done: int, total: int) -> None:
        now = time.monotonic()
        if phase == self._phase and done < total and now - self._said < _MIN_INTERVAL_S:
            return
        self._phase, self._said = phase, now
        _say({"phase": phase, "done": done, "total": total})


def main(arguments: list[str]) -> int:
    """Run the command.

    Args:
        arguments: the command line, without the program's name.

    Returns:
        The exit code.
    """
    match arguments:
        case ["pull", name]:
            # Leave by an exception, so that what is half done is cleared away.
            signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
            return _pull(name)
        case ["list"]:
            for model in listing():
                _say(model)
            return 0
        case _:
            sys.stderr.write("usage: python -m arkor.backend.models pull NAME | list\n")
            return 2


def _pull(name: str) -> int:
    try:
        pull(name, _Lines().report)
    except ModelError as exc:
        _say({"error": str(exc)})
        return 1
    _say({"ready": True})
    return 0


def _say(line: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
