"""A training that is stopped and resumed in this process, with a model that trains in no time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from arkor.backend.training_worker.stopping import Interrupted, Position, StopSwitch
from arkor.protocol.config import JobConfig
from tests.support.attempts import UPLOADED, Events, attempt as attempt_at

pytestmark = [
    pytest.mark.training,
    pytest.mark.filterwarnings("default"),  # of the libraries'
]

SPLIT: dict[str, Any] = {"dataset_split": {"evalFraction": 0.2}}
OWN: dict[str, Any] = {"eval_dataset_source": UPLOADED}


@pytest.fixture
def attempt(model_folder: Path, rows: Path, tmp_path: Path) -> Callable[..., None]:
    """Make an attempt at a job of six steps, each second of which is evaluated."""
    from arkor.backend.training_worker.training import train

    def make(job: str, number: int, events: Events, stop: StopSwitch, held_out: dict[str, Any]) -> None:
        (tmp_path / job).mkdir(exist_ok=True)
        config = JobConfig(model=str(model_folder), dataset_source=UPLOADED, max_steps=6, eval_steps=2, **held_out)
        fields = {"job_id": job, "attempt": number, "eval_dataset_path": rows, "model_root": model_folder.parent}
        spec = attempt_at(config, tmp_path / job, rows, **fields)
        train(spec, events, stop, Position())  # type: ignore[arg-type]

    return make


@pytest.mark.parametrize(("last_log", "saved", "held_out"), [(2, 2, SPLIT), (3, 4, OWN), (6, 6, SPLIT)])
def test_an_evaluation_that_a_stop_broke_off_is_made_up_for(
    attempt: Callable[..., None], last_log: int, saved: int, held_out: dict[str, Any]
) -> None:
    """A stop in its middle, or just before it: the next attempt evaluates first, and trains as if nothing had been."""
    whole, stop = Events(StopSwitch()), StopSwitch()
    attempt("whole", 1, whole, StopSwitch(), held_out)
    first = Events(stop, lambda event: event["type"] == "training.log" and event["step"] == last_log)
    with pytest.raises(Interrupted):
        attempt("stopped", 1, first, stop, held_out)
    second = Events(StopSwitch())
    attempt("stopped", 2, second, StopSwitch(), held_out)
    (started,) = (event for event in second.sent if event["type"] == "training.started")
    assert started["metadata"]["resumedFromStep"] == saved
    assert saved not in first.figures("evalLoss")
    for name in ("loss", "evalLoss"):
        assert second.figures(name) == pytest.approx(whole.figures(name))
    assert second.sent[-1]["type"] == "training.completed"


def test_the_last_metrics_have_each_number_of_threads(attempt: Callable[..., None]) -> None:
    """The job starts on one, and the backend soon gives it two, as at the end of a chat."""
    events = Events(StopSwitch())
    events.threads = 2
    attempt("shared", 1, events, StopSwitch(), SPLIT)
    assert events.sent[0]["metadata"]["record"]["threads"] == 1
    assert events.sent[-1]["metrics"]["threads"] == [1, 2]
