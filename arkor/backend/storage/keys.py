"""The keys of objects. In a storage that is the data folder, these are the paths of the files in it.

Protocol: docs/protocol.md, "Storage".
"""

from __future__ import annotations

JOBS = "jobs/"
DATASETS = "datasets/"
UNSETTLED = "unsettled/"


def dataset(sha256: str) -> str:
    """Return the key of an uploaded data set."""
    return f"{DATASETS}{sha256}.jsonl"


def job(job_id: str) -> str:
    """Return what the keys of a job's objects begin with."""
    return f"{JOBS}{job_id}/"


def artifacts(job_id: str) -> str:
    """Return what the keys of a job's artifacts begin with."""
    return f"{job(job_id)}artifacts/"


def artifact(job_id: str, name: str) -> str:
    """Return the key of an artifact."""
    return f"{artifacts(job_id)}{name}.tar"


def unsettled(name: str) -> str:
    """Return the key of a mark: objects are being made or removed; see ``storage.marks``."""
    return f"{UNSETTLED}{name}"
