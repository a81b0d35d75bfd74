"""What a backend gives notice of, as somebody at a terminal meets it."""

from __future__ import annotations

import json
import re
import threading

from tests.support.cloud import Cloud
from tests.support.commands import Command, run
from tests.support.contract import Answer, Stream
from tests.support.eventually import eventually
from tests.support.waiting import make_trainer

NOTICE = {
    "Deprecation": "true",
    "Warning": '299 - "v1 goes away\x1b[2J."',
    "Sunset": "Thu, 31 Dec 2026 23:59:59 GMT",
}
SHOWN = r"Notice from 127\.0\.0\.1:\d+: v1 goes away \[2J\. It stops working on 2026-12-31\. Upgrade with: \S.*\n"


def test_a_notice_is_shown_once_and_json_stays_json(routed_cloud: Cloud) -> None:
    """On stderr; the exit code is the same."""
    body = {"choices": [{"message": {"content": "Hello"}}]}
    routed_cloud.answer("POST", "/v1/inference/chat", Answer(body=body, headers=NOTICE))
    ended = run("chat", "some-model", "Hi", "--json")
    assert ended.code == 0, ended.err
    assert json.loads(ended.out) == body
    assert re.fullmatch(SHOWN, ended.err)


def test_a_notice_is_shown_after_ctrl_c_too(routed_cloud: Cloud) -> None:
    """With 130, as ever."""
    job = routed_cloud.jobs["job_1"] = {"id": "job_1", "status": "running", "createdAt": "2026-01-01"}
    routed_cloud.answer("GET", "/v1/jobs/job_1", Answer(body={"job": job}, headers=NOTICE))
    routed_cloud.stream(Stream(frames=[], gate=threading.Event()))
    command = Command("attach", "job_1")
    eventually(lambda: routed_cloud.streams, "the command follows the job")
    ended = command.interrupt()
    assert ended.code == 130
    assert re.fullmatch(rf"\nInterrupted\. Job job_1 keeps running\.\n(  .*\n)+{SHOWN}", ended.err)


def test_a_notice_is_shown_after_a_failure_too(routed_cloud: Cloud) -> None:
    """After the error, which is a backend's words as well: neither can command the terminal."""
    make_trainer(routed_cloud).start()
    error = {"error": "Not\x1b[2J\x07 yours\u202e"}
    routed_cloud.answer("POST", "/v1/jobs/job_1/cancel", Answer(status=403, body=error, headers=NOTICE))
    ended = run("cancel", "job_1")
    assert ended.code == 3
    assert re.fullmatch(rf"Error: Not \[2J  yours \n{SHOWN}", ended.err)
    assert ended.err.replace("\n", "").isprintable()
