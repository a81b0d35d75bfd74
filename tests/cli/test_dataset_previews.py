"""``arkor dataset check --model`` and ``arkor dataset show`` as their users meet them, with a scripted tokenizer."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.backend import BackendProcess, is_running, own_backend
from tests.support.cloud import Cloud
from tests.support.commands import TIMEOUT_S, Command, run
from tests.support.eventually import eventually
from tests.support.terminal import Terminal
from tests.support.tiny_model import write_tiny_model

HOLD = '{"behaves": "hold"}'


@pytest.fixture
def backend(home: Path) -> Iterator[BackendProcess]:
    """This user's own backend, running where ``--local`` looks for it."""
    with own_backend(home) as running:
        yield running


@pytest.fixture
def options(project: Path, backend: BackendProcess) -> tuple[str, ...]:
    """Write rows and a model; return the options that name it."""
    Path("rows.jsonl").write_text('{"text": "a"}\n' * 4)
    Path("rows.csv").write_text("text\na\nb\n")
    return ("--model", str(write_tiny_model(project / "model")), "--local")


def test_a_file_is_summed_up_as_the_model_sees_it(options: tuple[str, ...]) -> None:
    """Below what is known without a model."""
    ended = run("dataset", "check", "rows.jsonl", *options, "--max-length", "12")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out == (
        "rows.jsonl: 4 rows of text, all good\n"
        "  longest  row 1: 1 character\n"
        "  size     56 bytes as JSONL\n"
        f"  as {options[1]} sees them:\n"
        "    tokens   p50 10, p90 20, p99 20, longest 20\n"
        "    longest  row 4 (20), row 1 (10)\n"
        "    longer   than 12: 1 row\n"
        "    4 rows to train on: 4 answers, 50 tokens of which 0 count; max_length 12\n"
        "    Warning: 1 row cut to max_length (row 4)\n"
    )


def test_a_job_that_would_fail_is_told(options: tuple[str, ...]) -> None:
    """After the summary, with exit code 2; for programs, too."""
    ended = run("dataset", "check", "rows.csv", *options, "--excess-length", "error")
    assert (ended.code, ended.err) == (2, "Error: rows.csv: a job would fail: 4 of 4 rows would be lost\n")
    assert "4 rows to train on" in ended.out
    ended = run("dataset", "check", "rows.csv", *options, "--excess-length", "error", "--json")
    told = json.loads(ended.out)
    assert (ended.code, told["rows"], told["tokens"]["problem"]) == (2, 2, "4 of 4 rows would be lost")
    assert told["tokens"]["longestRows"] == [{"row": 4, "tokens": 20}, {"row": 1, "tokens": 10}]
    assert told["tokens"]["histogram"][0] == {"atLeast": 10, "below": 20, "examples": 3}


def test_a_row_is_shown_between_marks(options: tuple[str, ...]) -> None:
    """Where there are no colours."""
    ended = run("dataset", "show", "rows.jsonl", *options, "--row", "3")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out == "row 3 of chatml: 1 example\n  4 tokens, 2 counted\n\n<user> hi\n⟦hello ⟧\n"


def test_a_row_is_shown_in_colour(options: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal, unless NO_COLOR is set."""
    with Terminal("dataset", "show", "rows.jsonl", *options, term="xterm") as terminal:
        assert "<user> hi\n\x1b[32m\x1b[4mhello \x1b[0m\n" in terminal.expect("hello \x1b[0m\n")
    monkeypatch.setenv("NO_COLOR", "1")
    with Terminal("dataset", "show", "rows.jsonl", *options, term="xterm") as terminal:
        assert "\x1b" not in terminal.expect("⟦hello ⟧\n")


def test_a_row_is_told_to_programs(options: tuple[str, ...]) -> None:
    """Token by token."""
    ended = run("dataset", "show", "rows.jsonl", *options, "--json")
    told = json.loads(ended.out)
    assert (ended.code, told["row"]) == (0, 1)
    assert told["examples"][0]["tokens"][2] == {"id": 2, "text": "hel", "counted": True}


def test_every_setting_of_rows_can_be_tried(options: tuple[str, ...]) -> None:
    """As the job would have it."""
    settings = ("--max-length", "12", "--excess-length", "drop", "--allow-dropped-field", "tools", "--raw")
    kwargs = ("--chat-template-kwargs", '{"behaves": "settings"}', "--escape-special-tokens")
    told = json.loads(run("dataset", "show", "rows.jsonl", *options, *settings, *kwargs, "--json").out)
    assert {
        "allowDroppedFields=['tools']",
        "applyChatTemplate=False",
        "escapeSpecialTokens=True",
        "excessLength=drop",
        "maxLength=12",
    } <= set(told["leftOut"])


def test_rows_may_come_on_stdin(options: tuple[str, ...]) -> None:
    """In any format."""
    command = [sys.executable, "-m", "arkor.cli", "dataset", "show", "-", "--format", "csv", *options]
    environment = {**os.environ, "PYTHONWARNINGS": "error"}
    ended = subprocess.run(
        command, input=b"text\na\n", capture_output=True, timeout=TIMEOUT_S, env=environment, check=False
    )
    assert (ended.returncode, ended.stderr) == (0, b"")
    assert ended.stdout.decode().startswith("row 1 of chatml")


def test_what_the_backend_finds_in_rows_is_told(options: tuple[str, ...]) -> None:
    """By the file's name, with exit code 2."""
    refuse = ("--chat-template-kwargs", '{"behaves": "refuse"}')
    ended = run("dataset", "check", "rows.jsonl", *options, *refuse)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err == "Error: rows.jsonl: a row cannot be trained on\n  row 3: scripted\n"
    ended = run("dataset", "show", "rows.jsonl", *options, *refuse, "--json")
    assert (ended.code, json.loads(ended.out)["rows"]) == (2, [{"row": 3, "reason": "scripted"}])


def test_ctrl_c_ends_the_command_and_what_the_backend_does_for_it(
    options: tuple[str, ...], backend: BackendProcess
) -> None:
    """Exit code 130, and no process is left."""
    command = Command("dataset", "check", "rows.jsonl", *options, "--chat-template-kwargs", HOLD)
    folder = backend.data / "previews"
    eventually(lambda: list(folder.glob("*/pid")), "the backend works")
    pid = int(next(folder.glob("*/pid")).read_text())
    ended = command.interrupt()
    assert (ended.code, ended.out, ended.err) == (130, "", "\nInterrupted.\n")
    eventually(lambda: not is_running(pid), "its process has ended")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("check", "rows.jsonl", "--max-length", "9"), "go with --model"),
        (("check", "rows.jsonl", "--local"), "go with --model"),
        (("check", "rows.jsonl", "--model", "m", "--chat-template-kwargs", "{"), "'{' is not JSON"),
        (("check", "rows.jsonl", "--model", "m", "--chat-template-kwargs", "[]"), "'[]' is not a JSON object"),
        (("check", "rows.jsonl", "--model", "m", "--max-length", "3"), "max_length: must be a whole number, 8 to"),
        (("check", "rows.jsonl", "--model", "m", "--allow-dropped-field", "x"), "allow_dropped_fields: must be a list"),
        (("check", "rows.jsonl", "--raw"), "go with --model"),
        (("show", "rows.jsonl"), "Missing option '--model'"),
    ],
    ids=range(8),
)
def test_wrong_options_are_refused(arguments: tuple[str, ...], says: str) -> None:
    """With exit code 2, before any backend is asked."""
    Path("rows.jsonl").write_text('{"text": "a"}\n')
    ended = run("dataset", *arguments)
    assert (ended.code, ended.out) == (2, "")
    assert says in ended.err


def test_a_backend_that_cannot_do_it_is_told(routed_cloud: Cloud) -> None:
    """As Arkor Cloud; a check without a model goes on working."""
    Path("rows.jsonl").write_text('{"text": "a"}\n')
    ended = run("dataset", "show", "rows.jsonl", "--model", "m")
    assert ended.code == 3
    assert "does not support showing rows as a model sees them" in ended.err
    assert run("dataset", "check", "rows.jsonl").code == 0


def test_a_model_that_has_to_be_fetched_is_told(backend: BackendProcess) -> None:
    """With the command that fetches it."""
    Path("rows.jsonl").write_text('{"text": "a"}\n')
    ended = run("dataset", "check", "rows.jsonl", "--model", "smollm2-135m", "--local")
    assert ended.code == 3
    assert "run `arkor models pull smollm2-135m`" in ended.err
