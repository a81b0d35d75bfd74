"""The state of a run; tests/unit/cli/display/test_run_progress.py has the rest, as a terminal shows it."""

from __future__ import annotations

from arkor.progress.run_state import TRAINING, RunState
from arkor.protocol.events import parse_event
from arkor.protocol.jobs import TrainingJob
from tests.unit.notebook.test_run import sample


def test_an_answer_to_a_prompt_leaves_the_training_where_it_is() -> None:
    """It comes in the middle of the training."""
    state = RunState(TrainingJob(id="job_1"))
    logged = parse_event({"type": "training.log", "step": 3, "loss": 0.5})
    assert logged is not None
    state.take(logged)
    state.take(sample(3, "answer"))
    assert (state.state, state.step) == (TRAINING, 3)
