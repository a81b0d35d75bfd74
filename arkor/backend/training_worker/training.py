"""One attempt at a training, from the rows to the packed adapter.

TRL's ``SFTTrainer`` does the training and PEFT the adapter; the rows come in tokenised, with their labels.
"""

from __future__ import annotations

import functools
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs

from arkor.backend import models
from arkor.backend.jobs import checkpoints
from arkor.backend.jobs.job_files import uploaded_rows
from arkor.backend.training_worker import artifacts, model, settings
from arkor.backend.training_worker.advice import advice
from arkor.backend.training_worker.answer_score import AnswerScore
from arkor.backend.training_worker.answers import Answerer
from arkor.backend.training_worker.best import Best, Rule
from arkor.backend.training_worker.course import Course, built, state_of
from arkor.backend.training_worker.elsewhere import Gathering
from arkor.backend.training_worker.examples.cache import ExampleCache
from arkor.backend.training_worker.examples.data import Data, prepare_data
from arkor.backend.training_worker.limits.device import choose_device
from arkor.backend.training_worker.limits.lengths import Lengths
from arkor.backend.training_worker.memory import Fitted, fitted
from arkor.backend.training_worker.others import ROWS, ProcessEnded, leave, team_of
from arkor.backend.training_worker.plan import Plan
from arkor.backend.training_worker.preparing import PreparingReport
from arkor.backend.training_worker.progress import Progress, replay
from arkor.backend.training_worker.provenance import Provenance, provenance_of
from arkor.backend.training_worker.reporter import Reporter
from arkor.backend.training_worker.rows.load import fetch_rows, load_rows
from arkor.backend.training_worker.rows.phases import tell_nobody
from arkor.backend.training_worker.samples import Samples, Sampling
from arkor.backend.training_worker.spec import WorkerSpec
from arkor.backend.training_worker.stopping import Position, StopSwitch
from arkor.errors import ArkorError
from arkor.protocol.jobs import FINAL_NAME, Artifact
from arkor.system.files import make_private_folder
from arkor.system.folder_cache import FolderCache

_SHARED = ".examples.shared"  # below a job's folder: what the processes of an attempt share


def train(
    spec: WorkerSpec,
    reporter: Reporter,
    stop: StopSwitch,
    position: Position,
    *,
    on_stuck: Callable[[ProcessEnded], None] = leave,
) -> None:
    """Train, report, and leave the adapter; returns when the job is complete.

    Args:
        spec: the attempt.
        reporter: where events go.
        stop: asked whether to go on.
        position: kept up to date, for whoever has to say how far the training came.
        on_stuck: called, from another thread, if a process of another device has ended and this one waits for it; it
            does not return.

    Raises:
        Interrupted: a stop was asked for; what there was to save is saved.
        ArkorError: the job cannot be done; its text is for the user.
        ProcessEnded: the process of another device ended before its time.
    """
    gathering = Gathering.found()
    here = spec.config.value("devices") if gathering is None else gathering.here
    artifacts.remove_unfinished(spec.artifacts_dir)
    spec = _on_this_machine(spec)
    model_path = models.resolve(spec.config.model, spec.model_root)
    device = choose_device(spec.threads, deterministic=spec.config.value("full_determinism"))
    tokenizer = model.load_tokenizer(model_path)
    limits = Lengths.remembered(
        spec.job_dir / checkpoints.LENGTHS,
        # A GPU may have other free memory when the job is resumed.
        lambda: Lengths.of(model.load_config(model_path), spec.config, device),
    )
    spec.files.keep(spec.job_dir / checkpoints.LENGTHS)
    tell = PreparingReport(reporter) if spec.tells_preparing else tell_nobody
    sources = fetch_rows(spec)
    shared = _shared(spec)
    data = prepare_data(
        spec,
        tokenizer,
        limits,
        tell,
        threads=spec.threads * here,  # the other processes begin afterwards
        cache=_cache(spec),
        sources=sources,
        share=lambda folder: None if shared is None else _link(folder, shared / ROWS),
    )
    memory = fitted(spec.config, data, model_path, here) if device.is_cpu else Fitted(spec.config)
    plan = Plan(
        spec=attrs.evolve(spec, config=memory.config),
        device=device,
        model_path=model_path,
        resumed=_checkpoint(spec),
        tries_longest=not memory.is_ample,
    )
    with team_of(plan, shared, on_stuck, gathering) as team:
        trainer = built(plan, tokenizer, data)
        rows = functools.cache(lambda: load_rows(spec, sources=sources))
        answerer, is_raw = Answerer(trainer, spec.config, stop.check), data.prompt_form == "raw"
        score = settings.score_of(spec.config)
        if score is not None and data.eval:
            measure = AnswerScore(score, answerer, tokenizer, rows(), is_raw=is_raw).measure
            trainer.score = lambda: team.measured(measure)
        sampling = Sampling(
            spec.config, team, Samples.of(spec.config, answerer, tokenizer, rows, reporter, is_raw=is_raw)
        )
        sampling.go_on(plan.resumed)
        base = models.origin_of(spec.config.model, model_path)
        made_by = provenance_of(plan.spec, base, tokenizer, device, data, **sources.described())
        best = Best(Rule.of(spec.config), spec.files, made_by)
        progress = Progress(plan.spec, reporter, stop, position, made_by, best=best, sampling=sampling, team=team)
        trainer.add_callback(progress)
        stop.hold()
        position.has_begun = True
        course = Course(plan, trainer, data, best, sampling=sampling, team=team, stop=stop, callback=progress)
        attempt = _Attempt(plan, reporter, course, trainer, progress, made_by=made_by, best=best, sampling=sampling)
        attempt.run(data, memory.note)


def _shared(spec: WorkerSpec) -> Path | None:
    """Return the folder that the processes of an attempt share, empty; None if there is one process."""
    folder = spec.job_dir / _SHARED
    shutil.rmtree(folder, ignore_errors=True)  # of an attempt that was killed
    return folder if spec.config.value("devices") > 1 else None


def _link(folder: Path, shared: Path) -> None:
    """Give files, which nobody changes, second names in another folder."""
    make_private_folder(shared)
    for file in folder.iterdir():
        try:
            (shared / file.name).hardlink_to(file)
        except OSError:  # the file system has no such names
            shutil.copyfile(file, shared / file.name)


def _on_this_machine(spec: WorkerSpec) -> WorkerSpec:
    """Fetch what an attempt needs beside its checkpoint: uploaded rows, the first one's limits, the base adapter."""
    if spec.storage is None:
        return spec
    for name in (checkpoints.LENGTHS, checkpoints.BASE_ADAPTER):
        spec.files.bring(name)
    sources = (spec.config.dataset_source, spec.config.eval_dataset_source)
    path, eval_path = (uploaded_rows(spec.storage, source, spec.job_dir) for source in sources)
    return attrs.evolve(spec, dataset_path=path, eval_dataset_path=eval_path)


def _cache(spec: WorkerSpec) -> ExampleCache | None:
    if spec.cache_dir is None:
        return None
    return ExampleCache(FolderCache(spec.cache_dir, spec.cache_bytes), spec.job_id)


def _checkpoint(spec: WorkerSpec) -> Path | None:
    """Return the checkpoint to go on from; None to begin anew."""
    from_step = spec.resumed_from_step
    if spec.attempt == 1 and from_step is None:
        return None
    found = checkpoints.newest(spec.files)
    if found is None and from_step is not None:
        raise ArkorError(
            f"The checkpoint of step {from_step} that this job was to go on from is damaged: start a new job"
        )
    return found


class _Attempt:
    """The part of an attempt in which there is something to save, as the process that reports has it."""

    def __init__(
        self,
        plan: Plan,
        reporter: Reporter,
        course: Course,
        trainer: Any,
        progress: Progress,
        *,
        made_by: Provenance,
        best: Best,
        sampling: Sampling,
    ) -> None:
        self._resumed = plan.resumed
        self._spec = plan.spec
        self._reporter = reporter
        self._course = course
        self._trainer = trainer
        self._progress = progress
        self._made_by = made_by
        self._best = best
        self._sampling = sampling
        self._began = time.monotonic()

    def run(self, data: Data, note: str | None) -> None:
        checkpoints.keep_only(self._spec.checkpoints_dir, self._resumed)
        self._reporter.send("training.started", metadata=self._metadata(data, note))
        state = state_of(self._resumed)
        if state is not None and self._resumed is not None:
            step = checkpoints.step_of(self._resumed)
            replay(state.log_history, step, self._spec, self._reporter, self._sampling)
        self._course.run(state)
        self._complete()

    def _complete(self) -> None:
        best = self._best.put_in_place(self._spec.artifacts_dir)
        final = best or self._pack_last()
        artifacts.hand_over(self._spec.files, final)
        made = [final, *artifacts.packed_checkpoints(self._spec.files)]
        self._reporter.send(
            "training.completed",
            metrics=self._metrics(is_best=best is not None),
            artifacts=[artifact.to_wire() for artifact in made],
        )

    def _pack_last(self) -> Artifact:
        with tempfile.TemporaryDirectory(dir=self._spec.job_dir, prefix=".adapter.") as folder:
            self._trainer.model.save_pretrained(folder)
            return artifacts.pack_adapter(Path(folder), self._spec.artifacts_dir, FINAL_NAME, self._made_by)

    def _metrics(self, *, is_best: bool) -> dict[str, Any]:
        state = self._trainer.state
        evaluations = [entry["eval_loss"] for entry in state.log_history if "eval_loss" in entry]
        return {
            "trainLoss": mean_loss(state.log_history),
            **({"evalLoss": evaluations[-1]} if evaluations else {}),
            "steps": state.global_step,
            "seconds": round(time.monotonic() - self._began, 3),
            "threads": sorted(self._progress.threads_used),
            **self._best.metrics(state.global_step, state.max_steps, is_kept=is_best),
        }

    def _metadata(self, data: Data, note: str | None) -> dict[str, Any]:
        weights = dict(self._trainer.model.named_parameters())
        trainable = sum(weight.numel() for weight in weights.values() if weight.requires_grad)
        steps = settings.total_steps(self._spec.config, len(data.train))
        advised = [] if note is None else [note]
        advised += advice(
            self._spec.config,
            steps=steps,
            examples=len(data.train),
            counted_tokens=data.receipt.counted_tokens or 0,
            parameters=sum(weight.numel() for weight in weights.values()) - trainable,
            adapter=sum(weight.numel() for name, weight in weights.items() if ".lora_" in name),
        )
        return {
            "model": self._spec.config.model,
            "datasetFormat": data.format,
            "promptForm": data.prompt_form,
            "trainRows": data.train_rows,
            "evalRows": data.eval_rows,
            "truncatedRows": data.receipt.truncated.count,
            "droppedRows": data.receipt.dropped.count,
            "receipt": data.receipt.to_wire(),
            "maxSteps": steps,
            "trainableParameters": trainable,
            "device": self._made_by.record.device,
            "record": self._made_by.record.to_wire(),
            **({"advice": advised} if advised else {}),
            **({"resumedFromStep": checkpoints.step_of(self._resumed)} if self._resumed is not None else {}),
        }


def mean_loss(history: list[dict[str, float]]) -> float | None:
    """Return the mean training loss a step, over all attempts; None where nothing was logged.

    Args:
        history: the trainer's log history, oldest first; each loss is the mean since the one before it.
    """
    total, before = 0.0, 0.0
    for entry in history:
        if "loss" in entry:
            total += entry["loss"] * (entry["step"] - before)
            before = entry["step"]
    return total / before if before else None
