"""The memory that the kernel lets this process and its workers have, and how often it killed one for want of it.

The figures are those of the control group that this process is in: ``memory.events``, ``memory.max`` and
``memory.current`` of version 2 (the kernel's documentation, "Control Group v2"), or ``memory.oom_control``,
``memory.limit_in_bytes`` and ``memory.usage_in_bytes`` of version 1.
"""

from __future__ import annotations

import re
from pathlib import Path

import psutil

_GROUPS = Path("/sys/fs/cgroup")
_OWN = Path("/proc/self/cgroup")
_MACHINE = Path("/proc/vmstat")
_KILLS = re.compile(r"^oom_kill (\d+)$", re.MULTILINE)
_IDLE_FILES = re.compile(r"^(?:total_)?inactive_file (\d+)$", re.MULTILINE)
_MOST = 2**60  # bytes: version 1 writes a number near 2**63 for "no limit"


def oom_kills(groups: Path = _GROUPS, own: Path = _OWN, machine: Path = _MACHINE) -> int:
    """Return how many processes the kernel has killed because memory ran out, since the group or the machine started.

    Args:
        groups: the folder of the control groups.
        own: the kernel's list of this process's groups.
        machine: the kernel's counters of the whole machine, for one without control groups.
    """
    files = [
        *(folder / name for folder in _folders(groups, own) for name in ("memory.events", "memory.oom_control")),
        machine,
    ]
    for file in files:
        found = _KILLS.search(_read(file))
        if found is not None:
            return int(found[1])
    return 0


def limit_bytes(groups: Path = _GROUPS, own: Path = _OWN) -> int | None:
    """Return the most memory that the group may have, in bytes; None if there is no limit, or it is not known."""
    for folder in _folders(groups, own):
        for name in ("memory.max", "memory.limit_in_bytes"):
            text = _read(folder / name).strip()
            if text.isdecimal() and int(text) < _MOST:
                return int(text)
    return None


def free_bytes(groups: Path = _GROUPS, own: Path = _OWN) -> int | None:
    """Return how much more memory the group may take, in bytes; None if there is no limit, or it is not known.

    Files that the kernel keeps in memory and has not used lately do not count: it drops them first.
    """
    limit = limit_bytes(groups, own)
    for folder in _folders(groups, own):
        for name in ("memory.current", "memory.usage_in_bytes"):
            used = _read(folder / name).strip()
            if limit is not None and used.isdecimal():
                files = _IDLE_FILES.search(_read(folder / "memory.stat"))
                return max(0, limit - int(used) + (int(files[1]) if files else 0))
    return None


def held_bytes(pid: int) -> int:
    """Return the memory that a process and its children have for themselves, in bytes; 0 if it is not there."""
    try:
        process = psutil.Process(pid)
        processes = [process, *process.children(recursive=True)]
    except psutil.Error:
        return 0
    return sum(map(_held_bytes, processes))


def _held_bytes(process: psutil.Process) -> int:
    try:
        memory = process.memory_info()
    except psutil.Error:  # it has ended meanwhile
        return 0
    return int(memory.rss - getattr(memory, "shared", 0))


def _folders(groups: Path, own: Path) -> list[Path]:
    """Return where the files of this process's group may be, the likeliest first.

    In a container the group's own folder is often at the root.
    """
    lines = [line.split(":", 2) for line in _read(own).splitlines() if line.count(":") >= 2]
    paths = {kinds: path.strip("/") for _, kinds, path in lines}
    found = [groups / "memory" / paths[kinds] for kinds in paths if "memory" in kinds.split(",")]
    if "" in paths:
        found.append(groups / paths[""])
    return [*found, groups / "memory", groups]


def _read(file: Path) -> str:
    try:
        return file.read_text()
    except OSError:  # absent, or hidden from this process
        return ""
