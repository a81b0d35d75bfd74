"""``python -m arkor.backend.training_worker.partner``: one of the other processes of an attempt on several devices.

The first process starts it, says on its standard input what to do, and reads on its standard output why it failed.

Exit codes: 0 all steps are done, or the first process stopped; 1 it failed; 6 another process is gone; 12 memory ran
out; 28 the disk is full.
"""

from __future__ import annotations

import logging
import os
import pickle
import signal
import sys
import threading
from typing import Any

import attrs
import torch
from transformers import TrainerCallback

from arkor.backend import models
from arkor.backend.processes.exit_reasons import DISK_FULL_EXIT_CODE, NO_MEMORY_EXIT_CODE
from arkor.backend.training_worker import model, settings
from arkor.backend.training_worker.best import Best, Rule
from arkor.backend.training_worker.course import Course, built, state_of
from arkor.backend.training_worker.examples.data import open_data
from arkor.backend.training_worker.failures import explain, is_no_memory, is_no_space
from arkor.backend.training_worker.limits.device import choose_device
from arkor.backend.training_worker.others import PARTNER_LOST_EXIT_CODE, say
from arkor.backend.training_worker.plan import Part
from arkor.backend.training_worker.progress import Told
from arkor.backend.training_worker.samples import Sampling
from arkor.backend.training_worker.stopping import Interrupted, StopSwitch
from arkor.backend.training_worker.team import Meeting, Team, is_lost_partner, joined

log = logging.getLogger("arkor.worker")


class Following(TrainerCallback):  # type: ignore[misc]  # transformers is not followed
    """Does what the first process has decided.

    Args:
        team: the processes.
        best: told of each evaluation, and asked whether to go on after it.
        sampling: waits while the first process asks prompts.
    """

    def __init__(self, team: Team, best: Best, sampling: Sampling) -> None:
        self._team = team
        self._best = best
        self._sampling = sampling
        self._is_stopping = False

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Hear what to do after a step."""
        told = self._hear()
        control.should_log = control.should_log or told.logs
        control.should_save = control.should_save or told.saves
        if told.stop is not None:
            self._is_stopping = control.should_training_stop = True
            control.should_evaluate = False

    def on_prediction_step(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Leave an evaluation with the first process."""
        stop = self._hear().stop
        if stop is not None:
            raise Interrupted(stop)

    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: dict[str, float], **rest: Any) -> None:
        """Stop if no better evaluation came for too long."""
        self._best.take(state.global_step, metrics, rest["model"].save_pretrained)
        if self._best.is_exhausted:
            control.should_training_stop = True
        self._sampling.ask(state.global_step, state.max_steps)

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Let the first process keep a checkpoint, now that this one's part is there."""
        if not self._is_stopping:
            self._sampling.ask(state.global_step, state.max_steps)
        self.keep(state.global_step)

    def keep(self, step: int) -> None:
        """Let the first process keep a checkpoint, now that this one's part is there."""
        self._team.wait()

    def _hear(self) -> Told:
        told = self._team.told(Told())
        if told.threads and told.threads != torch.get_num_threads():
            torch.set_num_threads(told.threads)
        return told


def follow(part: Part) -> None:
    """Take part in an attempt until its end.

    Raises:
        Interrupted: the first process stopped.
    """
    plan, config = part.plan, part.plan.spec.config
    choose_device(plan.spec.threads)
    plan = attrs.evolve(plan, model_path=models.resolve(config.model, plan.spec.model_root))  # this node's
    tokenizer = model.load_tokenizer(plan.model_path)
    data = open_data(part.examples)
    team = joined(part.rank, config.value("devices"), Meeting(part.meeting), is_cpu=plan.device.is_cpu)
    trainer = built(plan, tokenizer, data)
    if settings.score_of(config) is not None and data.eval:
        trainer.score = lambda: team.measured(lambda: 0.0)
    best = Best(Rule.of(config), plan.spec.files)
    sampling = Sampling(config, team)
    callback = Following(team, best, sampling)
    trainer.add_callback(callback)
    course = Course(plan, trainer, data, best, sampling=sampling, team=team, stop=StopSwitch(), callback=callback)
    course.run(state_of(plan.resumed))


def _exit_code(exc: Exception) -> int:
    if is_lost_partner(exc):
        return PARTNER_LOST_EXIT_CODE
    if is_no_space(exc):
        return DISK_FULL_EXIT_CODE
    return NO_MEMORY_EXIT_CODE if is_no_memory(exc) else 1


def _leave_with_the_first() -> None:
    sys.stdin.buffer.read()  # ends when the first process is gone, however it ended
    os._exit(PARTNER_LOST_EXIT_CODE)


def main() -> int:
    """Run the process; return its exit code."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the first process decides when to stop
    output, sys.stdout = os.fdopen(os.dup(1), "wb"), sys.stderr
    os.dup2(2, 1)  # what libraries print goes to the log
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    part: Part = pickle.load(sys.stdin.buffer)
    threading.Thread(target=_leave_with_the_first, daemon=True).start()
    try:
        follow(part)
    except Interrupted:
        return 0
    except Exception as exc:
        log.exception("Device %d: the training failed", part.rank + 1)
        say(explain(exc, part.plan.spec.job_dir), output)
        return _exit_code(exc)
    return 0


if __name__ == "__main__":
    exit_code = main()
    logging.shutdown()
    os._exit(exit_code)  # taking the libraries down in order lasts 1.5 s, and nothing is left to save
