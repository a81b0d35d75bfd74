"""Events whose values are not what the protocol foresees: each has a defined meaning, and none ends the wait."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from arkor import LogContext, StreamError
from arkor.http.sse import MAX_FRAME_BYTES
from tests.support.events import TIMESTAMP, completed, failed, frame, log, started
from tests.support.rawserver import CHUNKED, CLOSE, FORMS, Connection, RawServer, event_stream
from tests.support.waiting import Told, Waiting, make_trainer

FIRST, LAST = frame(1, started()), frame(3, completed())


def odd(data: str, event: str = "training.log") -> bytes:
    """Return a frame between the first and the last one."""
    return f"id: 2\nevent: {event}\ndata: {data}\n\n".encode()


def run(server: RawServer, *frames: bytes, form: str = "chunked") -> tuple[Told, Any]:
    """Run a job whose stream is this; return what was told, and the result."""
    told = Told()
    server.script(Connection(sent=event_stream(*frames, form=form)))
    result = Waiting(make_trainer(server, told).wait).outcome(15)
    assert len(server.streams) == 1
    return told, result


def told_of(server: RawServer, fields: str) -> LogContext:
    """Run a job with one line of the training log, which has these fields; return what the callback was handed."""
    told, result = run(server, FIRST, odd(f'{{"type": "training.log", {fields}}}'), LAST)
    assert result.status == "completed"
    (context,) = [context for name, context in told.contexts if name == "log"]
    assert isinstance(context, LogContext)
    return context


@pytest.mark.parametrize(
    ("written", "loss"),
    [("NaN", math.nan), ("Infinity", math.inf), ("-Infinity", -math.inf), ("1e999", math.inf), ("-0.0", -0.0)],
)
def test_a_number_that_is_not_finite_is_told_as_it_is(server: RawServer, written: str, loss: float) -> None:
    """A loss that went to NaN is news: a callback must be able to stop the job for it."""
    context = told_of(server, f'"step": 7, "loss": {written}, "evalLoss": {written}')
    assert str(context.loss) == str(context.eval_loss) == str(loss)
    assert context.step == 7


@pytest.mark.parametrize(
    ("fields", "step", "loss"),
    [
        ('"loss": 0.5', 0, 0.5),
        ('"step": null, "loss": null', 0, None),
        ('"step": "7", "loss": "0.5"', 0, None),
        ('"step": NaN, "loss": true', 0, None),
        ('"step": Infinity, "loss": [0.5]', 0, None),
        ('"step": 7.0, "loss": 1', 7, 1.0),
        ('"step": 7.5, "loss": {"value": 1}', 0, None),
        (f'"step": {10**400}, "loss": {10**400}', 10**400, None),
        ('"step": -1, "loss": -0.5', -1, -0.5),
    ],
)
def test_a_figure_of_another_type_counts_as_absent(server: RawServer, fields: str, step: int, loss: Any) -> None:
    """The line is told all the same; a step that is none is 0."""
    context = told_of(server, fields)
    assert (context.step, context.loss) == (step, loss)


def test_texts_that_are_numbers_are_spelt_out(server: RawServer) -> None:
    """A job id, a time and an error reach the user as texts."""
    last = odd('{"type": "training.failed", "jobId": 7, "timestamp": 8, "error": 9}', "training.failed")
    told, result = run(server, FIRST, last)
    assert told.names == [("started", None), ("failed", None)]
    assert told.contexts[-1][1].error == result.job.error == "9"
    assert (result.status, result.job.completed_at, result.job.id) == ("failed", "8", "job_1")


@pytest.mark.parametrize("value", ["null", "7", '"adapter"', "[7, null, []]", '{"name": 7}', '[{"step": {}}]'])
@pytest.mark.parametrize("kind", ["training.started", "checkpoint.saved", "training.completed", "training.failed"])
def test_objects_and_lists_of_another_shape_are_read_as_far_as_they_go(
    server: RawServer, kind: str, value: str
) -> None:
    """Metadata, artifacts, metrics, an error: whatever they are, the run goes on to its end."""
    fields = f'"metadata": {value}, "artifacts": {value}, "metrics": {value}, "error": {value}, "step": {value}'
    told, result = run(server, odd(f'{{"type": "{kind}", {fields}}}', kind), LAST)
    assert result.status in {"completed", "failed"}
    assert told.names[0][0] == kind.rpartition(".")[2].replace("saved", "checkpoint")


@pytest.mark.parametrize(
    "data",
    [
        "null",
        "7",
        "NaN",
        '"a text"',
        "[]",
        "true",
        '{"type": "training.log"',
        "{'type': 'training.log'}",
        "[" * 100_000,
        '{"a":' * 100_000,
        f'{{"type": "training.log", "step": {"9" * 5000}}}',
        '{"type": "training.log", "step": 2}{}',
        "\ufeff{}",
        "",
    ],
    ids=range(14),
)
def test_a_frame_that_is_no_object_is_passed_over(server: RawServer, data: str) -> None:
    """Also one that is nested, or a number that is long, beyond what Python reads; what follows is told."""
    told, result = run(server, FIRST, odd(data), LAST)
    assert result.status == "completed"
    assert told.names == [("started", None), ("completed", None)]


@pytest.mark.parametrize("kind", ["7", "[]", '"training.new"', '""'])
def test_an_event_of_no_known_type_is_passed_over(server: RawServer, kind: str) -> None:
    """The type in the object counts, whatever the frame is called."""
    told, result = run(server, FIRST, odd(f'{{"type": {kind}, "step": 2}}', "training.failed"), LAST)
    assert result.status == "completed"
    assert told.names == [("started", None), ("completed", None)]


@pytest.mark.parametrize("fields", ['"type": null, "error": "boom"', '"error": "boom"'], ids=["null", "absent"])
def test_an_event_without_a_type_is_what_its_frame_is_called(server: RawServer, fields: str) -> None:
    """They are the same name, and a null is an absent field."""
    _, result = run(server, FIRST, odd(f"{{{fields}}}", "training.failed"), LAST)
    assert (result.status, result.job.error) == ("failed", "boom")


@pytest.mark.parametrize("form", FORMS)
def test_an_event_of_four_mebibytes_on_one_line_is_told(server: RawServer, form: str) -> None:
    """Long metadata, say: far above what is read at once."""
    note = "é" * 2**21
    told, result = run(server, frame(1, started(note=note)), LAST, form=form)
    assert result.status == "completed"
    assert told.contexts[0][1].metadata == {"note": note}


def _frame_of(size: int) -> bytes:
    """Return a frame of so many bytes, its blank line not counted."""
    empty = frame(1, started(note=""))
    return frame(1, started(note="x" * (size - len(empty) + len(b"\n\n"))))


def test_an_event_of_exactly_the_limit_is_told(server: RawServer) -> None:
    """16 MiB, the blank line not counted."""
    told, result = run(server, _frame_of(MAX_FRAME_BYTES), LAST)
    assert result.status == "completed"
    assert told.names == [("started", None), ("completed", None)]


@pytest.mark.parametrize("form", [CHUNKED, CLOSE])
def test_an_event_over_the_limit_ends_the_wait_and_names_the_limit(server: RawServer, form: str) -> None:
    """It is not read any further, and not asked for again; what came before it was told."""
    told, result = run(server, frame(1, log(1)), _frame_of(MAX_FRAME_BYTES + 1), LAST, form=form)
    assert isinstance(result, StreamError)
    assert "more than 16777216 bytes" in str(result)
    assert told.names == [("log", 1)]


def test_odd_events_do_not_reach_the_job(server: RawServer) -> None:
    """The job stays the one that was submitted, whatever its events say that they belong to."""
    other = json.dumps({"type": "training.started", "jobId": "job_of_somebody_else", "timestamp": TIMESTAMP})
    told, result = run(server, odd(other, "training.started"), frame(3, failed("boom"), job_id="another"))
    assert [context.job.id for _, context in told.contexts] == ["job_1", "job_1"]
    assert (result.job.id, result.job.error) == ("job_1", "boom")
