"""What happens while the trainer's loop runs: events, checkpoints, and stopping.

Protocol: docs/protocol.md, "The event stream".
"""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

import attrs
import torch
from transformers import TrainerCallback

from arkor.backend.jobs import checkpoints
from arkor.backend.training_worker import artifacts
from arkor.backend.training_worker.best import Best
from arkor.backend.training_worker.limits.device import used_memory
from arkor.backend.training_worker.provenance import Provenance
from arkor.backend.training_worker.reporter import Reporter
from arkor.backend.training_worker.samples import Sampling
from arkor.backend.training_worker.spec import WorkerSpec
from arkor.backend.training_worker.stopping import Interrupted, Position, StopReason, StopSwitch
from arkor.backend.training_worker.team import Team
from arkor.errors import ArkorError
from arkor.protocol.jobs import checkpoint_name
from arkor.protocol.metrics import METRICS

MEMORY_INTERVAL_S = 10.0  # between two log events that say how much memory is used
# What a job that is killed may lose, and has to compute again.
RESUME_INTERVAL_S = 120.0


@attrs.frozen
class Told:
    """What the first process of an attempt has decided for all of them.

    Attributes:
        saves: whether to save a checkpoint after this step.
        logs: whether to log this step.
        stop: why to stop; None to go on.
        threads: on how many threads each computes; 0 if nothing is said.
    """

    saves: bool = False
    logs: bool = False
    stop: StopReason | None = None
    threads: int = 0


class Progress(TrainerCallback):  # type: ignore[misc]  # transformers is not followed
    """Reports the training's progress and decides when to save and when to stop.

    Args:
        spec: the attempt.
        reporter: where events go.
        stop: asked after every step, and after every batch of an evaluation.
        position: kept up to date.
        made_by: what the archives of checkpoints say of their making.
        best: told of each evaluation, and asked whether to go on after it.
        sampling: asks prompts at some steps.
        team: the processes of the attempt, which do what this one decides.

    Attributes:
        threads_used: the numbers of threads that this attempt has computed on: a chat lowers the number for a while.
    """

    def __init__(
        self,
        spec: WorkerSpec,
        reporter: Reporter,
        stop: StopSwitch,
        position: Position,
        made_by: Provenance,
        *,
        best: Best,
        sampling: Sampling,
        team: Team | None = None,
    ) -> None:
        self._spec = spec
        self._reporter = reporter
        self._stop = stop
        self._position = position
        self._made_by = made_by
        self._best = best
        self._sampling = sampling
        self._team = team or Team()
        self._is_stopping = False
        self._threads = spec.threads
        self.threads_used = {spec.threads}
        self._published: set[int] = set()
        self._memory_at = -MEMORY_INTERVAL_S
        self._saved_at = self._logged_at = time.monotonic()
        self._logged_step = 0

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Start the clocks."""
        self._saved_at = self._logged_at = time.monotonic()
        self._logged_step = self._position.step = state.global_step
        self._sampling.begin()

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Take the share of the cores that the backend gives: a chat may have come, or gone."""
        self._share_cores()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Decide what to do after a step."""
        self._position.step = state.global_step
        stop, last = self._stop.reason, state.global_step >= state.max_steps
        overdue = time.monotonic() - self._saved_at >= RESUME_INTERVAL_S
        saves = self._is_for_user(state.global_step) or overdue or last or stop is not None
        told = self._team.told(Told(saves=saves, logs=last, stop=stop, threads=self._threads))
        control.should_log = control.should_log or told.logs
        control.should_save = control.should_save or told.saves
        if told.stop is not None:
            self._is_stopping = control.should_training_stop = True
            control.should_evaluate = False

    def on_prediction_step(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Leave an evaluation that nobody waits for any more."""
        self._share_cores()
        told = self._team.told(Told(stop=self._stop.reason, threads=self._threads))
        if told.stop is not None:
            raise Interrupted(told.stop)

    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: dict[str, float], **rest: Any) -> None:
        """Keep the adapter if it is the best so far, and stop if no better one came for too long."""
        self._best.take(state.global_step, metrics, rest["model"].save_pretrained)
        if self._best.is_exhausted:
            control.should_training_stop = True
        self._ask(state)

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float], **_: Any) -> None:
        """Report a loss, or the result of an evaluation."""
        if "loss" in logs:
            self._report_loss(state, logs, self._samples_per_second(args, state))
        elif "eval_loss" in logs:
            self._reporter.send("training.log", **log_fields({**logs, "step": state.global_step}))

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Keep a checkpoint, now that all its files are there, with the answers of its step."""
        if not self._is_stopping:
            self._ask(state)
        self.keep(state.global_step)

    def keep(self, step: int) -> None:
        """Mark a checkpoint as whole, hand it to the user where it is theirs, and remove the older ones.

        Args:
            step: the optimizer step it was saved at.

        Raises:
            OSError: a file is missing, or the disk is full.
            StorageError: the storage cannot be used.
        """
        self._team.wait()  # each process has saved its random numbers
        folder = self._spec.checkpoints_dir / f"checkpoint-{step}"
        # Packed and reported before the mark: a resumed attempt starts after this step, and would not do it again.
        if self._is_for_user(step) or self._stop.reason is StopReason.CANCELLED:
            self._publish(folder, step)
        self._sampling.keep(folder)
        checkpoints.mark_complete(folder, self._team.size)
        self._best.store()
        checkpoints.store(self._spec.files, folder)
        checkpoints.keep_only(self._spec.checkpoints_dir, folder)
        checkpoints.forget_older(self._spec.files, step)
        self.limit_checkpoints()
        self._best.forget_older()
        self._saved_at = time.monotonic()

    def limit_checkpoints(self) -> None:
        """Remove the oldest packed checkpoints, if the job limits their number."""
        limit = self._spec.config.save_total_limit
        if limit is not None:
            artifacts.keep_newest(self._spec.files, limit, self._best.step)

    def _ask(self, state: Any) -> None:
        self._logged_at += self._sampling.ask(state.global_step, state.max_steps)  # in that time no row is trained

    def _share_cores(self) -> None:
        if self._spec.config.value("full_determinism"):  # on other threads, sums are rounded otherwise
            return
        threads = self._reporter.threads
        if threads is not None and not self._spec.gpus:
            threads = max(1, threads // self._team.size)  # the processes share the cores of one job
        if threads is not None and threads != self._threads:
            self._threads = threads
            self.threads_used.add(threads)
            torch.set_num_threads(threads)  # counts for the thread that calls it, which is the one that computes

    def _is_for_user(self, step: int) -> bool:
        save_steps = self._spec.config.save_steps
        return save_steps is not None and step % save_steps == 0

    def _publish(self, folder: Path, step: int) -> None:
        if step in self._published:
            return
        self._published.add(step)
        name = checkpoint_name(step)
        artifact = artifacts.pack_adapter(folder, self._spec.artifacts_dir, name, self._made_by, step)
        artifacts.hand_over(self._spec.files, artifact)
        self._reporter.send("checkpoint.saved", step=step, artifacts=[artifact.to_wire()])

    def _report_loss(self, state: Any, logs: dict[str, float], samples_per_second: float | None) -> None:
        fields = log_fields({**logs, "step": state.global_step})
        if samples_per_second is not None:
            fields["samplesPerSecond"] = samples_per_second
        now = time.monotonic()
        if now - self._memory_at >= MEMORY_INTERVAL_S:
            self._memory_at = now
            fields["deviceMemory"] = used_memory(self._made_by.record.device)
        self._reporter.send("training.log", **fields)
        if not math.isfinite(logs["loss"]):
            raise ArkorError(
                f"The loss is not a number any more at step {state.global_step}: lower learning_rate, or look for "
                "rows that do not belong in the data"
            )

    def _samples_per_second(self, args: Any, state: Any) -> float | None:
        now = time.monotonic()
        steps, seconds = state.global_step - self._logged_step, now - self._logged_at
        self._logged_step, self._logged_at = state.global_step, now
        rows = steps * args.train_batch_size * args.gradient_accumulation_steps * self._team.size
        return round(rows / seconds, 3) if seconds > 0 else None


def log_fields(logs: dict[str, float]) -> dict[str, Any]:
    """Return the fields of a ``training.log`` event, from what the trainer logged.

    Args:
        logs: an entry of the trainer's history, with its ``step``.
    """
    found = {metric.wire_name: logs[metric.trainer_key] for metric in METRICS if metric.trainer_key in logs}
    return {"step": int(logs["step"]), **found}


def replay(
    history: list[dict[str, float]], step: int, spec: WorkerSpec, reporter: Reporter, sampling: Sampling
) -> None:
    """Tell again, in its order, what earlier attempts did up to the checkpoint that this one continues from.

    The backend passes over what it has stored. What it was not told, because the worker was killed or the backend
    was away, it learns now. What another job did, which this one was resumed from, is not told again.

    Args:
        history: the trainer's log history in that checkpoint.
        step: the step it was saved at.
        spec: the attempt.
        reporter: where events go.
        sampling: has the answers of those attempts.
    """
    after = -1 if spec.resumed_from_step is None else spec.resumed_from_step
    told = [
        (int(entry["step"]), "training.log", log_fields(entry))
        for entry in history
        if ("loss" in entry or "eval_loss" in entry) and entry["step"] > after
    ]
    told += sampling.told(after)
    told += [
        (artifact.step, "checkpoint.saved", {"step": artifact.step, "artifacts": [artifact.to_wire()]})
        for artifact in artifacts.packed_checkpoints(spec.files)
        if artifact.step is not None and artifact.step <= step
    ]
    for _, kind, fields in sorted(told, key=lambda event: event[0]):  # stable: a checkpoint comes after its step's logs
        reporter.send(kind, **fields)
