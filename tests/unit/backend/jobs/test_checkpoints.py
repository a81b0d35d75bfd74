"""Which checkpoints a later attempt may continue from."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from arkor.backend.jobs import checkpoints

FILES = (
    "adapter_config.json",
    "adapter_model.safetensors",
    "optimizer.pt",
    "rng_state.pth",
    "scheduler.pt",
    "trainer_state.json",
)


def make(folder: Path, step: int, *, complete: bool = True) -> Path:
    checkpoint = folder / f"checkpoint-{step}"
    checkpoint.mkdir(parents=True)
    for name in FILES:
        (checkpoint / name).write_text(name)
    if complete:
        checkpoints.mark_complete(checkpoint)
    return checkpoint


def test_the_latest_complete_one_counts(tmp_path: Path) -> None:
    """By step, not by name; one that was never marked does not count, however whole it looks."""
    make(tmp_path, 9)
    latest = make(tmp_path, 10)
    make(tmp_path, 11, complete=False)
    assert checkpoints.latest_complete(tmp_path) == latest
    assert checkpoints.step_of(latest) == 10


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", ["missing", "cut", "flipped"])
def test_one_with_a_damaged_file_does_not_count(tmp_path: Path, name: str, damage: str) -> None:
    """The trainer would resume silently wrong without its optimizer, say."""
    checkpoint = make(tmp_path, 3)
    if damage == "missing":
        (checkpoint / name).unlink()
    else:
        (checkpoint / name).write_text("x" if damage == "cut" else name[:-1] + "x")
    assert checkpoints.latest_complete(tmp_path) is None


def test_one_of_an_older_arkor_counts(tmp_path: Path) -> None:
    """Its mark has the sizes alone."""
    checkpoint = make(tmp_path, 3)
    (checkpoint / "complete.json").write_text(json.dumps({name: len(name) for name in FILES}))
    assert checkpoints.latest_complete(tmp_path) == checkpoint
    (checkpoint / FILES[0]).write_text("x")
    assert checkpoints.latest_complete(tmp_path) is None


@pytest.mark.parametrize("mark", ["", "[]", "{", '{"optimizer.pt": null}', "1"])
def test_one_with_a_damaged_mark_does_not_count(tmp_path: Path, mark: str) -> None:
    """Whatever is in it."""
    (make(tmp_path, 3) / "complete.json").write_text(mark)
    assert checkpoints.latest_complete(tmp_path) is None


def test_one_that_is_handed_on_belongs_to_both(tmp_path: Path) -> None:
    """Either may remove it."""
    one, other = (tmp_path / name for name in ("one", "other"))
    make(one / "checkpoints", 3)
    (one / "checkpoints" / "best").mkdir()
    for name in ("lengths.json", "threads.json", "worker.log", "checkpoints/best/step-2.tar"):
        (one / name).write_text(name)
    checkpoint = checkpoints.hand_on(one, other)
    checkpoints.keep_only(one / "checkpoints", None)
    assert checkpoint == checkpoints.latest_complete(other / "checkpoints") == other / "checkpoints" / "checkpoint-3"
    beside = sorted(str(file.relative_to(other)) for file in other.rglob("*") if file.parent != checkpoint)
    assert beside == [
        "checkpoints",
        "checkpoints/best",
        "checkpoints/best/step-2.tar",
        "checkpoints/checkpoint-3",
        "lengths.json",
        "threads.json",
    ]


def test_nothing_is_handed_on_without_a_whole_one(tmp_path: Path) -> None:
    """Not even a folder."""
    make(tmp_path / "one" / "checkpoints", 3, complete=False)
    assert checkpoints.hand_on(tmp_path / "one", tmp_path / "other") is None
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("name", FILES)
def test_one_without_a_file_is_never_marked(tmp_path: Path, name: str) -> None:
    """So a save that went wrong cannot pass for a good one."""
    checkpoint = make(tmp_path, 3, complete=False)
    (checkpoint / name).unlink()
    with pytest.raises(FileNotFoundError):
        checkpoints.mark_complete(checkpoint)
    assert not checkpoints.is_complete(checkpoint)


def test_the_others_are_removed(tmp_path: Path) -> None:
    """Those that are not whole too; what is no checkpoint stays."""
    make(tmp_path, 1)
    kept = make(tmp_path, 2)
    make(tmp_path, 3, complete=False)
    (tmp_path / "README.md").write_text("")
    checkpoints.keep_only(tmp_path, kept)
    assert sorted(item.name for item in tmp_path.iterdir()) == ["README.md", "checkpoint-2"]
    checkpoints.keep_only(tmp_path, None)
    assert checkpoints.latest_complete(tmp_path) is None
    assert checkpoints.latest_complete(tmp_path / "nowhere") is None
