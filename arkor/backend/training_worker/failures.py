"""One line for the user about why a training failed; the whole story goes to the worker's log."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path

from arkor.backend.processes.exit_reasons import LESS_MEMORY
from arkor.backend.training_worker.others import ProcessEnded
from arkor.errors import ArkorError
from arkor.system.files import NO_SPACE_CODES

_MAX_CHARS = 1000
_MAX_DETAIL_CHARS = 200
# torch.save does not say why a write came out short: only where it noticed.
_NO_SPACE_SIGNS = (
    "No space left on device",
    "Disk quota exceeded",
    "PytorchStreamWriter failed",
    "enforce fail at inline_container.cc",
)
_NO_MEMORY_SIGNS = (
    *("CUDA out of memory", "MPS backend out of memory"),
    *("DefaultCPUAllocator: can't allocate memory", "Cannot allocate memory"),
)


def explain(exc: BaseException, job_dir: Path) -> str:
    """Say in one line what went wrong and what to do.

    Args:
        exc: what ended the training.
        job_dir: the job's folder, whose disk may be full.
    """
    if is_no_space(exc):
        return f"No space left on the disk of {job_dir} ({_free_gib(job_dir)} free): make room, then start again"
    if is_no_memory(exc):
        return f"Not enough memory for this training ({_joined_lines(str(exc))[:_MAX_DETAIL_CHARS]}): {LESS_MEMORY}"
    text = _joined_lines(str(exc))
    if isinstance(exc, (ArkorError, ProcessEnded)) and text:
        return text
    return f"{type(exc).__name__}: {text}" if text else type(exc).__name__


def is_no_space(exc: BaseException) -> bool:
    """Whether an exception means that a disk is full."""
    return _is_about(exc, _NO_SPACE_SIGNS, *NO_SPACE_CODES)


def is_no_memory(exc: BaseException) -> bool:
    """Whether an exception means that memory ran out."""
    return isinstance(exc, MemoryError) or _is_about(exc, _NO_MEMORY_SIGNS, errno.ENOMEM)


def _is_about(exc: BaseException, signs: tuple[str, ...], *numbers: int) -> bool:
    """Whether an exception, or what it came from, carries an error number or its text."""
    seen: BaseException | None = exc
    while seen is not None:
        if getattr(seen, "errno", None) in numbers or any(sign in str(seen) for sign in signs):
            return True
        seen = seen.__cause__ or seen.__context__
    return False


def _joined_lines(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    joined = "; ".join(lines)
    return joined if len(joined) <= _MAX_CHARS else joined[: _MAX_CHARS - 1] + "…"


def _free_gib(folder: Path) -> str:
    try:
        return f"{shutil.disk_usage(folder).free / 2**30:.2f} GiB"
    except OSError:  # the figure is an extra
        return "unknown"
