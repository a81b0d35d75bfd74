"""On which device a base model answers, and in which number type."""

from __future__ import annotations

import pytest
import torch

from arkor.backend.inference_worker.transformers_engine.base import device_name, served_dtype


@pytest.mark.parametrize(("cuda", "mps", "found"), [(True, True, "cuda"), (False, True, "mps"), (False, False, "cpu")])
def test_a_gpu_answers_if_there_is_one(monkeypatch: pytest.MonkeyPatch, *, cuda: bool, mps: bool, found: str) -> None:
    """A CUDA device, else that of a Mac; both in bfloat16."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    assert device_name() == found
    if found != "cpu":
        assert served_dtype("no folder") == "bfloat16"
