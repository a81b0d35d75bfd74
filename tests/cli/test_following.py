"""How ``arkor start`` and ``attach`` show a job: on a terminal, piped, as JSON; and what they do where one runs."""

from __future__ import annotations

import json
import re
import threading
from pathlib import Path
from typing import Any

import click
import psutil
import pytest

from tests.cli.test_commands import write_entry
from tests.support.cloud import Cloud
from tests.support.commands import Command, run
from tests.support.contract import STREAM, Answer, Late, Stream
from tests.support.events import TIMESTAMP, completed, failed, frame, log, started
from tests.support.eventually import eventually
from tests.support.terminal import Terminal

PRINTS = """callbacks={"on_log": lambda log: (print("called", log.step), __import__("os").system("echo child"))}"""


def lines_of(out: str) -> list[dict[str, Any]]:
    """Return the objects of a text that is nothing but JSON lines."""

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is no JSON")

    return [json.loads(line, parse_constant=refuse) for line in out.splitlines()]


# JSON


def test_json_is_all_that_is_on_stdout(arkor_cloud: Cloud) -> None:
    """Messages, the user's own output and that of child processes are on stderr; every event is there with its id."""
    write_entry(more=PRINTS)
    ended = run("start", "--json")
    assert ended.code == 0
    bodies = lines_of(ended.out)
    assert [body["id"] for body in bodies] == ["1", "2", "3", "4", "5", "6"]
    assert bodies[1] == {
        "id": "2",
        "type": "training.log",
        "jobId": "job_1",
        "timestamp": TIMESTAMP,
        "step": 1,
        "loss": 2.5,
    }
    assert bodies[-1]["metrics"] == {"trainLoss": 0.5}
    for line in ("Started job job_1", "called 3", "child", "Job job_1 finished with status=completed"):
        assert line in ended.err.splitlines()


def test_json_is_written_at_once(arkor_cloud: Cloud) -> None:
    """Whoever reads it hears of an event when it happens, not at the end."""
    gate = threading.Event()
    arkor_cloud.stream(Stream(frames=[frame(1, started())], gate=gate))
    write_entry()
    command = Command("start", "--json")
    assert command.process.stdout is not None
    assert json.loads(command.process.stdout.readline())["type"] == "training.started"
    gate.set()
    assert command.end().code == 0


def test_a_figure_that_is_not_finite_is_null(arkor_cloud: Cloud) -> None:
    """JSON has no word for it, and most readers would stop at one."""
    arkor_cloud.plan = [log(1, float("nan"), evalLoss=float("inf"), note="é\x1b"), completed()]
    write_entry()
    first, _ = lines_of(run("start", "--json").out)
    assert (first["loss"], first["evalLoss"], first["note"]) == (None, None, "é\x1b")


def test_attach_prints_the_same_json(routed_cloud: Cloud) -> None:
    """And exits as the job ended, an end that no event told included."""
    routed_cloud.jobs["job_9"] = {"id": "job_9", "name": "run", "status": "cancelled"}
    ended = run("attach", "job_9", "--json")
    assert ended.code == 1
    assert [(body["type"], body["jobId"]) for body in lines_of(ended.out)] == [("training.cancelled", "job_9")]
    assert "Following job job_9" in ended.err


def test_a_detached_start_prints_the_job_as_json(arkor_cloud: Cloud) -> None:
    """One object, without the token of its data set."""
    write_entry(dataset={"type": "blob", "url": "http://example.com/rows", "token": "secret-1"})
    ended = run("start", "--json", "--detach")
    (body,) = lines_of(ended.out)
    assert (body["id"], body["name"], body["config"]["datasetSource"]["token"]) == ("job_1", "run", "…")
    assert "secret-1" not in ended.out + ended.err
    assert "arkor attach job_1" in ended.err


def test_the_artifact_takes_the_same_options(arkor_cloud: Cloud) -> None:
    """``python .arkor/build/index.pyz --json --if-running skip``."""
    write_entry()
    run("build")
    ended = Command("--json", "--if-running", "skip", program=(".arkor/build/index.pyz",)).end()
    assert (ended.code, lines_of(ended.out)[0]["jobId"]) == (0, "job_1")


# A terminal


def rows(shown: str) -> list[str]:
    """Return what a terminal shows in the end, row by row."""
    screen = []
    for text in shown.split("\n"):
        row: list[str] = []
        for piece in text.split("\r"):
            row[: len(piece)] = piece
        screen.append("".join(row).rstrip())
    return screen


def test_a_terminal_has_a_bar_and_what_callbacks_print_above_it(
    arkor_cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the job is queued that is said; no escape sequence is used. A line on the end takes the bar's place."""
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    gate = threading.Event()
    arkor_cloud.answer("GET", STREAM, Late(gate=gate))
    write_entry(more='max_steps=3, callbacks={"on_log": lambda log: print("called", log.step)}')
    with Terminal("start", term="xterm") as terminal:
        terminal.expect("queued or starting")
        gate.set()
        code, shown = terminal.end()
    assert code == 0
    assert rows(shown) == [
        "Started job job_1",
        "  model  m",
        "called 1",
        "called 2",
        "called 3",
        "✓ completed · loss 0.500 · adapter 0.0 MiB",
        "Next:",
        "  arkor chat job_1",
        "  arkor download job_1",
        "",
    ]
    assert re.search(r"\rtraining  ▕█{20} {10}▏   66%  2/3  loss 1\.5000", shown)
    assert "\x1b" not in shown


def test_attach_has_the_same_bar(routed_cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a total it is a line that goes on; under LC_ALL=C all is ASCII."""
    monkeypatch.setenv("LC_ALL", "C")
    routed_cloud.jobs["job_9"] = {"id": "job_9", "status": "running"}
    with Terminal("attach", "job_9") as terminal:
        _, shown = terminal.end()
    assert rows(shown)[:3] == ["Following job job_9", "  model  m", "OK completed | loss 0.500 | adapter 0.0 MiB"]
    assert shown.isascii()
    assert "\rtraining  2  loss 1.5000" in shown


def test_ctrl_c_leaves_the_bar_and_says_how_to_go_on(arkor_cloud: Cloud) -> None:
    """The message begins on a line of its own."""
    gate = threading.Event()
    arkor_cloud.stream(Stream(frames=[frame(1, started()), frame(2, log(1, 2.5))], gate=gate))
    write_entry(more="max_steps=3")
    with Terminal("start") as terminal:
        terminal.expect("1/3")
        terminal.process.send_signal(2)
        code, shown = terminal.end()
    gate.set()
    assert code == 130
    assert "Interrupted. Job job_1 keeps running." in rows(shown)


def test_a_terminal_has_a_block_at_the_beginning_and_at_the_end(
    routed_cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In colours; warnings are among it, and what the backend says has no escape sequence of its own."""
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    monkeypatch.delenv("NO_COLOR", raising=False)
    receipt = {"rows": 9, "heldOutRows": 2, "answers": 9, "tokens": 70, "countedTokens": 20, "maxLength": 64}
    dropped = {**receipt, "dropped": {"count": 1, "rows": [7]}}
    said = {"model": "m\x1b[2J", "maxSteps": 4, "device": "cpu", "receipt": dropped, "advice": ["double max_steps"]}
    artifacts = [{"name": "adapter", "kind": "adapter", "sizeBytes": 3 * 2**19}]
    times = {"startedAt": "2026-01-01T00:00:00Z", "completedAt": "2026-01-01T00:04:27Z"}
    routed_cloud.jobs["job_9"] = {"id": "job_9", "status": "running", "config": {"batchSize": 2}, **times}
    routed_cloud.plan = [started(**said), log(2, 1.5, evalLoss=0.75), log(4, 0.25, evalLoss=0.5), completed(*artifacts)]
    with Terminal("attach", "job_9", term="xterm", columns=60) as terminal:
        code, shown = terminal.end()
    plain = rows(click.unstyle(shown))
    assert (code, plain) == (
        0,
        [
            "Following job job_9",
            "  model    m [2J",
            "  dataset  9 rows to train on, 2 held out: 9 answers, 70",
            "           tokens of which 20 count; max_length 64",
            "  steps    4, each of 2 rows",
            "  device   cpu",
            "  Warning: 1 row dropped: nothing in them can be learnt",
            "  within max_length (row 7)",
            "  Advice: double max_steps",
            "✓ completed in 4m 27s · loss 0.250 · held-out 0.500",
            "  adapter 1.5 MiB",
            "Next:",
            "  arkor chat job_9",
            "  arkor download job_9",
            "",
        ],
    )
    assert "\x1b[33mWarning: 1 row dropped" in shown
    assert "\x1b[32m\x1b[1m✓ completed\x1b[0m" in shown
    assert "\x1b[2J" not in shown


def test_a_job_that_fails_says_where_on_a_terminal(routed_cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the reason, and without commands that use the model."""
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    routed_cloud.jobs["job_9"] = {"id": "job_9", "status": "running"}
    routed_cloud.plan = [started(), log(1, 2.5), failed("boom")]
    with Terminal("attach", "job_9") as terminal:
        code, shown = terminal.end()
    assert (code, rows(shown)[1:]) == (1, ["✗ failed · at step 1", "Error: boom", ""])


def test_a_queued_job_says_what_it_waits_for(routed_cloud: Cloud) -> None:
    """As soon as the backend says which job runs, and how far that is."""
    gate = threading.Event()
    routed_cloud.answer("GET", STREAM, Late(gate=gate))
    ahead = {"jobId": "job_8", "step": 24, "maxSteps": 60}
    routed_cloud.jobs["job_9"] = {"id": "job_9", "status": "queued", "waitsFor": ahead}
    with Terminal("attach", "job_9") as terminal:
        terminal.expect("\rwaiting for job_8 (40%)")
        gate.set()
        assert terminal.end()[0] == 0


# Where another one runs


@pytest.fixture
def running(routed_cloud: Cloud) -> Cloud:
    """A project in which a job of the entry's name runs."""
    job = {"id": "job_9", "name": "run", "status": "running", "createdAt": TIMESTAMP}
    routed_cloud.jobs["job_9"] = job
    write_entry(more=PRINTS)
    return routed_cloud


@pytest.mark.parametrize(
    ("options", "code", "out", "err"),
    [
        (("skip", "--json"), 0, "", "Job job_9 of the same name (run) is running: nothing was started.\n"),
        (("fail",), 1, "", "Error: Job job_9 of the same name (run) is running; nothing was started.\n"),
    ],
)
def test_a_start_beside_one_that_runs(running: Cloud, options: tuple[str, ...], code: int, out: str, err: str) -> None:
    """Is left, in peace or as a failure; the message names the job."""
    ended = run("start", "--if-running", *options)
    assert (ended.code, ended.out, ended.err) == (code, out, err)
    assert not running.calls("POST", "/v1/jobs")


def test_a_start_may_follow_the_one_that_runs(running: Cloud) -> None:
    """To its end, as attach does: the entry's callbacks are not called."""
    ended = run("start", "--if-running", "attach")
    assert ended.code == 0
    assert ended.out.splitlines()[:2] == ["Following job job_9", "Training started"]
    assert "called" not in ended.out
    assert ended.err == "Job job_9 of the same name (run) is running: following it.\n"
    assert not running.calls("POST", "/v1/jobs")


def test_ctrl_c_never_stops_one_that_was_started_elsewhere(running: Cloud) -> None:
    """Whoever started it may be waiting for it."""
    running.stream(Stream(frames=[frame(1, started())], gate=threading.Event()))
    command = Command("start", "--if-running", "attach", "--on-interrupt", "cancel")
    eventually(lambda: running.calls("GET", STREAM), "it is followed")
    ended = command.interrupt()
    assert (ended.code, running.jobs["job_9"]["status"]) == (130, "running")
    assert "Interrupted. Job job_9 keeps running." in ended.err


def test_a_detached_start_names_the_one_that_runs(running: Cloud) -> None:
    """What --detach prints is the id of the job to follow."""
    ended = run("start", "--if-running", "attach", "--detach")
    assert (ended.code, ended.out) == (0, "job_9\n")


def test_one_that_ended_does_not_count(running: Cloud) -> None:
    """Nor does one of another name."""
    running.jobs["job_9"]["status"] = "cancelled"
    running.jobs["job_8"] = {**running.jobs["job_9"], "id": "job_8", "name": "runs", "status": "running"}
    assert run("start", "--if-running", "fail").code == 0
    assert "job_3" in running.jobs


def test_two_at_once_in_one_folder_start_one(routed_cloud: Cloud, project: Path) -> None:
    """The second waits for the first, finds its job, and leaves."""
    write_entry()
    gate = threading.Event()
    routed_cloud.answer("GET", "/v1/jobs", Late(gate=gate))
    first = Command("start", "--if-running", "skip", "--detach")
    eventually(lambda: routed_cloud.calls("GET", "/v1/jobs"), "the first looks")
    second = Command("start", "--if-running", "skip", "--detach")
    lock = str(project / ".arkor" / "start.lock")
    opened = psutil.Process(second.process.pid).open_files
    eventually(lambda: lock in [file.path for file in opened()], "the second waits for the first")
    gate.set()
    assert [command.end().out for command in (first, second)] == ["job_1\n", ""]
    assert list(routed_cloud.jobs) == ["job_1"]
    assert run("start", "--detach").out == "job_2\n"  # the default does not look


def test_a_look_that_is_refused_starts_nothing(running: Cloud) -> None:
    """Whether one runs could not be found out: exit code 3."""
    running.answer("GET", "/v1/jobs", Answer(status=403, body={"error": "Not yours"}))
    ended = run("start", "--if-running", "skip")
    assert (ended.code, "Not yours" in ended.err) == (3, True)
    assert not running.calls("POST", "/v1/jobs")
