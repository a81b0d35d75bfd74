"""Jobs and GPUs, which a stand-in for ``nvidia-smi`` counts; workers are scripted."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.backend import BackendProcess, Client
from tests.support.eventually import eventually

SMI = """#!/bin/sh
case "$*" in *--query-gpu=uuid*) printf 'GPU-1a\\nGPU-2b\\n' ;; *) echo 24576 ;; esac
"""


@pytest.fixture
def two_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with two GPUs of 24 GiB each."""
    (tmp_path / "nvidia-smi").write_text(SMI)
    (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def submit(client: Client, config: dict[str, Any], **settings: Any) -> str:
    return str(client.submit("gated:1", {**config, **settings}).json()["job"]["id"])


def gpus(backend: BackendProcess, job_id: str) -> list[str]:
    """Return the GPUs of a job whose worker runs."""
    backend.worker_pid(job_id)
    return list(json.loads((backend.job_dir(job_id) / "spec.json").read_bytes())["gpus"])


@pytest.mark.usefixtures("two_gpus")
def test_each_gpu_has_one_job_also_after_a_kill_of_the_backend(
    start: Callable[..., BackendProcess], config: dict[str, Any]
) -> None:
    """The next backend gives a worker's GPU to nobody else; a job that needs both waits, and one after it with it."""
    backend = start()
    client = backend.client()
    first, second = submit(client, config), submit(client, config)
    assert (gpus(backend, first), gpus(backend, second)) == (["GPU-2b"], ["GPU-1a"])
    both, last = submit(client, config, devices=2), submit(client, config)
    backend.kill()
    backend.start()
    client = backend.client_as(client)
    backend.allow(first, 1)
    client.wait_for(first, "completed")
    assert [client.job(job)["status"] for job in (second, both, last)] == ["running", "queued", "queued"]
    backend.allow(second, 1)
    assert gpus(backend, both) == ["GPU-2b", "GPU-1a"]
    assert client.job(last)["status"] == "queued"
    backend.allow(both, 1)
    assert gpus(backend, last) == ["GPU-2b"]
    backend.allow(last, 1)
    client.wait_for(last, "completed")


@pytest.mark.usefixtures("two_gpus")
def test_more_devices_than_there_are_are_refused(
    start: Callable[..., BackendProcess], config: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With their number; a backend that may use one of the GPUs has one."""
    answer = start().client().submit("gated:1", {**config, "devices": 3})
    assert answer.status_code == 422
    assert answer.json()["error"] == "devices: must be at most 2 on this backend, which has 2 GPUs, not 3"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    backend = start()
    client = backend.client()
    assert "must be at most 1" in client.submit("gated:1", {**config, "devices": 2}).json()["error"]
    first, second = submit(client, config), submit(client, config)
    assert gpus(backend, first) == ["1"]
    assert client.job(second)["status"] == "queued"
    backend.allow(first, 1)
    backend.allow(second, 1)
    eventually(lambda: client.job(second)["status"] == "completed", "the second job is complete")
