"""What this machine has, found without loading torch."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import psutil

from arkor.backend.processes.memory_limit import free_bytes, limit_bytes

X86 = frozenset({"x86_64", "AMD64"})

_BF16 = frozenset({"avx512_bf16", "amx_bf16"})
_CPU_INFO = Path("/proc/cpuinfo")
_NODES = Path("/dev")
_SMI_TIMEOUT_S = 30.0  # without a program that keeps the driver awake, it takes seconds


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


def has_cuda() -> bool:
    """Whether there is an NVIDIA device that can be used."""
    return bool(cuda_devices())


@lru_cache(maxsize=1)
def cuda_devices() -> tuple[str, ...]:
    """Return the NVIDIA devices that this process may use, as ``CUDA_VISIBLE_DEVICES`` names them.

    They are those of that variable. Without it they are all, by their UUIDs: CUDA numbers devices in another order than
    ``nvidia-smi``.
    """
    found = _found_cuda_devices()
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    return found if chosen is None else tuple(_visible(chosen, len(found)))


def _visible(chosen: str, count: int) -> Iterator[str]:
    """Yield the devices of ``CUDA_VISIBLE_DEVICES``, as CUDA reads it: up to the first that there is not, each once."""
    seen = set[str]()
    for name in map(str.strip, chosen.split(",")):
        is_there = int(name) < count if name.isdecimal() else name.startswith(("GPU-", "MIG-")) and count > 0
        if not is_there or name in seen:
            return
        seen.add(name)
        yield name


def _found_cuda_devices() -> tuple[str, ...]:
    if shutil.which("nvidia-smi") is None:  # it is no part of some containers; WSL has no such files, but the program
        count = sum(1 for node in _NODES.glob("nvidia[0-9]*") if node.name.removeprefix("nvidia").isdecimal())
        return tuple(map(str, range(count)))
    return tuple(_asked("uuid"))


def has_mps() -> bool:
    """Whether this is a Mac whose GPU computes for torch (Metal Performance Shaders)."""
    return platform.system() == "Darwin" and platform.machine() == "arm64"


def most_devices() -> int:
    """Return the most devices that one job can have here, at least 1: GPUs, or processes that share the cores."""
    return len(cuda_devices()) or (1 if has_mps() else os.cpu_count() or 1)


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


def cuda_bytes() -> int | None:
    """Return the memory of the largest CUDA device, in bytes; None where it cannot be found out.

    All of it, because a job waits until it has a device for itself.
    """
    sizes = [int(size) for size in _asked("memory.total", *cuda_devices()) if size.isdecimal()]
    return max(sizes) * 2**20 if sizes else None  # the check is an extra: no figure, no check


def _asked(what: str, *devices: str) -> list[str]:
    """Return what ``nvidia-smi`` says of each device; nothing if it fails, as it does without a driver.

    Args:
        what: as it names it.
        devices: as it names them; none stands for all.
    """
    command = ["nvidia-smi", f"--query-gpu={what}", "--format=csv,noheader,nounits"]
    command += [f"--id={','.join(devices)}"] if devices else []
    try:
        said = subprocess.run(command, capture_output=True, text=True, timeout=_SMI_TIMEOUT_S, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return []
    return [line.strip() for line in said.splitlines() if line.strip()]
