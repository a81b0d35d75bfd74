"""A job's folder: what its worker is told, and what the worker leaves there.

Protocol: docs/protocol.md, "Worker reports": the spec.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from arkor.backend.jobs import checkpoints
from arkor.backend.jobs.job_files import ARTIFACTS, uploaded_rows
from arkor.backend.settings import Settings
from arkor.backend.storage.choose import is_folder, open_storage
from arkor.backend.store.queue import ClaimedJob
from arkor.system.files import read_log_end, write_atomically
from arkor.text import last_lines


def spec_path(settings: Settings, job_id: str) -> Path:
    """Return where a job's spec is while an attempt is under way."""
    return settings.job_folder(job_id) / "spec.json"


def leftovers(folder: Path) -> Iterator[Path]:
    """Yield what no worker needs once an attempt is over: the spec, which holds tokens, and what was not finished.

    Args:
        folder: a job's.
    """
    for pattern in ("spec.json", ".spec.json.*", ".dataset.*", ".adapter.*", ".examples.*", "artifacts/.*.part"):
        yield from folder.glob(pattern)


def log_path(settings: Settings, job_id: str) -> Path:
    """Return where the output of a job's workers is kept."""
    return settings.job_folder(job_id) / "worker.log"


def kept_threads(folder: Path) -> int | None:
    """Return on how many threads every attempt at a job computes; None if the number may change.

    Args:
        folder: the job's.
    """
    try:
        return int((folder / checkpoints.THREADS).read_bytes())
    except FileNotFoundError:
        return None


def _threads(folder: Path, config: Mapping[str, Any], threads: int) -> int:
    """Return on how many threads an attempt computes: with full determinism as many as the first one."""
    kept = kept_threads(folder)
    if kept is None and config.get("fullDeterminism"):
        write_atomically(folder / checkpoints.THREADS, str(threads).encode())
    return threads if kept is None else kept


def held_gpus(settings: Settings, job_id: str) -> tuple[str, ...] | None:
    """Return the CUDA devices of the attempt that is under way, as its spec says; None if that does not say it."""
    try:
        gpus = json.loads(spec_path(settings, job_id).read_bytes()).get("gpus")
    except FileNotFoundError:  # its worker was never started
        return ()
    return None if gpus is None else tuple(gpus)


def write_spec(settings: Settings, job: ClaimedJob, backend_url: str, threads: int, gpus: Sequence[str] = ()) -> Path:
    """Write what the next attempt's worker is told; the file holds its token, so only the owner may read it.

    Args:
        settings: where the job's folder is, and what its worker may do.
        job: the job.
        backend_url: where the worker reports.
        threads: on which each of its processes computes.
        gpus: the CUDA devices that it has.

    Raises:
        OSError: the folder cannot be written, or the disk is full.
    """
    folder = settings.job_folder(job.id)
    for place in (folder, folder / checkpoints.FOLDER, folder / ARTIFACTS):
        place.mkdir(parents=True, exist_ok=True)
    rows = (job.config["datasetSource"], job.config.get("evalDatasetSource"))
    # Out of S3, the worker fetches them.
    storage = open_storage(settings.storage) if is_folder(settings.storage) else None
    rows_path, eval_rows_path = (storage and uploaded_rows(storage, source, folder) for source in rows)
    spec = {
        "jobId": job.id,
        "attempt": job.attempt,
        "token": job.token,
        "backendUrl": backend_url,
        "name": job.name,
        "config": job.config,
        "resumedFromStep": job.resumed_from_step,
        "datasetPath": rows_path,
        "evalDatasetPath": eval_rows_path,
        "jobDir": str(folder),
        "storage": settings.storage,
        "modelRoot": None if settings.model_root is None else str(settings.model_root),
        "allowPrivateUrls": settings.allow_private_urls,
        "tellsPreparing": True,
        "takesFaults": True,
        "threads": _threads(folder, job.config, threads),
        "gpus": list(gpus),
        "cacheDir": str(settings.examples_folder),
        "cacheBytes": settings.examples_bytes,
    }
    path = spec_path(settings, job.id)
    write_atomically(path, json.dumps(spec).encode(), mode=0o600)
    with log_path(settings, job.id).open("a", encoding="utf-8") as log:
        log.write(f"--- attempt {job.attempt} ---\n")
    return path


def log_tail(path: Path) -> str:
    """Return the last lines that an attempt's worker wrote; empty where it wrote none."""
    return last_lines(read_log_end(path).rpartition("--- attempt ")[2].partition("\n")[2])
