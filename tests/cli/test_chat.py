"""``arkor chat`` as its users meet it, against the stand-in."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from tests.support.cloud import Cloud
from tests.support.commands import TIMEOUT_S, run
from tests.support.contract import CHAT, Answer, Stream
from tests.support.events import DONE, chunk
from tests.support.terminal import Terminal

HELLO = Stream(frames=[chunk("Hel"), chunk("lo"), chunk(finish_reason="stop"), DONE])


@pytest.fixture(autouse=True)
def _jobs(routed_cloud: Cloud) -> None:
    routed_cloud.jobs["job_1"] = {"id": "job_1", "status": "completed", "createdAt": "2026-01-02T00:00:00Z"}
    routed_cloud.jobs["job_2"] = {"id": "job_2", "status": "completed", "createdAt": "2026-01-01T00:00:00Z"}
    routed_cloud.jobs["job_3"] = {"id": "job_3", "status": "failed", "createdAt": "2026-01-03T00:00:00Z"}
    routed_cloud.jobs["job_1"]["completedAt"] = "2026-01-04T00:00:00Z"
    routed_cloud.jobs["job_2"]["completedAt"] = "2026-01-05T00:00:00Z"
    dry_run = {"status": "completed", "config": {"dryRun": True}, "completedAt": "2026-01-06T00:00:00Z"}
    routed_cloud.jobs["job_4"] = {"id": "job_4", "createdAt": "2026-01-05T00:00:00Z", **dry_run}


def sent(cloud: Cloud) -> dict[str, object]:
    """Return what the model was asked."""
    asked: dict[str, object] = cloud.calls("POST", CHAT)[-1].json()
    return asked


def test_a_prompt_is_answered_once(routed_cloud: Cloud) -> None:
    """By the job that is named, after the system message."""
    routed_cloud.says(HELLO)
    ended = run("chat", "job_1", "hi there", "--system", "be brief", "--temperature", "0.5", "--max-tokens", "7")
    assert (ended.code, ended.out) == (0, "Hello\n")
    assert sent(routed_cloud)["adapter"] == {"kind": "final", "jobId": "job_1"}
    assert (sent(routed_cloud)["temperature"], sent(routed_cloud)["maxTokens"]) == (0.5, 7)
    assert sent(routed_cloud)["messages"] == [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": "hi there"},
    ]


def test_a_checkpoint_and_a_model_can_be_named(routed_cloud: Cloud) -> None:
    """``--step`` of a job; what is no job is a model."""
    routed_cloud.says(HELLO, HELLO)
    assert run("chat", "job_1", "hi", "--step", "30").code == 0
    assert sent(routed_cloud)["adapter"] == {"kind": "checkpoint", "jobId": "job_1", "step": 30}
    assert run("chat", "smollm2-135m", "hi").code == 0
    assert sent(routed_cloud)["baseModel"] == "smollm2-135m"


def test_a_job_may_be_named_by_the_beginning_of_its_id(routed_cloud: Cloud) -> None:
    """Which must be the only one."""
    routed_cloud.jobs["abc_1"] = {**routed_cloud.jobs.pop("job_1"), "id": "abc_1"}
    routed_cloud.says(HELLO)
    assert run("chat", "ab", "hi").code == 0
    assert sent(routed_cloud)["adapter"] == {"kind": "final", "jobId": "abc_1"}
    ambiguous = run("chat", "job_", "hi")
    assert (ambiguous.code, ambiguous.out) == (2, "")
    assert "3 ids begin with 'job_'; give more of one of them: job_2, job_3, job_4" in ambiguous.err


def test_the_question_may_come_on_stdin_and_the_last_completed_job_answers(routed_cloud: Cloud) -> None:
    """A job that completed earlier does not count, though it was created later, nor one that failed, nor a dry run."""
    routed_cloud.says(HELLO)
    done = subprocess.run(
        [sys.executable, "-m", "arkor.cli", "chat"],
        input="from a pipe\n",
        capture_output=True,
        text=True,
        env=dict(os.environ),
        timeout=TIMEOUT_S,
        check=True,
    )
    assert done.stdout == "Hello\n"
    assert sent(routed_cloud)["adapter"] == {"kind": "final", "jobId": "job_2"}
    assert sent(routed_cloud)["messages"] == [{"role": "user", "content": "from a pipe"}]


def test_without_a_question_nothing_is_asked(routed_cloud: Cloud) -> None:
    """As from cron, where nobody types: an empty question would be answered with anything."""
    ended = run("chat", "job_1")
    assert (ended.code, ended.out) == (2, "")
    assert "There is no question: give a PROMPT, or a text on stdin." in ended.err
    assert routed_cloud.calls("POST", CHAT) == []


def test_a_question_alone_is_not_taken_for_a_model(routed_cloud: Cloud) -> None:
    """Nothing is asked; the line says where a question goes."""
    ended = run("chat", "where is my lamp?")
    assert (ended.code, ended.out) == (2, "")
    assert "A question comes after one: arkor chat JOB 'where is my lamp?'; or on stdin." in ended.err
    assert routed_cloud.calls("POST", CHAT) == []


def test_no_terminal_obeys_an_answer(routed_cloud: Cloud) -> None:
    """A model may say anything; a pipe gets all of it."""
    said = Stream(frames=[chunk("Hi\x1b]0;mine\x07\u200d\n"), chunk("\x9b2Jthere\t!"), DONE])
    routed_cloud.says(said, said)
    with Terminal("chat", "job_1", "hi") as terminal:
        assert terminal.end() == (0, "Hi]0;mine\u200d\n2Jthere\t!\n")
    assert run("chat", "job_1", "hi").out == "Hi\x1b]0;mine\x07\u200d\n\x9b2Jthere\t!\n"


def test_the_raw_body_is_printed_on_request(routed_cloud: Cloud) -> None:
    """``--json``: one object, not streamed."""
    body = {"choices": [{"message": {"content": "Hello"}}]}
    routed_cloud.says(Answer(body=body))
    ended = run("chat", "job_1", "hi", "--json")
    assert json.loads(ended.out) == body
    assert sent(routed_cloud)["stream"] is False


def test_a_cut_answer_is_an_error(routed_cloud: Cloud) -> None:
    """Exit code 3 after what had arrived."""
    routed_cloud.says(Stream(frames=[chunk("Hel")]))
    ended = run("chat", "job_1", "hi")
    assert (ended.code, ended.out.strip()) == (3, "Hel")
    assert "cut in the middle" in ended.err
