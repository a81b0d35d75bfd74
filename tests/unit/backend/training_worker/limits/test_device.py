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
