"""What the libraries are told before they are loaded, in a process of its own as the worker is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from arkor.backend.models import hardware

pytestmark = pytest.mark.training

PROGRAM = """
import json, os, sys
from arkor.backend.training_worker.limits.device import choose_device, prepare_environment
deterministic = sys.argv[1] == "deterministic"
prepare_environment(1, deterministic=deterministic)
import torch
choose_device(1, deterministic=deterministic)
names = ("OMP_NUM_THREADS", "OMP_DYNAMIC", "MKL_DYNAMIC", "MKL_CBWR", "CUBLAS_WORKSPACE_CONFIG")
set_ = {name: os.environ.get(name) for name in names}
print(json.dumps({**set_, "oneDNN": torch.backends.mkldnn.deterministic, "threads": torch.get_num_threads()}))
"""


def told(mode: str, **environment: str) -> dict[str, Any]:
    """Return what a process has set that was started in an environment."""
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM, mode],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=100,
        check=True,
    )
    found: dict[str, Any] = json.loads(ended.stdout)
    return found


def test_full_determinism_is_set_before_the_libraries_are_loaded() -> None:
    """Whatever the user's environment says."""
    assert told("deterministic", OMP_DYNAMIC="TRUE", MKL_CBWR="COMPATIBLE", OMP_NUM_THREADS="9") == {
        "OMP_NUM_THREADS": "1",
        "OMP_DYNAMIC": "FALSE",
        "MKL_DYNAMIC": "FALSE",
        "MKL_CBWR": "AUTO",
        "CUBLAS_WORKSPACE_CONFIG": ":16:8",
        "oneDNN": True,
        "threads": 1,
    }


def test_without_it_the_libraries_choose() -> None:
    """But for the threads."""
    assert told("quick", MKL_CBWR="COMPATIBLE") == {
        "OMP_NUM_THREADS": "1",
        "OMP_DYNAMIC": None,
        "MKL_DYNAMIC": None,
        "MKL_CBWR": "COMPATIBLE",
        "CUBLAS_WORKSPACE_CONFIG": None,
        "oneDNN": False,
        "threads": 1,
    }


@pytest.mark.parametrize(
    ("instructions", "precision"),
    [({"avx2"}, "medium"), (None, "medium"), ({"avx2", "avx512_bf16"}, "highest"), ({"avx2", "amx_bf16"}, "highest")],
)
def test_float32_is_computed_in_float32(
    monkeypatch: pytest.MonkeyPatch, instructions: set[str] | None, precision: str
) -> None:
    """OneDNN would take bfloat16 for it where the processor has instructions for that."""
    import torch

    from arkor.backend.training_worker.limits.device import choose_device

    before, threads = torch.get_float32_matmul_precision(), torch.get_num_threads()
    monkeypatch.setattr(hardware, "x86_instructions", lambda: instructions)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    choose_device(threads)
    found = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(before)
    assert found == precision


@pytest.mark.parametrize(
    ("cuda", "mps", "deterministic", "found"),
    [
        (True, True, False, ("cuda", "float16")),
        (False, True, False, ("mps", "float32")),
        (False, True, True, ("cpu", "float32")),
        (False, False, False, ("cpu", "float32")),
    ],
)
def test_the_device_of_a_training(
    monkeypatch: pytest.MonkeyPatch, *, cuda: bool, mps: bool, deterministic: bool, found: tuple[str, str]
) -> None:
    """A CUDA device, else the GPU of a Mac unless the bytes have to be the same, else the processor."""
    import torch

    from arkor.backend.training_worker.limits.device import Device, choose_device

    before = torch.get_float32_matmul_precision()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    assert choose_device(torch.get_num_threads(), deterministic=deterministic) == Device(*found)
    torch.set_float32_matmul_precision(before)
    torch.backends.mkldnn.set_flags(_deterministic=False)


def test_the_free_memory_of_a_mac_is_what_its_system_recommends(monkeypatch: pytest.MonkeyPatch) -> None:
    """Less what is taken already; its GPU shares the memory of the processor."""
    import torch

    from arkor.backend.training_worker.limits.device import Device, free_gpu_bytes

    monkeypatch.setattr(torch.mps, "recommended_max_memory", lambda: 12 * 2**30)
    monkeypatch.setattr(torch.mps, "driver_allocated_memory", lambda: 2**30)
    assert free_gpu_bytes(Device("mps", "float32")) == 11 * 2**30


@pytest.mark.parametrize(
    ("environment", "gpu", "found"),
    [
        ({}, None, "0"),
        ({"CUDA_VISIBLE_DEVICES": "3,4"}, None, "3"),
        ({"CUDA_VISIBLE_DEVICES": "3,4"}, "GPU-2b", "GPU-2b"),
    ],
)
def test_a_process_sees_one_gpu(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], gpu: str | None, found: str
) -> None:
    """The one that the backend gave it; without a word, the first one that it may use."""
    from arkor.backend.training_worker.limits.device import prepare_environment

    names = ("CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS", "TOKENIZERS_PARALLELISM", "HF_HUB_DISABLE_PROGRESS_BARS")
    with monkeypatch.context() as patches:
        for name in (*names, "OMP_WAIT_POLICY", "ONEDNN_PRIMITIVE_CACHE_CAPACITY", "PYTORCH_ENABLE_MPS_FALLBACK"):
            patches.setenv(name, environment.get(name, "x"))
            if name not in environment:
                patches.delenv(name)
        prepare_environment(1, gpu)
        assert os.environ["CUDA_VISIBLE_DEVICES"] == found
