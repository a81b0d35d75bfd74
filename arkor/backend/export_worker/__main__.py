"""``python -m arkor.backend.export_worker``: make one export; ``tasks.run`` has what is said either way."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

from arkor.backend.exports.task import KIND, Task
from arkor.backend.task_worker.process import serve
from arkor.backend.task_worker.server_line import ServerLine
from arkor.backend.training_worker import artifacts

_MEMORY_GIB = 1024  # a model may be as large as the memory; what there is of it is looked at before
_STEPS = 3  # making, checking, packing


def work(told: Mapping[str, Any], line: ServerLine) -> dict[str, Any]:
    """Make an export, check it, and pack it; return what the server is told of it.

    Raises:
        ArkorError: it cannot be made, or answers otherwise than chats.
        Refusal: the server cannot answer.
        OSError: the disk is full.
    """
    from arkor.backend.export_worker.card import card
    from arkor.backend.export_worker.check import check, unchecked, words
    from arkor.backend.export_worker.making import make

    task = Task.from_line(told)
    line.tell(progress=[0, _STEPS])
    make(task)
    line.tell(progress=[1, _STEPS])
    problem = unchecked(task)
    found = check(task, line) if task.options.check and not problem else None
    verdict = words(found) if found else problem or ""
    line.tell(progress=[2, _STEPS])
    (task.made / "README.md").write_text(card(task, verdict), encoding="utf-8")
    with contextlib.ExitStack() as opened:
        files = {file.name: opened.enter_context(file.open("rb")) for file in sorted(task.made.iterdir())}
        made = artifacts.pack(files, task.artifacts_folder, task.artifact)
    return {"verdict": verdict, "check": found, "artifact": {**made.to_wire(), "kind": KIND}}


if __name__ == "__main__":
    serve(work, _MEMORY_GIB)
