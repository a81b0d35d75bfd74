"""``arkor import`` with this user's own backend, whose process that checks adapters is scripted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.backend import BackendProcess, own_backend
from tests.support.commands import Command, run
from tests.support.elsewhere import write_adapter
from tests.support.eventually import eventually


@pytest.fixture
def backend(home: Path) -> Iterator[BackendProcess]:
    """This user's own backend, which has the model."""
    with own_backend(home, has_model=True) as running:
        yield running


def imported(out: str) -> str:
    """Return the id of the job that a command has imported."""
    return out.splitlines()[0].removeprefix("Imported job ")


@pytest.mark.usefixtures("backend")
def test_an_adapter_becomes_a_job(project: Path) -> None:
    """Of the catalogue's model whose id it names; the command says what to do next, and that works."""
    write_adapter(project / "my-lora")
    ended = run("import", "my-lora", "--local")
    assert ended.code == 0, ended.err
    job = imported(ended.out)
    assert ended.out.splitlines()[1:] == [
        f"  chat with it:  arkor chat {job} --local",
        f"  evaluate it:   arkor evaluate {job} FILE --local",
    ]
    shown = run("jobs", "show", job, "--local").out
    assert [line.split() for line in shown.splitlines()[:4]] == [
        ["id", job],
        ["name", "my-lora"],
        ["status", "completed"],
        ["imported", "from", "my-lora"],
    ]
    assert '  model          "smollm2-135m"' in shown
    assert "my-lora" in run("jobs", "--local").out
    assert run("chat", job, "say:hello there", "--local").out == "hello there\n"
    assert run("attach", job, "--local").code == 0
    assert "was imported, so it held no rows out: name the rows to ask" in run("evaluate", job, "--local").err
    assert "was imported, so there is no training to resume" in run("jobs", "resume", job, "--local").err
    assert f"Job {job} was trained elsewhere and imported" in run("reproduce", job, "--local").err
    assert run("download", job, "--local").code == 0
    assert sorted(path.name for path in (project / "adapters" / "adapter").iterdir())[0] == "adapter_config.json"
    assert run("jobs", "delete", job, "--yes", "--local").code == 0


@pytest.mark.usefixtures("backend")
def test_what_is_not_taken_is_said_with_exit_code_2(project: Path) -> None:
    """Whether the command finds it, or the backend; there is no job then."""
    write_adapter(project / "good")
    write_adapter(project / "bad", scripted="refuse")
    write_adapter(project / "other", base="owner/unknown")
    (project / "empty").mkdir()
    says = {
        ("bad",): "Error: bad was not imported: adapter_config.json: r is missing",
        ("other",): "name the right one with model= (--model).",
        ("good", "--model", "/nowhere"): "good was not imported: model: The model folder '/nowhere' does not exist",
        ("good", "--name", " "): "name: must be a text of 1 to 200 characters",
        ("empty",): "empty has no adapter_config.json",
        ("nowhere",): "'nowhere' is neither a folder nor owner/name of the Hugging Face hub",
    }
    for arguments, error in says.items():
        ended = run("import", *arguments, "--local")
        assert (ended.code, error in ended.err) == (2, True), ended.err
    assert run("jobs", "--local").err == "No jobs yet.\n"


def test_ctrl_c_and_a_timeout_end_it(backend: BackendProcess, project: Path) -> None:
    """Both say where to look for the job, which the backend may still make."""
    write_adapter(project / "slow", scripted="hold")
    command = Command("import", "slow", "--local")
    eventually(lambda: list(backend.data.glob("jobs/*/import/pid")), "the check holds")
    ended = command.interrupt()
    assert (ended.code, "Interrupted. The job may have been made: arkor jobs --local lists" in ended.err) == (130, True)
    late = run("import", "slow", "--timeout", "1s", "--local")
    assert (late.code, "The job may have been made: 'arkor jobs' lists the project's jobs." in late.err) == (124, True)
