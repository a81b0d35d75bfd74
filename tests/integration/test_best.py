"""The best evaluation of a training: its adapter is the final one, and none that is better ends the training."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from arkor.backend.training_worker.stopping import Interrupted, Position, StopSwitch
from arkor.errors import ConfigError
from arkor.protocol.config import JobConfig
from tests.support.attempts import UPLOADED, Events, attempt

pytestmark = [
    pytest.mark.training,
    pytest.mark.filterwarnings("default"),  # of the libraries'
]

BEST: dict[str, Any] = {"load_best_model_at_end": True}
FALLING, RISING = {2: 3.0, 4: 2.0, 6: 1.0}, {2: 1.0, 4: 2.0, 6: 3.0}  # the loss on held-out rows, by the step

Run = Callable[..., Events]


@pytest.fixture
def run(model_folder: Path, rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Make an attempt at a job of six steps, each second of which is evaluated and saved.

    The training and the evaluations are real; only the loss of an evaluation is what the test says.
    """
    from arkor.backend.training_worker.loss import TokenMeanTrainer
    from arkor.backend.training_worker.training import train

    real = TokenMeanTrainer.evaluation_loop

    def make(
        losses: Mapping[int, float], job: str = "job", number: int = 1, stop_at: int | None = None, **settings: Any
    ) -> Events:
        def evaluation_loop(trainer: Any, *arguments: Any, **options: Any) -> Any:
            output = real(trainer, *arguments, **options)
            output.metrics["eval_loss"] = losses[trainer.state.global_step]
            return output

        monkeypatch.setattr(TokenMeanTrainer, "evaluation_loop", evaluation_loop)
        (tmp_path / job).mkdir(exist_ok=True)
        usual: dict[str, Any] = {"max_steps": 6, "eval_steps": 2, "save_steps": 2, "learning_rate": 0.02}
        usual["dataset_split"] = {"evalFraction": 0.2}
        config = JobConfig(model=str(model_folder), dataset_source=UPLOADED, **{**usual, **settings})
        spec = attempt(config, tmp_path / job, rows, job_id=job, attempt=number, model_root=model_folder.parent)
        stop = StopSwitch()
        events = Events(stop, lambda event: "loss" in event and event["step"] == stop_at)
        train(spec, events, stop, Position())  # type: ignore[arg-type]
        return events

    return make


def adapters(events: Events) -> dict[str, str]:
    """Return the hashes of the adapters that a job left, by their names."""
    return {artifact["name"]: artifact["sha256"] for artifact in events.sent[-1]["artifacts"]}


def check_best(events: Events, step: int, loss: float) -> None:
    """Check that the final adapter is that of a step, and that the job says so."""
    metrics = events.sent[-1]["metrics"]
    assert (metrics["bestStep"], metrics["bestEvalLoss"]) == (step, loss)
    assert adapters(events)["adapter"] == adapters(events)[f"checkpoint-{step}"]


def test_the_final_adapter_is_that_of_the_best_evaluation(run: Run) -> None:
    """To the byte; why the training ended is not told where nothing else could end it."""
    events = run(FALLING, **BEST)
    check_best(events, 6, 1.0)
    assert "endReason" not in events.sent[-1]["metrics"]


def test_the_best_evaluation_may_be_the_one_with_the_best_answers(run: Run) -> None:
    """The model answers held-out rows each time; the first of the best scores counts."""
    events = run(RISING, metric_for_best_model="chrf", **BEST)
    scores = {event["step"]: event["evalScore"] for event in events.sent if "evalScore" in event}
    best = max(scores, key=lambda step: (scores[step], -step))
    assert list(scores) == [2, 4, 6]
    assert 0 < scores[best] <= 1
    metrics = events.sent[-1]["metrics"]
    assert (metrics["bestStep"], metrics["bestEvalScore"]) == (best, scores[best])
    assert events.sent[0]["metadata"]["trainRows"] > 0  # the answers left nothing behind that a training minds


def test_a_score_that_the_rows_do_not_have_is_refused(run: Run) -> None:
    """Before the first step."""
    with pytest.raises(ConfigError, match="metric_for_best_model: the held-out rows have no json_fields"):
        run(FALLING, metric_for_best_model="json_fields", **BEST)


def test_it_may_be_an_earlier_one(run: Run) -> None:
    """The model has learnt on since."""
    events = run(RISING, **BEST)
    check_best(events, 2, 1.0)
    assert adapters(events)["adapter"] != adapters(events)["checkpoint-6"]


def test_without_the_setting_it_is_that_of_the_last_step(run: Run) -> None:
    """However the evaluations go."""
    events = run(RISING)
    assert adapters(events)["adapter"] == adapters(events)["checkpoint-6"]
    assert "bestStep" not in events.sent[-1]["metrics"]


@pytest.mark.parametrize(("patience", "last"), [(1, 4), (2, 6), (3, 6)])
def test_without_a_better_evaluation_the_training_ends(run: Run, patience: int, last: int) -> None:
    """The job completes, and says why."""
    events = run(RISING, **BEST, early_stopping_patience=patience)
    assert max(events.figures("loss")) == last
    assert events.sent[-1]["type"] == "training.completed"
    check_best(events, 2, 1.0)
    assert events.sent[-1]["metrics"]["endReason"] == ("early_stopping" if last < 6 else "max_steps")


def test_an_evaluation_has_to_be_better_by_the_threshold(run: Run) -> None:
    """A loss that falls by less counts as one that does not fall; the adapter is that of the lowest all the same."""
    events = run(FALLING, **BEST, early_stopping_patience=1, early_stopping_threshold=1.5)
    assert max(events.figures("loss")) == 4
    check_best(events, 4, 2.0)


@pytest.mark.parametrize(
    ("losses", "limit", "kept"),
    [(RISING, 1, [2, 6]), (RISING, 2, [2, 6]), (RISING, 3, [2, 4, 6]), (FALLING, 1, [6]), (FALLING, 2, [4, 6])],
)
def test_the_checkpoint_of_the_best_evaluation_is_never_removed(
    run: Run, losses: Mapping[int, float], limit: int, kept: list[int]
) -> None:
    """Beside it, the newest ones stay; the last event names no other."""
    events = run(losses, save_total_limit=limit)
    assert sorted(adapters(events)) == ["adapter", *(f"checkpoint-{step}" for step in kept)]


@pytest.mark.parametrize("stop_at", [3, 5])
def test_a_resumed_attempt_knows_the_best_evaluation_of_those_before(run: Run, stop_at: int) -> None:
    """It ends with the very adapter of an unbroken run."""
    whole = run(RISING, "whole", **BEST)
    with pytest.raises(Interrupted):
        run(RISING, "stopped", stop_at=stop_at, **BEST)
    resumed = run(RISING, "stopped", number=2, **BEST)
    assert adapters(resumed)["adapter"] == adapters(whole)["adapter"]
    assert resumed.sent[-1]["metrics"]["bestStep"] == 2


def test_a_resumed_attempt_that_has_waited_long_enough_trains_no_further(run: Run) -> None:
    """The attempt before was killed between its last evaluation and its last event."""
    settings = {**BEST, "early_stopping_patience": 1}
    with pytest.raises(Interrupted):
        run(RISING, "stopped", stop_at=4, **settings)
    resumed = run(RISING, "stopped", number=2, **settings)
    assert max(resumed.figures("loss")) == 4
    assert resumed.sent[-1]["metrics"]["endReason"] == "early_stopping"
