"""Watching a job that was started elsewhere."""

from __future__ import annotations

from pathlib import Path

from arkor.client.client import CloudApiClient
from arkor.client.result import TrainingResult
from arkor.protocol.jobs import TrainingJob
from arkor.trainer.trainer import Trainer


def trainer_of(
    job: str | TrainingJob | TrainingResult | Trainer,
    *,
    backend: str | None = None,
    client: CloudApiClient | None = None,
    project_dir: str | Path | None = None,
) -> Trainer:
    """Return a trainer that is given, or one that is attached to a job.

    Args:
        job: the trainer, the job, its result, or its whole id.
        backend: as for ``Trainer.attach``.
        client: as for ``Trainer.attach``.
        project_dir: as for ``Trainer.attach``.

    Raises:
        ConfigError: the id is empty.
    """
    if isinstance(job, Trainer):
        return job
    job_id = job.job.id if isinstance(job, TrainingResult) else job.id if isinstance(job, TrainingJob) else job
    trainer = Trainer.attach(job_id, backend=backend, client=client, project_dir=project_dir)
    place = "" if backend is None else f", backend={backend!r}"
    trainer._showing.called = f"arkor.Trainer.attach({job_id!r}{place})"
    return trainer


def watch(
    job: str | TrainingJob | TrainingResult | Trainer,
    *,
    timeout: float | None = None,
    progress: str | bool | None = None,
    backend: str | None = None,
    client: CloudApiClient | None = None,
    project_dir: str | Path | None = None,
) -> TrainingResult:
    """Watch a job to its end, from its first event on, wherever it was started.

    A notebook shows it as ``Trainer.wait`` does. If you interrupt it, the job goes on.

    Args:
        job: the job, its result, its whole id, or its trainer.
        timeout: seconds for the whole call; None for no limit.
        progress: as for ``Trainer.wait``.
        backend: where the job is, as for ``Trainer.attach``; a trainer knows it.
        client: as for ``Trainer.attach``.
        project_dir: the folder whose project the job belongs to.

    Raises:
        As ``Trainer.wait`` does.

    Example:
        ``arkor.watch("job_x4k2", backend="local")``
    """
    trainer = trainer_of(job, backend=backend, client=client, project_dir=project_dir)
    return trainer.wait(timeout, progress=progress)
