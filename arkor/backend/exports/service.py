"""The queue of exports.

Protocol: docs/protocol.md, "Exports".
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from arkor.backend.exports.task import MADE, MODEL, Task
from arkor.backend.inference.service import Inference
from arkor.backend.inference.targets import Target, Targets
from arkor.backend.jobs.job_folder import uploaded_rows
from arkor.backend.settings import Settings
from arkor.backend.store import Store
from arkor.backend.store.tasks import Claimed
from arkor.backend.tasks.queue import TaskQueue
from arkor.protocol import wire
from arkor.protocol.config import JobConfig
from arkor.protocol.exports import Export, ExportOptions
from arkor.protocol.jobs import FINAL_NAME, AdapterRef, checkpoint_name
from arkor.protocol.receipt import Receipt
from arkor.protocol.record import TrainingRecord
from arkor.serving.refusal import Refusal


class ExportService(TaskQueue[ExportOptions, Export]):
    """Makes the exports. Thread-safe.

    Args:
        settings: where the files are.
        store: the exports.
        inference: answers the questions of the check.
        targets: finds the adapters.
    """

    def __init__(self, settings: Settings, store: Store, inference: Inference, targets: Targets) -> None:
        super().__init__("exports", settings.export_module, store.exports, inference)
        self._settings = settings
        self._store = store
        self._targets = targets

    def folder(self, job_id: str, task_id: str) -> Path:
        """Return the folder of an export."""
        return self._settings.job_folder(job_id) / "exports" / task_id

    def models(self, claimed: Claimed[ExportOptions]) -> dict[str, Target]:
        """Return the model that is exported.

        Raises:
            Refusal: it cannot be had.
        """
        return {MODEL: self._targets.find({"adapter": _ref(claimed).to_wire()}, claimed.project)}

    def task(self, claimed: Claimed[ExportOptions], folder: Path, models: Mapping[str, Target]) -> Mapping[str, Any]:
        """Return what the process is told, see ``exports.task``.

        Raises:
            Refusal: the job was deleted meanwhile.
        """
        job = self._store.jobs.get(claimed.project, claimed.job_id)
        adapter = models[MODEL].adapter
        if job is None or adapter is None:
            raise Refusal(404, "The job was deleted.")
        config = JobConfig.from_wire(claimed.config)
        metadata = wire.mapping(self._store.events.last(claimed.job_id, "training.started").get("metadata"))
        metrics = wire.mapping(self._store.events.last(claimed.job_id, "training.completed").get("metrics"))
        options, artifacts = claimed.options, self._settings.job_folder(claimed.job_id) / "artifacts"
        return Task(
            id=claimed.id,
            job_id=claimed.job_id,
            job_name=job.name,
            config=config,
            prompt_form=claimed.prompt_form,
            options=options,
            model_path=models[MODEL].base,
            adapter_path=Path(adapter[1]),
            adapter_tar=artifacts / f"{FINAL_NAME if options.step is None else checkpoint_name(options.step)}.tar",
            dataset_path=uploaded_rows(self._settings, config.dataset_source),
            eval_dataset_path=uploaded_rows(self._settings, config.eval_dataset_source),
            folder=folder,
            artifacts_folder=artifacts,
            artifact=f"export-{options.to}-{claimed.id.removeprefix('export_')}",
            allow_private_urls=self._settings.allow_private_urls,
            record=TrainingRecord.from_wire(metadata.get("record")),
            receipt=Receipt.from_wire(metadata.get("receipt")),
            loss=None if options.step else wire.number(metrics.get("bestEvalLoss", metrics.get("evalLoss"))),
            report=next((one.verdict for one in reversed(self._store.evaluations.list(job.id)) if one.verdict), ""),
        ).to_line()

    def tidy(self, folder: Path) -> None:
        """Remove what is left of an export beside its archive."""
        shutil.rmtree(folder / MADE, ignore_errors=True)


def _ref(claimed: Claimed[ExportOptions]) -> AdapterRef:
    step = claimed.options.step
    return AdapterRef("final" if step is None else "checkpoint", claimed.job_id, step)
