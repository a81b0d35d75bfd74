"""The course of an attempt: what every process of it does, in the same order."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

from transformers import TrainerState

from arkor.backend.jobs import checkpoints
from arkor.backend.training_worker import model
from arkor.backend.training_worker.best import Best
from arkor.backend.training_worker.examples.data import Data
from arkor.backend.training_worker.longest_first import LongestFirst
from arkor.backend.training_worker.plan import Plan
from arkor.backend.training_worker.samples import Sampling
from arkor.backend.training_worker.stopping import Interrupted, StopSwitch
from arkor.backend.training_worker.team import Team


class KeepsCheckpoints(Protocol):
    """The callback of a trainer that is told of each checkpoint."""

    def keep(self, step: int) -> None:
        """Take in that a checkpoint was saved at a step."""


def built(plan: Plan, tokenizer: Any, data: Data) -> Any:
    """Return the trainer of a process, of TRL."""
    trainer = model.build_trainer(plan.spec, plan.device, plan.model_path, tokenizer, data)
    if plan.tries_longest:
        trainer.add_callback(LongestFirst(trainer))  # before the clocks of the next one start
    return trainer


class Course:
    """Trains and evaluates. Every process of an attempt has one.

    Args:
        plan: the attempt.
        trainer: of TRL.
        data: the rows as the model sees them.
        best: knows the evaluations.
        sampling: asks prompts at some steps.
        team: the processes.
        stop: asked whether to go on; that of the first process counts.
        callback: told of a checkpoint that the trainer itself does not tell it of.
    """

    def __init__(
        self,
        plan: Plan,
        trainer: Any,
        data: Data,
        best: Best,
        *,
        sampling: Sampling,
        team: Team,
        stop: StopSwitch,
        callback: KeepsCheckpoints,
    ) -> None:
        self._plan = plan
        self._trainer = trainer
        self._data = data
        self._best = best
        self._sampling = sampling
        self._team = team
        self._stop = stop
        self._callback = callback

    def run(self, state: TrainerState | None) -> None:
        """Do all steps, and the last evaluation.

        Args:
            state: of the checkpoint to go on from; None to begin anew.

        Raises:
            Interrupted: a stop was asked for; what there was to save is saved.
        """
        try:
            self._train(state)
            self._team.check(self._stop.reason)
            if self._data.eval and not self._is_evaluated():
                self._trainer.evaluate()
            last_step = self._trainer.state.global_step
            self._sampling.ask(last_step, last_step)
        except Interrupted:
            self._save_now()
            raise

    def _train(self, state: TrainerState | None) -> None:
        spec, resumed = self._plan.spec, self._plan.resumed
        if resumed is None or state is None:
            base = spec.config.base_adapter
            if base is not None:
                model.take_base_adapter(self._trainer.model, spec.job_dir / checkpoints.BASE_ADAPTER, base["sha256"])
            self._sampling.ask(0, self._trainer.args.max_steps)
            self._trainer.train()
            return
        model.restore_adapter(self._trainer.model, resumed)
        self._trainer.state = state
        self._best.go_on(state.log_history)
        if state.global_step == state.max_steps:  # the trainer would do a step too many
            return
        if self._is_due(state.global_step) and not self._is_evaluated():
            self._trainer.evaluate()  # the attempt before was stopped in the middle of it, or just before
        if not self._best.is_exhausted:
            self._sampling.ask(state.global_step, state.max_steps)  # as above
            self._trainer.train(resume_from_checkpoint=str(resumed))

    def _is_due(self, step: int) -> bool:
        arguments = self._trainer.args
        return bool(arguments.eval_strategy == "steps" and step % arguments.eval_steps == 0)

    def _is_evaluated(self) -> bool:
        history = self._trainer.state.log_history
        return any("eval_loss" in entry and entry["step"] == self._trainer.state.global_step for entry in history)

    def _save_now(self) -> None:
        """Save after an evaluation that was left: the trainer itself saves only between steps."""
        state = self._trainer.state
        if state.global_step == 0:
            return
        folder = self._plan.spec.checkpoints_dir / f"checkpoint-{state.global_step}"
        if not self._team.told(checkpoints.is_complete(folder)):
            self._trainer._save_checkpoint(self._trainer.model, trial=None)  # there is no public name for it
        self._callback.keep(state.global_step)


def state_of(checkpoint: Path | None) -> TrainerState | None:
    """Return the trainer's state in a checkpoint."""
    return None if checkpoint is None else TrainerState.load_from_json(str(checkpoint / "trainer_state.json"))
