"""A process that makes reports without rows and without a tokenizer.

``python -m tests.support.scripted_evaluation``. It behaves by ``maxTokens`` of the options:

- 1: writes its process id to the file ``pid`` in its folder, and then waits until standard input ends.
- 2: ends with code 7, and a line in its log.
- 3: says that the rows are gone.
- 4: asks the adapter to ``hold``, for which a scripted chat process never ends.
- anything else: asks the base and the adapter what ``scripted_chat`` knows, and reports the answers.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from arkor.backend.evaluations.task import REPORT_FILE, REPORT_KIND, Task
from arkor.evaluation.building import build_report
from arkor.evaluation.cases import Answered, Case
from arkor.evaluation.parts import RowsAsked
from arkor.protocol.jobs import Artifact
from arkor.system.files import sha256_of


def say(**fields: Any) -> None:
    """Tell the server something."""
    sys.stdout.write(json.dumps(fields) + "\n")
    sys.stdout.flush()


def ask(number: int, candidate: str, text: str) -> dict[str, Any]:
    """Ask a candidate, and return the reply."""
    request = {"messages": [{"role": "user", "content": text}], "temperature": 0, "maxTokens": 9}
    say(ask=number, candidate=candidate, request=request)
    reply: dict[str, Any] = json.loads(sys.stdin.readline())
    return reply


def report(task: Task) -> None:
    """Ask every candidate once, and report that."""
    said = {}
    for number, candidate in enumerate(task.candidates, start=1):
        reply = ask(number, candidate, f"say:{'right' if candidate == 'adapter' else 'wrong'}")
        if "error" in reply:
            say(failure=reply["error"]["message"])
            return
        said[candidate] = Answered(text=reply["answer"]["text"], finish_reason=reply["answer"]["finishReason"])
        say(progress=[number, len(task.candidates)])
    cases = [Case(row=row, expected="right", answers=said) for row in range(1, 8)]
    rows = RowsAsked(source="rows", is_held_out=True, available=7, asked=7)
    facts: dict[str, Any] = {
        "id": task.id,
        "job_id": task.job_id,
        "model": task.config.model,
        "created_at": task.created_at,
    }
    made = build_report(cases=cases, candidates=task.candidates, rows=rows, scorers=["exact"], **facts)
    content = json.dumps(made.to_wire()).encode()
    (task.folder / REPORT_FILE).write_bytes(content)
    if task.options.is_check_only:
        say(made={"verdict": "", "check": None})
        return
    tar = task.artifacts_folder / f"{task.artifact}.tar"
    tar.parent.mkdir(exist_ok=True)  # the job may have been trained elsewhere
    tar.write_bytes(content)
    artifact = Artifact(name=task.artifact, kind=REPORT_KIND, size_bytes=len(content), sha256=sha256_of(tar))
    say(made={"verdict": made.verdict, "check": None, "artifact": artifact.to_wire()})


def main() -> None:
    """Behave."""
    task = Task.from_line(json.loads(sys.stdin.readline()))
    match task.options.max_tokens:
        case 1:
            part = Path(task.folder) / "part"
            part.write_text(str(os.getpid()))
            part.rename(part.with_name("pid"))
            sys.stdin.read()
        case 2:
            print("ValueError: scripted crash", file=sys.stderr, flush=True)
            os._exit(7)
        case 3:
            say(failure="rows: has changed since the job was trained")
        case 4:
            ask(1, "adapter", "hold")
        case _:
            report(task)


if __name__ == "__main__":
    main()
