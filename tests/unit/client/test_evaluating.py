"""Evaluations as a caller has them: scorers of the caller's own, and what ends the waiting."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from arkor.client.client import CloudApiClient
from arkor.client.evaluate_options import EvaluateOptions
from arkor.client.evaluating import Evaluator
from arkor.client.project import ensure_project
from arkor.errors import Aborted, ArkorError, ConfigError, WaitTimeout
from arkor.evaluation.building import build_report
from arkor.evaluation.cases import Answered, Case
from tests.support.cloud import Cloud
from tests.support.contract import Answer
from tests.support.waiting import QUICK

PATH = "/v1/jobs/job_1/evaluations"


@pytest.fixture
def evaluator(arkor_cloud: Cloud, project: Path) -> Evaluator:
    """What evaluates the jobs of a project whose backend makes evaluations."""
    arkor_cloud.features = {"evaluations"}
    client = CloudApiClient.connect()
    return Evaluator(client=client, scope=ensure_project(client, project), folder=project, policy=QUICK)


def script(cloud: Cloud, status: str) -> None:
    """Let the next evaluation be in a state."""
    body = {"id": "eval_1", "jobId": "job_1", "status": status, "options": {}, "verdict": "better"}
    answers = {"base": Answered(text="no"), "adapter": Answered(text="yes")}
    cases = [Case(row=row, expected="yes", answers=answers) for row in (1, 2)]
    report = build_report(cases=cases, candidates=["base", "adapter"], rows=None, scorers=["exact"], job_id="job_1")
    cloud.answer("POST", PATH, Answer(status=201, body={"evaluation": body}))
    cloud.answer("GET", f"{PATH}/eval_1", *[Answer(body={"evaluation": body})] * 20)
    cloud.answer("GET", f"{PATH}/eval_1/report", Answer(body=report.to_wire()))


def short(_expected: str, answer: str) -> bool:
    return len(answer) < 3


def broken(_expected: str, _answer: str) -> bool:
    raise ValueError("no idea")


def test_own_functions_score_here_and_names_on_the_backend(arkor_cloud: Cloud, evaluator: Evaluator) -> None:
    """The backend is told the names alone."""
    script(arkor_cloud, "completed")
    report = evaluator.evaluate("job_1", {"scorers": ["exact", short], "limit": 2})
    assert {score.name: score.values["base"] for score in report.scores} == {"exact_match": 0, "short": 1}
    assert [call.json() for call in arkor_cloud.calls("POST", PATH)] == [{"limit": 2, "scorers": ["exact"]}]


def test_a_function_that_fails_leaves_the_report(arkor_cloud: Cloud, evaluator: Evaluator) -> None:
    """The error says how to see it."""
    script(arkor_cloud, "completed")
    with pytest.raises(ArkorError) as failure:
        evaluator.evaluate("job_1", {"scorers": [broken]})
    assert str(failure.value) == (
        "Scorer broken failed on row 1: ValueError: no idea. "
        "The report is kept without these scores: 'arkor report job_1' shows it."
    )


def test_two_functions_of_one_name_leave_the_report(arkor_cloud: Cloud, evaluator: Evaluator) -> None:
    """The error names the setting too."""
    script(arkor_cloud, "completed")
    with pytest.raises(ConfigError, match=r"^scorers: a score of the report is called 'short' already.*is kept"):
        evaluator.evaluate("job_1", {"scorers": [short, short]})


@pytest.mark.parametrize("how", ["timeout", "abort_event"])
def test_who_stops_waiting_is_told_that_it_goes_on(arkor_cloud: Cloud, evaluator: Evaluator, how: str) -> None:
    """With the command that waits again."""
    script(arkor_cloud, "running")
    event = threading.Event()
    options: EvaluateOptions = {"on_progress": lambda _: event.set()}
    limit: dict[str, Any] = {"timeout": 0.2} if how == "timeout" else {"abort_event": event}
    with pytest.raises(WaitTimeout if how == "timeout" else Aborted, match="'arkor report job_1' waits for it"):
        evaluator.evaluate("job_1", {**options, **limit})  # type: ignore[typeddict-item]


@pytest.mark.parametrize("scorers", ["exact", [3], 5])
def test_scorers_that_are_none_are_refused(arkor_cloud: Cloud, evaluator: Evaluator, scorers: Any) -> None:
    """Before anything is sent."""
    with pytest.raises(ConfigError, match=r"^scorers: "):
        evaluator.evaluate("job_1", {"scorers": scorers})
    assert arkor_cloud.calls("POST", PATH) == []
