"""A language model as a scorer, at an address that the test answers for."""

from __future__ import annotations

import json
import threading
import time
from typing import Any

import pytest

from arkor.client.judge import judge
from arkor.errors import Aborted, ArkorError, ConfigError, WaitTimeout
from arkor.evaluation.building import build_report
from arkor.evaluation.cases import Answered, Case
from arkor.evaluation.report import EvaluationReport
from tests.support.cloud import Cloud
from tests.support.contract import Answer
from tests.support.eventually import eventually
from tests.support.waiting import AT_ONCE_S

PATH = "/v1/chat/completions"
KEY = "sk-secret"


def report(rows: int = 1) -> EvaluationReport:
    """Return a report of rows that two candidates answered."""
    answers = {"base": Answered(text="I do not know."), "adapter": Answered(text="At nine.")}
    messages = [{"role": "user", "content": "When does the shop open?"}]
    cases = [Case(row=row, messages=messages, expected="At 9.", answers=answers) for row in range(1, rows + 1)]
    return build_report(cases=cases, candidates=["base", "adapter"], rows=None, scorers=["exact"], job_id="job_1")


def says(text: str) -> Answer:
    """Return what a server answers whose model says something."""
    return Answer(body={"choices": [{"message": {"role": "assistant", "content": text}}]})


def scores(score: Any) -> Answer:
    """Return what a server answers whose model follows the schema."""
    return says(json.dumps({"reason": "So it is.", "score": score}))


def set_when_asked(event: threading.Event, cloud: Cloud, times: int) -> None:
    """Set an event, on another thread, as soon as the judge has been asked so many times."""

    def wait() -> None:
        eventually(lambda: len(cloud.calls("POST", PATH)) >= times, f"{times} questions")
        event.set()

    threading.Thread(target=wait).start()


def test_a_judge_scores_each_answer_beside_the_expected_one(cloud: Cloud) -> None:
    """It sees the conversation and both texts, not who answered; the key goes nowhere else."""
    cloud.answer("POST", PATH, scores(1), scores(5))
    better = report().with_scorers(judge(f"{cloud.url}/v1/", "big", api_key=KEY, criteria="It is short.", at_once=1))
    assert (better.scores[1].name, better.scores[1].values) == ("judge", {"base": 0, "adapter": 1})
    assert "judged by big" in str(better)
    first, second = cloud.calls("POST", PATH)
    assert first.headers["authorization"] == f"Bearer {KEY}"
    body = second.json()
    assert (body["model"], body["temperature"], body["stream"]) == ("big", 0, False)
    assert body["response_format"]["json_schema"]["strict"]
    system, user = (message["content"] for message in body["messages"])
    assert "A good answer: It is short." in system
    assert all(text in user for text in ("When does the shop open?", "At 9.", "At nine."))
    assert "adapter" not in system + user
    assert KEY not in repr(better.to_wire()) + better.to_html()


@pytest.mark.parametrize(
    ("text", "score"),
    [
        ('{"reason": "2 of 3", "score": 4}', 0.75),
        ('```json\n{"score": 2}\n```', 0.25),
        ("It deserves a 3, not 10.", 0.5),
        ("Score: 5", 1.0),
    ],
)
def test_a_score_is_found_in_what_a_judge_says(cloud: Cloud, text: str, score: float) -> None:
    """Also if its server takes no schema."""
    cloud.answer("POST", PATH, *[says(text)] * 2)
    assert report().with_scorers(judge(f"{cloud.url}/v1", "big")).scores[1].values["adapter"] == score


def test_a_server_that_takes_fewer_fields_is_asked_with_fewer(cloud: Cloud) -> None:
    """First without the schema, then without the temperature; later questions begin there."""
    refusal = Answer(status=400, body={"error": {"message": "Unsupported parameter", "type": "invalid_request_error"}})
    cloud.answer("POST", PATH, refusal, refusal, scores(3), scores(4))
    made = report().with_scorers(judge(f"{cloud.url}/v1", "big", at_once=1))
    assert made.scores[1].values == {"base": 0.5, "adapter": 0.75}
    fields = [set(call.json()) - {"model", "messages", "stream"} for call in cloud.calls("POST", PATH)]
    assert fields == [{"temperature", "response_format"}, {"temperature"}, set(), set()]


@pytest.mark.parametrize(
    ("answers", "says_why"),
    [
        ([Answer(status=401, body={"error": {"message": f"Incorrect key {KEY}"}})], "status 401: Incorrect key …"),
        ([Answer(body=b"<html>")], "answered with something else than JSON"),
        ([says("No."), Answer(body={"choices": []})], "The judge said no score for row 1: ''"),
        ([scores(7), scores(True)], "The judge said no score for row 1"),
    ],
)
def test_a_judge_that_fails_says_where_and_why(cloud: Cloud, answers: list[Answer], says_why: str) -> None:
    """The row, and the server's words, without the key."""
    cloud.answer("POST", PATH, *answers)
    with pytest.raises(ArkorError) as failure:
        report().with_scorers(judge(f"{cloud.url}/v1", "big", api_key=KEY, at_once=1))
    assert says_why in str(failure.value)
    assert "row 1" in str(failure.value)
    assert KEY not in str(failure.value)


def test_many_answers_are_judged_at_the_same_time(cloud: Cloud) -> None:
    """At most so many as it says."""
    gate = threading.Event()
    cloud.answer("POST", PATH, *[Answer(body=scores(5).body, gate=gate)] * 8)
    set_when_asked(gate, cloud, 3)
    made = report(rows=4).with_scorers(judge(f"{cloud.url}/v1", "big", at_once=3))
    assert made.scores[1].values == {"base": 1, "adapter": 1}


@pytest.mark.parametrize("how", ["timeout", "abort_event"])
def test_a_judge_that_hangs_is_left_at_once(cloud: Cloud, how: str) -> None:
    """By the timeout, and by the event; all its requests end."""
    gate, event = threading.Event(), threading.Event()
    cloud.answer("POST", PATH, *[Answer(body=scores(5).body, gate=gate)] * 4)
    limits: dict[str, Any] = {"timeout": 0.3} if how == "timeout" else {"abort_event": event}
    if how == "abort_event":
        set_when_asked(event, cloud, 2)
    began = time.monotonic()
    with pytest.raises(WaitTimeout if how == "timeout" else Aborted):
        report(rows=2).with_scorers(judge(f"{cloud.url}/v1", "big", at_once=2), **limits)
    assert time.monotonic() - began < AT_ONCE_S
    gate.set()


def test_a_function_is_not_begun_after_the_end() -> None:
    """The call ends between two answers."""
    event, seen = threading.Event(), []

    def slow(_expected: str, answer: str) -> float:
        seen.append(answer)
        event.set()
        return 1.0

    with pytest.raises(Aborted):
        report().with_scorers(slow, abort_event=event)
    assert len(seen) == 1


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"base_url": f"https://user:{KEY}@example.com/v1"}, "base_url"),
        ({"base_url": "example.com"}, "base_url"),
        ({"at_once": 0}, "at_once"),
        ({"answer_timeout": 0}, "answer_timeout"),
    ],
)
def test_bad_arguments_are_refused(arguments: dict[str, Any], field: str) -> None:
    """Without what is secret in them."""
    with pytest.raises(ConfigError) as refusal:
        judge(**{"base_url": "https://example.com/v1", "model": "m", **arguments})
    assert (refusal.value.field, KEY in str(refusal.value)) == (field, False)
    assert KEY not in repr(judge("https://example.com/v1", "m", api_key=KEY))
