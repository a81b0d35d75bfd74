"""The package with llama.cpp inside of it that answers chats: which version, and whether this machine can use it."""

from __future__ import annotations

import importlib.metadata
import platform
from pathlib import Path

PACKAGE, VERSION = "xllamacpp", "2026.10.11549"
INSTALL = "pip install 'arkor[llama]'"
_NEEDS = frozenset({"avx2", "fma", "f16c", "bmi2"})  # its wheel for x86 is built for processors of 2013 and later
_CPU_INFO = Path("/proc/cpuinfo")


def problem() -> str | None:
    """Say why this machine cannot use it; None if it can."""
    try:
        found = importlib.metadata.version(PACKAGE)
    except importlib.metadata.PackageNotFoundError:
        return f"{PACKAGE} is not installed: {INSTALL}"
    if found != VERSION:  # the structures of its functions change between versions
        return f"{PACKAGE} {found} is installed, and arkor knows {VERSION}: {INSTALL}"
    missing = _missing_instructions()
    return f"this processor has no {', '.join(sorted(missing))}" if missing else None


def _missing_instructions() -> frozenset[str]:
    if platform.machine() not in {"x86_64", "AMD64"}:
        return frozenset()
    try:
        lines = _CPU_INFO.read_text().splitlines()
    except OSError:  # not Linux
        return frozenset()
    flags = next((line.partition(":")[2].split() for line in lines if line.startswith("flags")), None)
    return frozenset() if flags is None else _NEEDS - set(flags)
