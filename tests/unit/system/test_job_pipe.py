"""Handing the id of a job to the program that started the command."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from arkor.system.job_pipe import VARIABLE, JobPipe, ParentPipe


@pytest.fixture
def pipe(monkeypatch: pytest.MonkeyPatch) -> JobPipe:
    """A pipe that the environment names, its reading end in this process too."""
    made = JobPipe()
    for name, value in made.environment.items():
        monkeypatch.setenv(name, value)
    return made


def test_the_id_is_there_once_it_was_told(pipe: JobPipe) -> None:
    """As any text; the first one counts, also after the end."""
    parent = ParentPipe()
    assert pipe.job_id() is None
    parent.tell("job_1\n日本")
    assert pipe.job_id() == "job_1\n日本"
    parent.tell("job_2")
    pipe.handed_on()
    pipe.close()
    pipe.close()
    assert pipe.job_id() == "job_1\n日本"


def test_an_id_that_was_told_just_before_the_end_is_not_lost(pipe: JobPipe) -> None:
    """Nobody has asked for it until then."""
    ParentPipe().tell("job_1")
    pipe.handed_on()
    pipe.close()
    assert pipe.job_id() == "job_1"


def test_no_child_process_gets_the_pipe(pipe: JobPipe) -> None:
    """Neither its name nor its number."""
    os.set_inheritable(pipe.writer, True)  # as a process that was given it has it
    ParentPipe()
    assert VARIABLE not in os.environ
    assert not os.get_inheritable(pipe.writer)
    pipe.handed_on()
    pipe.close()


def test_a_process_that_was_forked_tells_nothing(pipe: JobPipe, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its job is another one."""
    parent = ParentPipe()
    monkeypatch.setattr(os, "getpid", lambda: 1)
    parent.tell("job_2")
    monkeypatch.undo()
    pipe.handed_on()
    pipe.close()
    assert pipe.job_id() is None


def test_a_reader_that_has_left_changes_nothing(pipe: JobPipe) -> None:
    """The command goes on: the job is what counts."""
    parent = ParentPipe()
    pipe.close()
    parent.tell("job_1")
    pipe.handed_on()


@pytest.mark.parametrize("value", ["", "x", "-1", "999999", "9" * 40])
def test_a_variable_that_names_no_pipe_is_passed_over(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was set by something else, or came too far."""
    monkeypatch.setenv(VARIABLE, value)
    ParentPipe().tell("job_1")


def test_a_file_of_that_number_is_left_alone(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be anybody's."""
    with (project / "file").open("wb") as file:
        monkeypatch.setenv(VARIABLE, str(file.fileno()))
        ParentPipe().tell("job_1")
    assert (project / "file").read_bytes() == b""


def test_what_is_no_id_is_passed_over(pipe: JobPipe) -> None:
    """Half a line, or something else than a text."""
    os.write(pipe.writer, b'"job')
    assert pipe.job_id() is None
    os.write(pipe.writer, b"\n")
    assert pipe.job_id() is None
    pipe.handed_on()
    pipe.close()
