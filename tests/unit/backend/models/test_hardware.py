"""What a machine has."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from arkor.backend.models import hardware


@pytest.mark.parametrize(
    ("machine", "text", "found"),
    [
        ("x86_64", "processor\t: 0\nflags\t\t: fpu avx2\n\nprocessor\t: 1\nflags\t\t: fpu\n", {"fpu", "avx2"}),
        ("AMD64", None, None),
        ("x86_64", "processor\t: 0\n", None),
        ("aarch64", "processor\t: 0\nflags\t\t: fpu\n", None),
    ],
)
def test_the_instructions_of_an_x86_processor(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, machine: str, text: str | None, found: set[str] | None
) -> None:
    """As Linux names them; None where nothing names them."""
    monkeypatch.setattr("platform.machine", lambda: machine)
    monkeypatch.setattr(hardware, "_CPU_INFO", tmp_path / "cpuinfo")
    if text is not None:
        (tmp_path / "cpuinfo").write_text(text)
    assert hardware.x86_instructions() == found


GPUS = ("GPU-1a", "GPU-2b")
SMI = """#!/bin/sh
case "$*" in
*--query-gpu=uuid*) printf 'GPU-1a\\nGPU-2b\\n' ;;
*--query-gpu=memory.total*GPU-2b*) printf '81559\\n24564\\n' ;;
*--query-gpu=memory.total*) printf '[N/A]\\n' ;;
esac
"""


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """A machine with two GPUs, as a program in this folder says; a test may remove it."""
    hardware.cuda_devices.cache_clear()
    (tmp_path / "nvidia-smi").write_text(SMI)
    (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr(hardware, "_NODES", tmp_path)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    yield tmp_path
    hardware.cuda_devices.cache_clear()


@pytest.mark.parametrize(
    ("chosen", "found"),
    [
        (None, GPUS),
        ("", ()),
        ("1", ("1",)),
        (" 1 , 0", ("1", "0")),
        ("0,7,1", ("0",)),  # CUDA ignores what comes after a device that there is not
        ("0,-1,1", ("0",)),
        ("1,1", ("1",)),
        ("GPU-2b", ("GPU-2b",)),
        ("MIG-5c", ("MIG-5c",)),
        ("none", ()),
    ],
)
def test_the_gpus_that_a_backend_may_use(
    monkeypatch: pytest.MonkeyPatch, machine: Path, chosen: str | None, found: tuple[str, ...]
) -> None:
    """Those of ``CUDA_VISIBLE_DEVICES``, in its order; without that variable all, by their UUIDs."""
    if chosen is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", chosen)
    assert hardware.cuda_devices() == found
    assert hardware.has_cuda() is bool(found)
    assert hardware.most_devices() == (len(found) or os.cpu_count())


def test_gpus_are_found_without_the_program(machine: Path) -> None:
    """It is no part of some containers: the kernel's files show how many there are."""
    (machine / "nvidia-smi").unlink()
    assert hardware.cuda_devices() == ()
    hardware.cuda_devices.cache_clear()
    for name in ("nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm"):
        (machine / name).touch()
    assert hardware.cuda_devices() == ("0", "1")


def test_a_driver_that_fails_has_no_gpu(machine: Path) -> None:
    """The program is there, but its kernel module is not."""
    (machine / "nvidia-smi").write_text("#!/bin/sh\necho 'NVIDIA-SMI has failed'\nexit 9\n")
    assert hardware.cuda_devices() == ()


def test_the_memory_of_the_largest_gpu(monkeypatch: pytest.MonkeyPatch, machine: Path) -> None:
    """Of those that the backend may use; None where nobody says it."""
    assert hardware.cuda_bytes() == 81559 * 2**20
    hardware.cuda_devices.cache_clear()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    assert hardware.cuda_bytes() is None


def test_a_mac_with_a_gpu_has_one_device(monkeypatch: pytest.MonkeyPatch, machine: Path) -> None:
    """Apple's processors have one; Intel's train on their cores."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setattr("platform.system", lambda: "Darwin")
    monkeypatch.setattr("platform.machine", lambda: "arm64")
    assert (hardware.has_mps(), hardware.most_devices()) == (True, 1)
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    assert (hardware.has_mps(), hardware.most_devices()) == (False, os.cpu_count())
