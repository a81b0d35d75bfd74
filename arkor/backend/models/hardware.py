"""What this machine has, found without loading torch."""

from __future__ import annotations

import platform
import shutil
import subprocess
from functools import lru_cache
from pathlib import Path

import psutil

from arkor.backend.processes.memory_limit import free_bytes, limit_bytes

X86 = frozenset({"x86_64", "AMD64"})

_BF16 = frozenset({"avx512_bf16", "amx_bf16"})
_CPU_INFO = Path("/proc/cpuinfo")
_SMI_TIMEOUT_S = 5.0


def x86_instructions() -> frozenset[str] | None:
    """Return what this x86 processor can do, as Linux names it (``avx2``); None if it is another one, or not known."""
    if platform.machine() not in X86:
        return None
    try:
        lines = _CPU_INFO.read_text().splitlines()
    except OSError:  # not Linux
        return None
    return next((frozenset(line.partition(":")[2].split()) for line in lines if line.startswith("flags")), None)


def has_bf16_instructions() -> bool:
    """Whether this is an x86 processor with instructions for bfloat16."""
    return not _BF16.isdisjoint(x86_instructions() or ())


@lru_cache(maxsize=1)
def has_cuda() -> bool:
    """Whether there is an NVIDIA device that can be used."""
    return Path("/dev/nvidiactl").exists() or (Path("/dev/dxg").exists() and shutil.which("nvidia-smi") is not None)


def available_bytes() -> int:
    """Return the memory that a new process can take, in bytes: of the machine, and of this process's control group."""
    machine = int(psutil.virtual_memory().available)
    of_group = free_bytes()
    return machine if of_group is None else min(machine, of_group)


def total_bytes() -> int:
    """Return the most memory that a process can ever take, in bytes: that of the machine, or of the control group."""
    machine = int(psutil.virtual_memory().total)
    of_group = limit_bytes()
    return machine if of_group is None else min(machine, of_group)


def free_cuda_bytes() -> int | None:
    """Return the free memory of the first CUDA device, in bytes; None where it cannot be found out."""
    command = ["nvidia-smi", "--query-gpu=memory.free", "--format=csv,noheader,nounits", "--id=0"]
    try:
        said = subprocess.run(command, capture_output=True, text=True, timeout=_SMI_TIMEOUT_S, check=True).stdout
        return int(said.split()[0]) * 2**20
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):  # the check is an extra: no figure, no check
        return None
