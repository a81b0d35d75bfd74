"""What the kernel says of the memory of this process's control group."""

from __future__ import annotations

from pathlib import Path

import pytest

from arkor.backend.processes.memory_limit import free_bytes, limit_bytes, oom_kills


def _write(folder: Path, **files: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)


V2 = {"memory__events": "low 0\noom 3\noom_kill 2\noom_group_kill 0\n", "memory__max": "2147483648\n"}
V2 |= {"memory__current": "1073741824\n", "memory__stat": "anon 7\ninactive_file 1048576\nactive_file 9\n"}
V1 = {
    "memory__oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n",
    "memory__limit_in_bytes": "2147483648\n",
    "memory__usage_in_bytes": "1073741824\n",
    "memory__stat": "cache 7\ntotal_inactive_file 1048576\n",
}


@pytest.mark.parametrize(
    ("own", "folder", "files"),
    [
        ("0::/user.slice/session\n", "user.slice/session", V2),
        ("0::/\n", "", V2),
        ("0::/elsewhere/in/the/host\n", "", V2),
        ("5:devices:/\n4:memory:/docker/abc\n0::/\n", "memory/docker/abc", V1),
        ("4:memory,cpu:/docker/abc\n", "memory", V1),
    ],
)
def test_both_versions_are_read(tmp_path: Path, own: str, folder: str, files: dict[str, str]) -> None:
    """Of the own group; in a container its files are often at the root."""
    _write(tmp_path / "groups" / folder, **files)
    (tmp_path / "own").write_text(own)
    groups, where = tmp_path / "groups", tmp_path / "own"
    assert oom_kills(groups, where, tmp_path / "none") == 2
    assert limit_bytes(groups, where) == 2**31
    assert free_bytes(groups, where) == 2**31 - 2**30 + 2**20  # files that nobody reads are dropped first


@pytest.mark.parametrize("limit", ["max\n", "9223372036854771712\n"])
def test_a_group_without_a_limit_has_none(tmp_path: Path, limit: str) -> None:
    """Version 1 writes a huge number for that."""
    _write(tmp_path / "groups", memory__max=limit, memory__current="4096\n")
    (tmp_path / "own").write_text("0::/\n")
    assert limit_bytes(tmp_path / "groups", tmp_path / "own") is None
    assert free_bytes(tmp_path / "groups", tmp_path / "own") is None


def test_without_groups_the_machine_counts(tmp_path: Path) -> None:
    """And where nothing is known, nothing was killed."""
    (tmp_path / "vmstat").write_text("nr_free_pages 7\noom_kill 5\ndrop_pagecache 0\n")
    none = tmp_path / "none"
    assert oom_kills(none, none, tmp_path / "vmstat") == 5
    assert oom_kills(none, none, none) == 0
    assert limit_bytes(none, none) is None
    assert free_bytes(none, none) is None
