"""The package with llama.cpp inside of it that answers chats: which version, and whether this machine can use it."""

from __future__ import annotations

import importlib.metadata

from arkor.backend.models.hardware import x86_instructions

PACKAGE, VERSION = "xllamacpp", "2026.10.11549"
INSTALL = "pip install 'arkor[llama]'"
_NEEDS = frozenset({"avx2", "fma", "f16c", "bmi2"})  # its wheel for x86 is built for processors of 2013 and later


def problem() -> str | None:
    """Say why this machine cannot use it; None if it can."""
    try:
        found = importlib.metadata.version(PACKAGE)
    except importlib.metadata.PackageNotFoundError:
        return f"{PACKAGE} is not installed: {INSTALL}"
    if found != VERSION:  # the structures of its functions change between versions
        return f"{PACKAGE} {found} is installed, and arkor knows {VERSION}: {INSTALL}"
    has = x86_instructions()
    missing = frozenset() if has is None else _NEEDS - has
    return f"this processor has no {', '.join(sorted(missing))}" if missing else None
