"""The error tree: what catches what, what each carries, and that each survives pickling."""

from __future__ import annotations

import copy
import inspect
import pickle
from pathlib import Path
from typing import Any

import pytest

from arkor import errors
from arkor.client.result import TrainingFailed, TrainingResult
from arkor.protocol.jobs import Artifact, TrainingJob

RESULT = TrainingResult(TrainingJob(id="job_1", status="failed", error="boom"), (Artifact(name="adapter"),))
EXAMPLES: dict[str, errors.ArkorError] = {
    "ArkorError": errors.ArkorError("words"),
    "CloudApiError": errors.CloudApiError(418, "words", 2.5),
    "AuthenticationError": errors.AuthenticationError(401, "words"),
    "PermissionDenied": errors.PermissionDenied(403, "words"),
    "NotFound": errors.NotFound(404, "words"),
    "Conflict": errors.Conflict(409, "words"),
    "UpgradeRequired": errors.UpgradeRequired(426, "words"),
    "RateLimited": errors.RateLimited(429, "words", 7.0),
    "ServerError": errors.ServerError(502, "words"),
    "ConnectionFailed": errors.ConnectionFailed("words", sent=False),
    "StreamError": errors.StreamError("words"),
    "ReconnectExhausted": errors.ReconnectExhausted(3),
    "Aborted": errors.Aborted("words"),
    "WaitTimeout": errors.WaitTimeout("words"),
    "TrainingFailed": TrainingFailed(RESULT),
    "EvaluationFailed": errors.EvaluationFailed("eval_1", "job_1", "failed", "words"),
    "ExportFailed": errors.ExportFailed("export_1", "job_1", "cancelled", ""),
    "NotReproducible": errors.NotReproducible("job_1", "job_2", "the device was cuda, and is cpu now"),
    "ConfigError": errors.ConfigError("max_steps", "must be 1 or more, not -1"),
    "UnknownOption": errors.UnknownOption(
        "max_step", "Trainer has no such option; did you mean max_steps?", "max_steps"
    ),
    "DatasetError": errors.DatasetError("rows.jsonl", "2 rows are bad", [(3, "empty"), (4, "empty")], 5),
    "EntryError": errors.EntryError("words"),
    "BuildError": errors.BuildError("words", Path("/a/b.py"), 7),
    "ScaffoldError": errors.ScaffoldError("words"),
    "CredentialsError": errors.CredentialsError("words"),
    "ProjectStateError": errors.ProjectStateError("words"),
    "InterpreterMissing": errors.InterpreterMissing(2, "words"),
    "LocalBackendError": errors.LocalBackendError("words"),
    "StudioError": errors.StudioError("words"),
    "ModelError": errors.ModelError("words"),
    "StorageError": errors.StorageError("words", "s3://bucket"),
    "ObjectMissing": errors.ObjectMissing("words", "s3://bucket/datasets/a.jsonl"),
    "ObjectChanged": errors.ObjectChanged("words", "/data/datasets/a.jsonl"),
    "UnsupportedByBackend": errors.UnsupportedByBackend("uploading", "http://example.com"),
}
ERRORS: dict[str, type[Exception]] = {
    name: value
    for name, value in [*vars(errors).items(), ("TrainingFailed", TrainingFailed)]
    if inspect.isclass(value) and issubclass(value, Exception) and value.__module__.startswith("arkor.")
}


def test_every_error_has_an_example_here() -> None:
    """A new error joins the checks below."""
    assert set(EXAMPLES) == set(ERRORS)


@pytest.mark.parametrize(
    ("sent", "is_cloud", "ending"),
    [
        (False, True, ' To use the backend on this machine instead, pass backend="local" to Trainer.'),
        (True, True, ""),
        (False, False, ""),
    ],
)
def test_a_cloud_out_of_reach_has_a_way_to_do_without(sent: bool, is_cloud: bool, ending: str) -> None:
    """Not one that answered late or was cut, nor a backend of one's own."""
    assert str(errors.ConnectionFailed("No answer.", sent, is_cloud)) == f"No answer.{ending}"


def test_every_error_is_an_arkor_error() -> None:
    """One except clause catches them all."""
    assert [name for name, cls in ERRORS.items() if not issubclass(cls, errors.ArkorError)] == []


def test_the_tree_is_as_it_is_drawn() -> None:
    """The drawing at the top of the module is the truth."""
    parents, drawn = ["ArkorError"], {}
    for line in (errors.__doc__ or "").splitlines():
        name = line.lstrip(" │├└─").split(" ")[0]
        if name in ERRORS and name != "ArkorError":
            depth = line.index(name) // 4 - 1
            parents[depth:] = [name]
            drawn[name] = parents[depth - 1]
    actual = {name: cls.__mro__[1].__name__ for name, cls in ERRORS.items() if name != "ArkorError"}
    assert drawn == actual


@pytest.mark.parametrize("name", EXAMPLES)
@pytest.mark.parametrize("way", [pickle.loads, copy.copy, copy.deepcopy])
def test_every_error_survives_pickling_and_copying(name: str, way: Any) -> None:
    """Class, text and attributes are the same on the other side."""
    error = EXAMPLES[name]
    again = way(pickle.dumps(error) if way is pickle.loads else error)
    assert type(again) is type(error)
    assert str(again) == str(error)
    assert again.__dict__ == error.__dict__


@pytest.mark.parametrize(
    ("name", "base"),
    [
        ("ConnectionFailed", ConnectionError),
        ("InterpreterMissing", FileNotFoundError),
        ("WaitTimeout", TimeoutError),
        ("ConfigError", ValueError),
        ("UnknownOption", ValueError),
        ("UnknownOption", TypeError),
        ("UnknownOption", errors.ConfigError),
        ("DatasetError", ValueError),
    ],
)
def test_some_errors_are_also_the_standard_librarys(name: str, base: type[Exception]) -> None:
    """Code that catches the standard type catches ours."""
    assert isinstance(EXAMPLES[name], base)


@pytest.mark.parametrize(
    ("status", "cls"),
    [
        (400, errors.CloudApiError),
        (401, errors.AuthenticationError),
        (403, errors.PermissionDenied),
        (404, errors.NotFound),
        (409, errors.Conflict),
        (410, errors.CloudApiError),
        (422, errors.CloudApiError),
        (426, errors.UpgradeRequired),
        (429, errors.RateLimited),
        (500, errors.ServerError),
        (503, errors.ServerError),
        (599, errors.ServerError),
    ],
)
def test_a_status_gives_its_error(status: int, cls: type[errors.CloudApiError]) -> None:
    """The class people catch, with status, text and the time to come back."""
    error = errors.error_for_status(status, "words", 1.5)
    assert type(error) is cls
    assert (error.status, error.message, error.retry_after, str(error)) == (status, "words", 1.5, "words")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("ReconnectExhausted", "Trainer SSE stream failed 3 consecutive times; giving up."),
        ("TrainingFailed", "Job job_1 finished with status=failed: boom"),
        ("ConfigError", "max_steps: must be 1 or more, not -1"),
        ("UnknownOption", "max_step: Trainer has no such option; did you mean max_steps?"),
        ("DatasetError", "rows.jsonl: 2 rows are bad\n  row 3: empty\n  row 4: empty\n  and 5 more"),
        ("BuildError", "/a/b.py:7: words"),
        (
            "UnsupportedByBackend",
            "http://example.com does not support uploading. A self-hosted backend (arkor serve) does.",
        ),
    ],
)
def test_an_error_says_what_it_knows(name: str, text: str) -> None:
    """What happened, where, the value seen."""
    assert str(EXAMPLES[name]) == text


def test_a_job_without_an_error_text_is_told_as_such() -> None:
    """A cancelled job has none."""
    error = TrainingFailed(TrainingResult(TrainingJob(id="job_1", status="cancelled")))
    assert str(error) == "Job job_1 finished with status=cancelled: no error message"


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (errors.BuildError("words"), "words"),
        (errors.BuildError("words", Path("/a/b.py")), "/a/b.py: words"),
        (errors.DatasetError("rows.jsonl", "has no rows"), "rows.jsonl: has no rows"),
    ],
)
def test_what_is_not_known_is_left_out(error: errors.ArkorError, text: str) -> None:
    """No ``None`` in a message."""
    assert str(error) == text
