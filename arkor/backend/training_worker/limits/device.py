"""The machine a worker computes on: its threads, its device, and what is fast there."""

from __future__ import annotations

import contextlib
import ctypes
import os
from typing import Any

import attrs

from arkor.backend.models.cpu_memory import keeps_scores
from arkor.backend.models.hardware import has_bf16_instructions, total_bytes
from arkor.backend.processes.memory_limit import held_bytes


@attrs.frozen
class Device:
    """Where a training runs, and in which numbers.

    Attributes:
        name: ``cpu``, ``cuda``, or ``mps`` for the GPU of a Mac.
        dtype: the base model's number type, as ``torch`` names it.
    """

    name: str
    dtype: str

    @property
    def is_cpu(self) -> bool:
        """Whether it is the CPU."""
        return self.name == "cpu"

    @property
    def is_cuda(self) -> bool:
        """Whether it is a CUDA device."""
        return self.name == "cuda"


def free_gpu_bytes(device: Device) -> int:
    """Return the memory of a GPU that nothing uses yet, in bytes; on a Mac at most what its system recommends.

    Args:
        device: the GPU.
    """
    import torch

    if not device.is_cuda:
        return int(torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory())
    return int(torch.cuda.mem_get_info()[0])


def used_memory(device: str) -> dict[str, int]:
    """Return how much memory of a device is used, and how much it has, in bytes, as a log event has them.

    Of a GPU all use counts; of a machine without one, that of this process and its children.

    Args:
        device: its name, as ``Device`` has it.
    """
    if device == "cpu":
        return {"used": held_bytes(os.getpid()), "total": total_bytes()}
    import torch

    if device == "mps":
        return {"used": torch.mps.driver_allocated_memory(), "total": torch.mps.recommended_max_memory()}
    free, total = torch.cuda.mem_get_info()
    return {"used": total - free, "total": total}


def return_free_memory() -> None:
    """Give the memory that this process does not use any more back to the system.

    The C library keeps it for later, in pieces that are too small for the matrices of an evaluation: they would come on
    top of it. It takes a few milliseconds. Other C libraries than glibc have no such call.
    """
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


# What full determinism needs from the start: transformers sets some of it when its trainer is made, which is after the
# first product of matrices.
_DETERMINISTIC = {
    "OMP_DYNAMIC": "FALSE",  # as many threads as were asked for, however busy the machine is
    "MKL_DYNAMIC": "FALSE",
    "MKL_CBWR": "AUTO",  # sums in an order that does not depend on where in memory the numbers lie
    "CUBLAS_WORKSPACE_CONFIG": ":16:8",  # as transformers has it
}


def prepare_environment(threads: int, gpu: str | None = None, *, deterministic: bool = False) -> None:
    """Set what the libraries read when they are loaded; call it before they are.

    Args:
        threads: CPU threads to compute with, at least 1.
        gpu: the CUDA device of this process, as ``CUDA_VISIBLE_DEVICES`` names it; None for the first that it may use.
        deterministic: whether the same inputs have to give the same bytes.
    """
    os.environ.update(_DETERMINISTIC if deterministic else {})
    os.environ["OMP_NUM_THREADS"] = str(threads)
    # OpenMP's threads wait for each other awake otherwise: with one other busy thread on 2 cores a forward pass took
    # twice as long (1.8 s against 1.0), with two up to five times. Asleep they cost nothing measurable.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # oneDNN keeps 1,024 kernels otherwise, some for each length of rows: in 40 steps on rows of many lengths that took
    # 0.4 GiB. To make one anew costs nothing measurable.
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "64")
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
    os.environ.setdefault("PYTORCH_ENABLE_MPS_FALLBACK", "1")  # what a Mac's GPU cannot do, its processor does
    # TRL refuses to train on several devices from one process.
    os.environ["CUDA_VISIBLE_DEVICES"] = gpu or os.environ.get("CUDA_VISIBLE_DEVICES", "0").partition(",")[0]


def choose_device(threads: int, *, deterministic: bool = False) -> Device:
    """Set torch's threads and pick the device: the first CUDA device, else the GPU of a Mac, else the CPU.

    A Mac's GPU does not promise the same bytes each time, so it is not for full determinism.

    Args:
        threads: CPU threads to compute with, at least 1.
        deterministic: whether oneDNN has to add numbers in the same order each time; transformers sets the rest.
    """
    import torch

    torch.set_num_threads(threads)
    torch.backends.mkldnn.set_flags(_deterministic=deterministic)
    if torch.cuda.is_available():
        return Device("cuda", "bfloat16" if torch.cuda.is_bf16_supported() else "float16")
    if torch.backends.mps.is_available() and not deterministic:
        return Device("mps", "float32")
    # Lets torch hand float32 products to oneDNN. On CPUs without instructions for bfloat16 oneDNN still computes them
    # in full float32, and on AMD's twice as fast as the MKL that torch takes otherwise (measured with torch 2.13). With
    # such instructions it would compute them in bfloat16: the loss is 0.001 another one then (measured with AMX).
    torch.set_float32_matmul_precision("highest" if has_bf16_instructions() else "medium")
    return Device("cpu", "float32")


def attention_for(device: Device, model_config: Any, batch_size: int, longest: int) -> str | None:
    """Return the name of the attention implementation that suits a training; None leaves the choice to the model.

    Args:
        device: where it runs.
        model_config: the base model's configuration, of transformers.
        batch_size: rows a step.
        longest: tokens of the longest row.
    """
    text = model_config.get_text_config()
    heads, layers = getattr(text, "num_attention_heads", 0), getattr(text, "num_hidden_layers", 0)
    is_small = heads and keeps_scores(rows=batch_size, tokens=longest, heads=heads, layers=layers)
    return "eager" if device.is_cpu and is_small else None
