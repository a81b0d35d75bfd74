"""Folders that are kept while there is room."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from arkor.system.folder_cache import FolderCache


def made(folder: Path, content: str = "x" * 100) -> Path:
    """Return a complete folder with a file."""
    folder.mkdir(parents=True)
    (folder / "file").write_text(content)
    return folder


@pytest.fixture
def cache(tmp_path: Path) -> FolderCache:
    """A cache with room for two of these folders."""
    return FolderCache(tmp_path / "cache", 250)


def keys(tmp_path: Path) -> list[str]:
    """Return what is in the cache, also what no one finds."""
    return sorted(path.name for path in (tmp_path / "cache").glob("*"))


def used_at(tmp_path: Path, key: str, second: int) -> None:
    """Say when an entry was used."""
    os.utime(tmp_path / "cache" / key, (second, second))


def test_what_was_not_used_for_longest_goes_first(cache: FolderCache, tmp_path: Path) -> None:
    """A use counts, not only the making."""
    for second, key in enumerate("abc"):
        cache.add(key, made(tmp_path / "work" / key), "job_1")
        used_at(tmp_path, key, second)
    assert cache.find("a", "job_1") == tmp_path / "cache" / "a"
    cache.sweep()
    assert keys(tmp_path) == ["a", "c"]
    assert cache.find("b", "job_1") is None
    FolderCache(tmp_path / "cache", 0).sweep()
    assert keys(tmp_path) == []


def test_two_that_make_the_same_entry_get_one(cache: FolderCache, tmp_path: Path) -> None:
    """The first; what the second one made goes."""
    first, second = (cache.add("a", made(tmp_path / name, name), name) for name in ("one", "two"))
    assert first == second
    assert (first / "file").read_text() == "one"
    assert not (tmp_path / "two").exists()


def test_an_open_file_outlives_its_entry(cache: FolderCache, tmp_path: Path) -> None:
    """A job goes on while another one needs the room."""
    with (cache.add("a", made(tmp_path / "a"), "job_1") / "file").open() as file:
        cache.remove("a")
        assert cache.find("a", "job_1") is None
        assert file.read() == "x" * 100
    cache.remove("a")
    assert keys(tmp_path) == []


def test_an_entry_goes_with_the_last_of_its_users(cache: FolderCache, tmp_path: Path) -> None:
    """Nobody else has one."""
    cache.add("a", made(tmp_path / "a"), "job_1")
    cache.add("b", made(tmp_path / "b"), "job_1")
    assert cache.find("a", "job_2")
    cache.forget("job_1")
    assert keys(tmp_path) == ["a"]
    cache.forget_others({"job_2"})
    assert keys(tmp_path) == ["a"]
    cache.forget_others({"job_3"})
    assert keys(tmp_path) == []


def test_a_cache_that_was_never_used_is_empty(cache: FolderCache) -> None:
    """Nothing is made by looking."""
    assert cache.find("a", "job_1") is None
    cache.sweep()
    cache.forget("job_1")
    cache.remove("a")


def test_a_removal_that_was_cut_off_is_finished(cache: FolderCache, tmp_path: Path) -> None:
    """By the next sweep; nobody finds half an entry meanwhile."""
    made(tmp_path / "cache" / ".gone-1" / "a")
    assert cache.find(".gone-1", "job_1") is None
    cache.sweep()
    assert keys(tmp_path) == []
