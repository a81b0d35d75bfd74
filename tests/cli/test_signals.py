"""SIGTERM and SIGHUP: they end a command as Ctrl-C does, each with its own exit code."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator

import pytest

from tests.cli.test_commands import write_entry
from tests.support.cloud import Cloud
from tests.support.commands import Command, Ended
from tests.support.contract import Answer, Stream
from tests.support.events import frame, started
from tests.support.eventually import eventually
from tests.support.terminal import Terminal

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no such signals")

TIMEOUT_S = 30.0
CANCEL = "/v1/jobs/*/cancel"
BOTH = [pytest.param(signal.SIGTERM, 143, id="SIGTERM"), pytest.param(signal.SIGHUP, 129, id="SIGHUP")]
NOHUP = "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN); from arkor.cli import main; main()"
FORKS = """\
import multiprocessing
import threading


def wait():
    print("waiting", flush=True)
    threading.Event().wait()


def on_started(_):
    child = multiprocessing.get_context("fork").Process(target=wait)
    child.start()
    child.terminate()
    child.join()
    print("child", child.exitcode, flush=True)


from arkor import HuggingFaceDataset, Trainer

trainer = Trainer(name="run", model="m", dataset=HuggingFaceDataset("a/b"), callbacks={"on_started": on_started})
"""


@pytest.fixture(autouse=True)
def hangups() -> Iterator[None]:
    """Let SIGHUP end the commands of a test, even if these tests run under ``nohup``: children inherit it."""
    former = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, former)


@pytest.fixture
def running(arkor_cloud: Cloud) -> Cloud:
    """A stand-in whose job runs for as long as the test, in a project with an entry."""
    arkor_cloud.stream(Stream(frames=[frame(1, started())], gate=threading.Event()))
    write_entry()
    return arkor_cloud


def ended_by(command: Command, number: int) -> Ended:
    """Send a signal, and wait for the end."""
    command.process.send_signal(number)
    return command.end()


@pytest.mark.parametrize(("number", "code"), BOTH)
def test_it_says_that_the_job_goes_on_and_how_to_reach_it(running: Cloud, number: int, code: int) -> None:
    """And leaves the job alone."""
    command = Command("start")
    eventually(lambda: running.streams, "the job is followed", TIMEOUT_S)
    ended = ended_by(command, number)
    assert ended.code == code
    assert "Job job_1 keeps running." in ended.err
    assert "arkor attach job_1\n" in ended.err
    assert not running.calls("POST", CANCEL)


@pytest.mark.parametrize(("number", "code"), BOTH)
def test_on_interrupt_cancel_is_heeded(running: Cloud, number: int, code: int) -> None:
    """As for Ctrl-C."""
    command = Command("start", "--on-interrupt", "cancel")
    eventually(lambda: running.streams, "the job is followed", TIMEOUT_S)
    ended = ended_by(command, number)
    assert ended.code == code
    assert "Asked the backend to stop job job_1." in ended.err
    assert running.calls("POST", CANCEL)


def test_before_the_job_is_submitted_nothing_runs(arkor_cloud: Cloud) -> None:
    """There is nothing to attach to."""
    arkor_cloud.answer("POST", "/v1/auth/anonymous", Answer(gate=threading.Event()))
    write_entry()
    command = Command("start")
    eventually(lambda: arkor_cloud.requests, "the first request is under way", TIMEOUT_S)
    ended = ended_by(command, signal.SIGTERM)
    assert (ended.code, ended.err) == (143, "Interrupted; no job was submitted.\n")


@pytest.mark.parametrize("arguments", [("attach", "job_9"), ("logs", "job_9", "--follow")], ids=["attach", "logs"])
def test_other_commands_that_follow_a_job_end_too(routed_cloud: Cloud, arguments: tuple[str, ...]) -> None:
    """With the same exit code."""
    routed_cloud.jobs["job_9"] = {"id": "job_9", "status": "running"}
    routed_cloud.stream(Stream(frames=[frame(1, started())], gate=threading.Event()))
    command = Command(*arguments)
    eventually(lambda: routed_cloud.streams, "the job is followed", TIMEOUT_S)
    assert ended_by(command, signal.SIGTERM).code == 143


def test_a_conversation_ends_at_the_prompt(routed_cloud: Cloud) -> None:
    """Though Ctrl-C may only discard a line."""
    with Terminal("chat", "smollm2-135m") as terminal:
        terminal.expect("> ")
        terminal.press("never mi")
        terminal.expect("never mi")
        terminal.interrupt(signal.SIGTERM)
        code, seen = terminal.end()
    assert code == 143
    assert seen.endswith("\nInterrupted.\n")


def test_a_conversation_ends_during_an_answer(routed_cloud: Cloud) -> None:
    """Though Ctrl-C only stops the answer."""
    routed_cloud.says(Answer(gate=threading.Event()))
    with Terminal("chat", "smollm2-135m") as terminal:
        terminal.expect("> ")
        terminal.type("a story")
        eventually(lambda: routed_cloud.calls("POST", "/v1/inference/chat"), "it is asked", TIMEOUT_S)
        terminal.interrupt(signal.SIGTERM)
        assert terminal.end()[0] == 143


def test_nohup_lets_the_wait_outlive_the_terminal(arkor_cloud: Cloud) -> None:
    """SIGHUP stays ignored; SIGTERM ends the wait."""
    gate = threading.Event()
    arkor_cloud.stream(Stream(frames=[frame(1, started())], gate=gate))
    write_entry()
    command = Command("start", program=("-c", NOHUP))
    eventually(lambda: arkor_cloud.streams, "the job is followed", TIMEOUT_S)
    command.process.send_signal(signal.SIGHUP)
    gate.set()
    assert command.end().code == 0


def test_a_terminal_that_closes_ends_the_wait_in_good_order(running: Cloud) -> None:
    """Though nothing can be printed there any more."""
    with Terminal("start", "--on-interrupt", "cancel") as terminal:
        terminal.expect("Started job job_1")
        eventually(lambda: running.streams, "the job is followed", TIMEOUT_S)
        terminal.hang_up()
        assert terminal.process.wait(TIMEOUT_S) == 129
    assert running.calls("POST", CANCEL)


def test_a_process_that_a_callback_forks_is_ended_by_sigterm(arkor_cloud: Cloud) -> None:
    """It says nothing, and does not take itself for the command."""
    entry = write_entry()
    entry.write_text(FORKS)
    ended = Command("start").end()
    assert ended.code == 0, ended.err
    assert f"child {-signal.SIGTERM}" in ended.out
    assert "keeps running" not in ended.err
