"""The best evaluation of a training: which one it is, its adapter, and when to stop looking for a better one."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import attrs

from arkor.backend.jobs.checkpoints import BEST, FOLDER
from arkor.backend.jobs.job_files import JobFiles
from arkor.backend.training_worker import artifacts
from arkor.backend.training_worker.provenance import Provenance
from arkor.backend.training_worker.settings import best_by
from arkor.protocol.config import JobConfig
from arkor.protocol.jobs import FINAL_NAME, Artifact
from arkor.protocol.metrics import EVAL_METRICS

_LOSS = "eval_loss"  # in the log of transformers' trainer


@attrs.frozen(kw_only=True)
class Rule:
    """What a job asks for.

    Attributes:
        keeps_adapter: whether the adapter of the best evaluation is the final one.
        patience: evaluations without a better one until the training stops; None for no limit.
        threshold: by how much an evaluation has to be better for that.
        metric: what is compared, by its key in the log of transformers' trainer.
        greater_is_better: whether a greater value of it is better.
    """

    keeps_adapter: bool
    patience: int | None
    threshold: float
    metric: str = _LOSS
    greater_is_better: bool = False

    @classmethod
    def of(cls, config: JobConfig) -> Rule:
        """Return the rule of a job's settings."""
        metric, greater_is_better = best_by(config)
        return cls(
            keeps_adapter=config.value("load_best_model_at_end"),
            patience=config.early_stopping_patience,
            threshold=config.value("early_stopping_threshold"),
            metric=metric,
            greater_is_better=greater_is_better,
        )


@attrs.frozen
class Standing:
    """How the evaluations went so far.

    Attributes:
        step: the optimizer step of the best one; None before the first.
        metrics: what the best one measured, by the keys of transformers' trainer.
        waited: how many evaluations in a row were not better by the threshold.
    """

    step: int | None = None
    metrics: Mapping[str, float] = attrs.field(factory=dict, hash=False)
    waited: int = 0

    def after(self, rule: Rule, step: int, metrics: Mapping[str, float]) -> Standing:
        """Return the standing after one more evaluation; a value that is no number is never better."""
        gain = _gain(rule, *(found.get(rule.metric, math.nan) for found in (self.metrics, metrics)))
        waited = 0 if gain > rule.threshold else self.waited + 1
        if gain > 0 or self.step is None:
            return Standing(step, metrics, waited)
        return attrs.evolve(self, waited=waited)


def _gain(rule: Rule, before: float, now: float) -> float:
    """Return by how much a value is better than the best one before; infinite if there was none."""
    if math.isnan(before) and not math.isnan(now):
        return math.inf
    return now - before if rule.greater_is_better else before - now


class Best:
    """The best evaluation of a training, which may be an attempt that goes on.

    The adapter of each evaluation that was the best when it was made is packed at once, so that the final one needs no
    model any more. Older ones stay until the next checkpoint is complete: an attempt that goes on from the one before
    needs them again.

    Args:
        rule: what the job asks for.
        files: the job's; those adapters are in a folder beside its checkpoints.
        made_by: what their archives say of their making; None if another process keeps the adapters.
    """

    def __init__(self, rule: Rule, files: JobFiles, made_by: Provenance | None = None) -> None:
        self._rule = rule
        self._files = files
        self._folder = files.folder / FOLDER / BEST
        self._made_by = made_by
        self._standing = Standing()

    @property
    def step(self) -> int | None:
        """The step of the best evaluation so far; None before the first one."""
        return self._standing.step

    @property
    def is_exhausted(self) -> bool:
        """Whether the training is to stop, because no better evaluation came for too long."""
        return self._rule.patience is not None and self._standing.waited >= self._rule.patience

    def go_on(self, history: Iterable[Mapping[str, float]]) -> None:
        """Take in the evaluations up to the checkpoint to go on from, and fetch the adapter of the best one.

        Args:
            history: the trainer's log in that checkpoint.

        Raises:
            StorageError: the storage cannot be used.
        """
        for entry in history:
            if _LOSS in entry:
                self._standing = self._standing.after(self._rule, int(entry["step"]), entry)
        if self._made_by is not None and self._rule.keeps_adapter and self._standing.step is not None:
            self._files.bring(str(self._file.relative_to(self._files.folder)))

    def take(self, step: int, metrics: Mapping[str, float], save: Callable[[Path], object]) -> None:
        """Take in an evaluation.

        Args:
            step: the optimizer step that it was made at.
            metrics: what the trainer measured.
            save: saves the adapter as it is now, into a folder.

        Raises:
            OSError: the disk is full.
        """
        if _LOSS not in metrics:
            return
        self._standing = self._standing.after(self._rule, step, metrics)
        if self._made_by is not None and self._rule.keeps_adapter and self._standing.step == step:
            self._folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=self._folder, prefix=".adapter.") as folder:
                save(Path(folder))
                artifacts.pack_adapter(Path(folder), self._folder, _name(step), self._made_by)

    def store(self) -> None:
        """Store the adapter of the best evaluation, before the checkpoint that knows of it is complete.

        Raises:
            StorageError: the storage cannot be used.
        """
        if self._file.is_file():
            self._files.keep(self._file)

    def forget_older(self) -> None:
        """Remove the adapters that were the best once: a complete checkpoint knows the one that is the best by now.

        Raises:
            StorageError: the storage cannot be used.
        """
        for file in self._folder.glob("step-*.tar"):
            if file != self._file:
                file.unlink(missing_ok=True)
        if self._files.are_apart:
            names = self._files.names(f"{FOLDER}/{BEST}")
            self._files.remove(*(name for name in names if Path(name).name != self._file.name))

    def put_in_place(self, folder: Path) -> Artifact | None:
        """Make the adapter of the best evaluation the final one; None if the job does not ask for that.

        Args:
            folder: of the job's artifacts.

        Raises:
            OSError: the disk is full.
        """
        if not self._rule.keeps_adapter or not self._file.is_file():
            return None
        return artifacts.copy(self._file, folder, FINAL_NAME)

    @property
    def _file(self) -> Path:
        """The packed adapter of the best evaluation."""
        return self._folder / f"{_name(self._standing.step)}.tar"

    def metrics(self, last_step: int, max_steps: int, *, is_kept: bool) -> dict[str, Any]:
        """Return what the job's last event says of it.

        Args:
            last_step: the last step that was done.
            max_steps: the steps that were planned.
            is_kept: whether the final adapter is that of the best evaluation.
        """
        found: dict[str, Any] = {}
        if is_kept:
            found["bestStep"] = self._standing.step
            measured = self._standing.metrics
            found |= {
                metric.best_wire_name: measured[metric.trainer_key]
                for metric in EVAL_METRICS
                if metric.trainer_key in measured
            }
        if self._rule.patience is not None:
            found["endReason"] = "early_stopping" if self.is_exhausted and last_step < max_steps else "max_steps"
        return found


def _name(step: int | None) -> str:
    return f"step-{step}"
