"""The queue of exports.

Protocol: docs/protocol.md, "Exports".
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from arkor.backend.exports.task import ADAPTER, MADE, MODEL, PARTS, Task
from arkor.backend.inference.targets import Target
from arkor.backend.storage import keys
from arkor.backend.storage.interface import Content
from arkor.backend.store.tasks import Claimed
from arkor.backend.tasks.queue import Parts, TaskQueue, Told
from arkor.protocol.exports import Export, ExportOptions
from arkor.protocol.jobs import FINAL_NAME, AdapterRef, checkpoint_name
from arkor.serving.refusal import Refusal


class ExportService(TaskQueue[ExportOptions, Export]):
    """Makes the exports. Thread-safe.

    Args:
        parts: the parts of the backend that it needs.
    """

    def __init__(self, parts: Parts) -> None:
        super().__init__("exports", parts.settings.export_module, parts.store.exports, parts)

    def models(self, claimed: Claimed[ExportOptions]) -> dict[str, Target]:
        """Return the model that is exported.

        Raises:
            Refusal: it cannot be had.
        """
        return {MODEL: self._parts.targets.find({"adapter": _ref(claimed).to_wire()}, claimed.project)}

    def task(self, claimed: Claimed[ExportOptions], told: Told, models: Mapping[str, Target]) -> Task:
        """Return what the process is told.

        Raises:
            Refusal: the job was deleted meanwhile.
            StorageError: its archive cannot be had.
        """
        store = self._parts.store
        job, adapter = store.jobs.get(claimed.project, claimed.job_id), models[MODEL].adapter
        if job is None or adapter is None:
            raise Refusal(404, "The job was deleted.")
        options, name = claimed.options, FINAL_NAME
        if options.step is not None:
            name = checkpoint_name(options.step)
        fetched = told.common["folder"] / ADAPTER
        tar = self._parts.storage.bring(keys.artifact(job.id, name), fetched, Content(None, adapter[0]))
        return Task(
            **told.common,
            job_name=job.name,
            model_path=models[MODEL].base,
            adapter_path=Path(adapter[1]),
            adapter_tar=tar,
            artifact=f"export-{options.to}-{claimed.id.removeprefix('export_')}",
            receipt=told.receipt,
            loss=None if options.step else told.eval_loss,
            tools_folder=self._parts.settings.tools_folder,
            report=next((one.verdict for one in reversed(store.evaluations.list(job.id)) if one.verdict), ""),
        )

    def tidy(self, folder: Path) -> None:
        """Remove what is left of an export beside its archive."""
        for name in (MADE, PARTS):
            shutil.rmtree(folder / name, ignore_errors=True)
        (folder / ADAPTER).unlink(missing_ok=True)


def _ref(claimed: Claimed[ExportOptions]) -> AdapterRef:
    step = claimed.options.step
    return AdapterRef("final" if step is None else "checkpoint", claimed.job_id, step)
