"""``python -m arkor.backend.evaluation_worker``: make one report; ``tasks.run`` has what is said either way."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from typing import Any

from arkor.backend.evaluation_worker.questions import Questions
from arkor.backend.evaluation_worker.rows import choose_for
from arkor.backend.evaluation_worker.served import check_served
from arkor.backend.evaluations.task import REPORT_FILE, REPORT_KIND, Task
from arkor.backend.task_worker.process import serve
from arkor.backend.task_worker.rows import job_rows
from arkor.backend.task_worker.server_line import KeptAnswers, ServerLine, ask_all
from arkor.backend.training_worker import artifacts
from arkor.backend.training_worker.rows.load import Rows
from arkor.evaluation.building import build_report
from arkor.evaluation.parts import ServedCheck
from arkor.evaluation.report import EvaluationReport
from arkor.system.files import write_atomically

_MEMORY_GIB = 8


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
        answered_by=questions.answered_by(answers),
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


def work(told: Mapping[str, Any], line: ServerLine) -> dict[str, Any]:
    """Make a report, and return what the server is told of it."""
    task = Task.from_line(told)
    return keep(task, evaluate(task, line))


if __name__ == "__main__":
    serve(work, _MEMORY_GIB)
