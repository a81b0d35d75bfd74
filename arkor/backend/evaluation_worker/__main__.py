"""``python -m arkor.backend.evaluation_worker``: make one report; ``evaluations.task`` has what is said either way."""

from __future__ import annotations

import io
import json
import logging
import os
import sys
import threading
from collections.abc import Iterator, Mapping
from typing import Any

from arkor.backend.evaluation_worker.questions import Questions
from arkor.backend.evaluation_worker.rows import choose_for, job_rows
from arkor.backend.evaluation_worker.served import check_served
from arkor.backend.evaluation_worker.server_line import KeptAnswers, ServerLine, ask_all
from arkor.backend.evaluations.task import REPORT_FILE, REPORT_KIND, Task
from arkor.backend.inference import side_process
from arkor.backend.training_worker import artifacts
from arkor.backend.training_worker.failures import explain
from arkor.backend.training_worker.limits.device import prepare_environment
from arkor.backend.training_worker.rows.load import Rows
from arkor.errors import ArkorError, DatasetError
from arkor.evaluation.building import build_report
from arkor.evaluation.parts import ServedCheck
from arkor.evaluation.report import EvaluationReport
from arkor.serving.refusal import Refusal
from arkor.system.files import write_atomically

_MEMORY_GIB = 8

log = logging.getLogger("arkor.evaluation")


def evaluate(task: Task, line: ServerLine) -> EvaluationReport:
    """Make a report.

    Raises:
        ArkorError: it cannot be made; the text is for the user.
        Refusal: the server cannot answer.
        OSError: the disk is full.
    """
    from arkor.backend.training_worker.model import load_tokenizer

    rows = job_rows(task)
    chosen = choose_for(task, rows) if task.options.limit else None
    tokenizer = load_tokenizer(task.model_path)
    check = _check(task, rows, tokenizer, line) if task.options.check else None
    questions = Questions(task, tokenizer, () if chosen is None else chosen.asked)
    kept = KeptAnswers(task.folder / "answers.jsonl")
    total = len(questions.asked)
    answers = ask_all(line, questions.asked, kept, lambda done: line.tell(progress=[done, total]))
    kept.close()
    return build_report(
        id=task.id,
        job_id=task.job_id,
        model=task.config.model,
        candidates=task.candidates,
        rows=None if chosen is None else questions.about(chosen.about, answers),
        cases=questions.cases(answers),
        scorers=task.options.scorers,
        retention_cases=questions.retention_cases(answers),
        check=check,
        max_tokens=questions.max_tokens,
        created_at=task.created_at,
    )


def _check(task: Task, rows: Rows, tokenizer: Any, line: ServerLine) -> ServedCheck | None:
    if task.known_check is not None:
        return ServedCheck.from_wire(task.known_check)
    return check_served(task, rows, tokenizer, line)


def keep(task: Task, report: EvaluationReport) -> dict[str, Any]:
    """Write a report's files, and return what the server is told of it.

    Raises:
        OSError: the disk is full.
    """
    told: dict[str, Any] = {"verdict": report.verdict, "check": report.check and report.check.to_wire()}
    content = json.dumps(report.to_wire(), ensure_ascii=False, indent=1).encode("utf-8", "replace")
    write_atomically(task.folder / REPORT_FILE, content, mode=0o600)
    if task.options.is_check_only:
        return told
    page = report.to_html().encode("utf-8", "replace")
    packed = {REPORT_FILE: io.BytesIO(content), "report.html": io.BytesIO(page)}
    made = artifacts.pack(packed, task.artifacts_folder, task.artifact)
    return {**told, "artifact": {**made.to_wire(), "kind": REPORT_KIND}}


def run(task: Task, line: ServerLine) -> None:
    """Make a report, and tell the server how that ended."""
    try:
        line.tell(report=keep(task, evaluate(task, line)))
    except Refusal as exc:
        line.tell(failure=exc.error)
    except DatasetError as exc:
        line.tell(failure=str(exc))
    except Exception as exc:  # libraries raise anything; the log has all of it
        if not isinstance(exc, ArkorError):
            log.exception("The evaluation failed")
        line.tell(failure=explain(exc, task.folder))


def main() -> None:
    """Read the task, and do it."""
    pipes = side_process.begin(_MEMORY_GIB)
    lines = iter(pipes)
    task, line = Task.from_line(next(lines)), ServerLine(pipes.say)
    threading.Thread(target=_hear, args=(line, lines), daemon=True).start()
    prepare_environment(1)
    run(task, line)


def _hear(line: ServerLine, lines: Iterator[Mapping[str, Any]]) -> None:
    line.hear(lines)
    os._exit(1)  # the server is gone


if __name__ == "__main__":
    main()
    sys.stderr.flush()
    os._exit(0)  # taking the libraries down in order lasts 1.5 s
