"""``arkor logs`` and ``arkor metrics``, on a terminal and piped, against a stand-in for Arkor Cloud."""

from __future__ import annotations

import csv
import io
import json
import threading
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from arkor.cli.display.job_table import local_time
from arkor.protocol.metrics import COLUMNS
from tests.support.cloud import Cloud
from tests.support.commands import Command, Ended, run
from tests.support.contract import STREAM, Answer, Stream
from tests.support.events import END, PING, TIMESTAMP, checkpoint, completed, failed, frame, frames, log, started
from tests.support.eventually import eventually
from tests.support.terminal import Terminal
from tests.support.waiting import make_trainer

AT = local_time(TIMESTAMP, "%Y-%m-%d %H:%M:%S")
PLAN: list[Mapping[str, Any]] = [
    started(),
    log(1, 2.5, learningRate=0.0002, epoch=0.5),
    log(1, evalLoss=2.25),
    checkpoint(1),
    log(2, 1.5, epoch=1),
    failed("out of\x1b[31m memory"),
]


@pytest.fixture
def job(routed_cloud: Cloud) -> Cloud:
    """A stand-in with one job, which failed."""
    routed_cloud.plan = PLAN
    make_trainer(routed_cloud).start()
    routed_cloud.jobs["job_1"]["status"] = "failed"
    return routed_cloud


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """What a stream stays open for."""
    event = threading.Event()
    yield event
    event.set()


def test_the_log_of_a_job_is_what_attach_printed(job: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    """With times, and its end; it exits 0 however the job ended, and no terminal obeys its error."""
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    ended = run("logs", "job")
    assert (ended.code, ended.err) == (0, "")
    first, *_, last = ended.out.splitlines()
    assert first.startswith("2026-01-01 09:00:00  Training started")
    assert "  step 1  loss 2.5000" in ended.out
    assert "  step 1  checkpoint saved" in ended.out
    assert last == "2026-01-01 09:00:00  Training failed: out of [31m memory"
    with Terminal("logs", "job") as terminal:
        code, shown = terminal.end()
    assert (code, shown) == (0, "2026-01-01\n" + ended.out.replace("2026-01-01 ", ""))


def test_the_log_goes_on_behind_an_event(job: Cloud) -> None:
    """Whose id is shown on request."""
    numbered = run("logs", "job", "--ids").out.splitlines()
    assert [line.split()[0] for line in numbered] == ["1", "2", "3", "4", "5", "6"]
    assert run("logs", "job", "--ids", "--since", "4").out.splitlines() == numbered[4:]
    assert run("logs", "job", "--since", "6") == Ended(0, "", "")  # not that it has told nothing


def test_events_need_no_ids(routed_cloud: Cloud) -> None:
    """A backend that numbers none has told something all the same."""
    unnumbered = [frame(1, event).partition(b"\n")[2] for event in (started(), completed())]
    routed_cloud.stream(Stream(frames=[*unnumbered, END]))
    make_trainer(routed_cloud).start()
    routed_cloud.jobs["job_1"]["status"] = "completed"
    ended = run("logs", "job_1", "--ids")
    assert (ended.code, ended.out, ended.err) == (
        0,
        f"   -  {AT}  Training started\n   -  {AT}  Training completed\n",
        "",
    )


def test_a_wrong_event_is_refused(job: Cloud) -> None:
    """By arkor or by the backend, and at once."""
    job.answer("GET", STREAM, Answer(status=400, body={"error": "Last-Event-ID must be an id, not 'x'"}))
    refused = run("logs", "job", "--since", "x")
    assert (refused.code, refused.err) == (2, "Error: Last-Event-ID must be an id, not 'x'\n")
    refused = run("logs", "job", "--since", "a\nb")
    assert (refused.code, refused.out) == (2, "")


def test_the_log_as_json_has_each_event_as_it_came(job: Cloud) -> None:
    """One a line, with its id, also where this version does not know its type."""
    job.plan = [*PLAN[:2], {"type": "new.thing", "level": 3}, PLAN[-1]]
    events = [json.loads(line) for line in run("logs", "job", "--json").out.splitlines()]
    assert [(event["id"], event["type"]) for event in events[1:]] == [
        ("2", "training.log"),
        ("3", "new.thing"),
        ("4", "training.failed"),
    ]
    assert (events[1]["loss"], events[2]["level"]) == (2.5, 3)


def test_the_log_of_a_running_job_ends_where_the_job_is(job: Cloud, gate: threading.Event) -> None:
    """One that has not begun says so."""
    job.settle("running")
    job.stream(Stream(frames=[*frames(PLAN[:2]), PING], gate=gate), Stream(frames=[PING], gate=gate))
    assert len(run("logs", "job").out.splitlines()) == 2
    job.settle("queued")
    silent = run("logs", "job")
    assert (silent.code, silent.out, silent.err) == (0, "", "Job job_1 (queued) has no events.\n")


def test_following_goes_on_to_the_end(job: Cloud, gate: threading.Event) -> None:
    """Each line comes as it happens, across a lost connection."""
    job.settle("running")
    rest = [frame(3, log(2, 1.5)), frame(4, completed()), END]
    job.stream(Stream(frames=[*frames(PLAN[:2]), PING], gate=gate), Stream(frames=rest))
    with Terminal("logs", "job", "-f") as terminal:
        terminal.expect("step 1  loss")
        gate.set()
        code, seen = terminal.end()
    time = AT.split()[1]
    assert (code, seen.splitlines()[3:]) == (0, [f"{time}  step 2  loss 1.5000", f"{time}  Training completed"])


def test_ctrl_c_ends_following(job: Cloud, gate: threading.Event) -> None:
    """And nothing else."""
    job.settle("running")
    job.stream(Stream(frames=frames(PLAN[:2]), gate=gate))
    command = Command("logs", "job", "--follow")
    eventually(lambda: job.streams, "the stream is open")
    ended = command.interrupt()
    assert (ended.code, ended.err.strip()) == (130, "Interrupted.")
    assert not job.calls("POST", "/v1/jobs/*/cancel")


def test_the_figures_of_a_job_are_a_table(job: Cloud) -> None:
    """A line for each log event; a column that nothing is in is not shown."""
    ended = run("metrics", "job")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out == (
        "STEP    LOSS  EVAL LOSS  LEARNING RATE  EPOCH\n"
        "   1  2.5000                    0.0002   0.50\n"
        "   1             2.2500\n"
        "   2  1.5000                             1.00\n"
    )
    with Terminal("metrics", "job") as terminal:
        assert terminal.end() == (0, ended.out)


def test_the_figures_of_a_job_for_programs(job: Cloud) -> None:
    """As CSV and as JSON; what is absent is empty, or null."""
    out = run("metrics", "job", "--csv").out
    assert out.splitlines()[0] == ",".join(COLUMNS)
    rows = list(csv.DictReader(io.StringIO(out)))
    assert [(row["step"], row["loss"], row["eval_loss"]) for row in rows] == [
        ("1", "2.5", ""),
        ("1", "", "2.25"),
        ("2", "1.5", ""),
    ]
    figures = json.loads(run("metrics", "job", "--json").out)
    assert [(entry["loss"], entry["learning_rate"]) for entry in figures] == [(2.5, 0.0002), (None, None), (1.5, None)]


def test_the_losses_of_a_job_are_a_plot(job: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    """As wide as the terminal, in braille or, under LC_ALL=C, in ASCII; only one form may be asked for."""
    for locale, is_ascii in (("C.UTF-8", False), ("C", True)):
        monkeypatch.setenv("LC_ALL", locale)
        with Terminal("metrics", "job", "--plot", columns=45) as terminal:
            code, shown = terminal.end()
        lines = shown.splitlines()
        assert (code, lines[-1], shown.isascii()) == (0, "  loss 1.500   o held-out 2.250", is_ascii)
        assert max(map(len, lines)) == 44
    assert run("metrics", "job", "--plot", "--json").code == 2
    job.plan = [started(), failed("boom")]
    assert run("metrics", "job", "--plot").err == "Job job_1 (failed) has no metrics.\n"


def test_a_job_without_figures_says_so(job: Cloud) -> None:
    """For programs it is an empty list."""
    job.plan = [started(), failed("boom")]
    ended = run("metrics", "job")
    assert (ended.code, ended.out, ended.err) == (0, "", "Job job_1 (failed) has no metrics.\n")
    assert json.loads(run("metrics", "job", "--json").out) == []
