"""What a worker is told to do: the spec file that the backend writes before it starts one.

Protocol: docs/protocol.md, "Worker reports": the spec.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import attrs

from arkor.backend.jobs import checkpoints
from arkor.backend.jobs.job_files import ARTIFACTS, JobFiles
from arkor.backend.storage import keys
from arkor.backend.storage.choose import open_storage
from arkor.backend.storage.interface import Storage
from arkor.backend.training_worker.rows.spec import RowsSpec, optional_path
from arkor.errors import ArkorError
from arkor.protocol.config import JobConfig

STORAGE_PATIENCE_S = 300.0  # a training of days outlasts a storage that is away for minutes


def _names(value: Iterable[str]) -> tuple[str, ...]:
    return tuple(value)


@attrs.frozen(kw_only=True)
class WorkerSpec(RowsSpec):
    """One attempt at a job; ``job_dir`` is the job's own folder.

    Attributes:
        job_id: the job.
        attempt: which attempt at it this is, from 1; a later one continues from a checkpoint where there is one.
        token: proves to the backend that a report belongs to this attempt.
        backend_url: where reports go.
        storage: has the uploaded rows, and keeps checkpoints and artifacts; None if ``job_dir`` has all of them, as
            for a backend that was started before arkor was upgraded.
        name: the trainer's name.
        threads: CPU threads that each of its processes computes with, at least 1.
        gpus: the CUDA devices that it has, as ``CUDA_VISIBLE_DEVICES`` names them; none if the backend says nothing.
        model_root: folder below which model folders have to lie; None allows none.
        cache_dir: where the examples of earlier jobs are kept; None keeps none.
        cache_bytes: how large they may be together.
        resumed_from_step: the step of another job's checkpoint that this one began with; None for one that began anew.
        tells_preparing: whether the backend knows ``training.preparing``; one that was started before arkor was
            upgraded does not.
        takes_faults: the same of the exit codes for a lack of memory and a full disk.
    """

    job_id: str
    attempt: int
    token: str = attrs.field(repr=False)
    backend_url: str
    storage: Storage | None = None
    name: str
    threads: int
    gpus: tuple[str, ...] = attrs.field(default=(), converter=_names)
    model_root: Path | None = attrs.field(default=None, converter=optional_path)
    cache_dir: Path | None = attrs.field(default=None, converter=optional_path)
    cache_bytes: int = 0
    resumed_from_step: int | None = None
    tells_preparing: bool = False
    takes_faults: bool = False

    @property
    def files(self) -> JobFiles:
        """The job's files."""
        if self.storage is None:
            return JobFiles.alone(self.job_dir)
        return JobFiles(self.storage, keys.job(self.job_id), self.job_dir)

    @property
    def checkpoints_dir(self) -> Path:
        """Where checkpoints that a later attempt can continue from are kept."""
        return self.job_dir / checkpoints.FOLDER

    @property
    def artifacts_dir(self) -> Path:
        """Where what the user gets is kept."""
        return self.job_dir / ARTIFACTS


def read_spec(path: Path) -> WorkerSpec:
    """Read a spec file.

    Raises:
        ArkorError: it cannot be read, a field is missing, or there is no such storage.
        ConfigError: a setting of the job is out of its range.
    """
    try:
        body: dict[str, Any] = json.loads(path.read_bytes())
        return WorkerSpec(
            job_id=body["jobId"],
            attempt=body["attempt"],
            token=body["token"],
            backend_url=body["backendUrl"].rstrip("/"),
            storage=open_storage(body["storage"], STORAGE_PATIENCE_S) if "storage" in body else None,
            name=body["name"],
            config=JobConfig.from_wire(body["config"]),
            dataset_path=body.get("datasetPath"),
            eval_dataset_path=body.get("evalDatasetPath"),
            job_dir=body["jobDir"],
            threads=max(1, body["threads"]),
            gpus=body.get("gpus") or (),
            model_root=body.get("modelRoot"),
            cache_dir=body.get("cacheDir"),
            cache_bytes=body.get("cacheBytes") or 0,
            resumed_from_step=body.get("resumedFromStep"),
            tells_preparing=body.get("tellsPreparing") is True,
            takes_faults=body.get("takesFaults") is True,
            allow_private_urls=body.get("allowPrivateUrls") is True,
        )
    except (OSError, KeyError, TypeError, AttributeError, json.JSONDecodeError) as exc:
        raise ArkorError(f"The worker's spec {path} cannot be used: {type(exc).__name__}: {exc}") from exc
