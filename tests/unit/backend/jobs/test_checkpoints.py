"""Which checkpoints a later attempt may continue from."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from arkor.backend.jobs import checkpoints
from arkor.backend.jobs.job_files import JobFiles
from arkor.backend.storage.local import LocalStorage

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
    assert checkpoints.hand_on(JobFiles.alone(one), JobFiles.alone(other)) == 3
    checkpoints.keep_only(one / "checkpoints", None)
    checkpoint = checkpoints.latest_complete(other / "checkpoints")
    assert checkpoint == other / "checkpoints" / "checkpoint-3"
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
    assert checkpoints.hand_on(JobFiles.alone(tmp_path / "one"), JobFiles.alone(tmp_path / "other")) is None
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


# A storage beside the work folder


@pytest.fixture
def files(tmp_path: Path) -> JobFiles:
    """A job with a storage of its own."""
    return JobFiles.of(LocalStorage(tmp_path / "storage"), tmp_path / "work" / "job_1")


def stored(files: JobFiles, *steps: int) -> None:
    """Make and store checkpoints; the work folder vanishes."""
    for step in steps:
        checkpoints.store(files, make(files.folder / "checkpoints", step))
    shutil.rmtree(files.folder)


def test_the_newest_stored_one_is_fetched(files: JobFiles) -> None:
    """Whole, with its mark."""
    stored(files, 9, 10)
    found = checkpoints.newest(files)
    assert found == files.folder / "checkpoints" / "checkpoint-10"
    assert checkpoints.is_complete(found)
    assert checkpoints.newest(files) == found


def test_an_older_one_in_the_work_folder_gives_way(files: JobFiles) -> None:
    """The attempt before this one was on another machine; a newer one stays."""
    stored(files, 5)
    older = make(files.folder / "checkpoints", 4)
    found = checkpoints.newest(files)
    assert found is not None
    assert found.name == "checkpoint-5"
    newer = make(files.folder / "checkpoints", 6)
    assert checkpoints.newest(files) == newer
    assert older.is_dir()


@pytest.mark.parametrize("damage", ["changed", "missing", "without a mark", "with a damaged mark"])
def test_a_damaged_stored_one_is_passed_over(files: JobFiles, damage: str, caplog: pytest.LogCaptureFixture) -> None:
    """For the one before it."""
    stored(files, 4, 5)
    prefix = "jobs/job_1/checkpoints/checkpoint-5"
    if damage == "changed":
        files.storage.write(f"{prefix}/optimizer.pt", b"optimizer.px")
    elif damage == "with a damaged mark":
        files.storage.write(f"{prefix}/complete.json", b"[]")
    else:
        files.storage.delete([f"{prefix}/{'optimizer.pt' if damage == 'missing' else 'complete.json'}"])
    found = checkpoints.newest(files)
    assert found is not None
    assert (found.name, checkpoints.is_complete(found)) == ("checkpoint-4", True)
    if damage != "without a mark":
        assert "The stored checkpoint of step 5 is passed over" in caplog.text
    assert checkpoints.hand_on(files, JobFiles.of(files.storage, files.folder.with_name("job_2"))) == 4


def test_a_step_is_stored_once_more(files: JobFiles) -> None:
    """By an attempt that did it again: its files are others."""
    stored(files, 5)
    again = make(files.folder / "checkpoints", 5, complete=False)
    (again / "optimizer.pt").write_text("another one")
    checkpoints.mark_complete(again)
    checkpoints.store(files, again)
    shutil.rmtree(files.folder)
    found = checkpoints.newest(files)
    assert found is not None
    assert (found / "optimizer.pt").read_text() == "another one"


def test_older_ones_go_from_the_storage(files: JobFiles) -> None:
    """Also one whose removal a kill broke off; a newer one belongs to another attempt, which has taken over."""
    stored(files, 3, 4, 5, 6)
    files.storage.delete([files.key("checkpoints/checkpoint-3/complete.json")])
    checkpoints.forget_older(files, 5)
    steps = {name.split("/")[1] for name in files.names("checkpoints")}
    assert steps == {"checkpoint-5", "checkpoint-6"}


def test_what_is_left_of_an_older_one_goes_too(files: JobFiles) -> None:
    """An attempt was killed while it removed a checkpoint from the storage, after its mark."""
    stored(files, 4, 5)
    files.remove("checkpoints/checkpoint-4/complete.json")
    checkpoints.forget_older(files, 5)
    assert {name.split("/")[1] for name in files.names("checkpoints")} == {"checkpoint-5"}


def test_what_a_job_needs_is_listed_with_its_mark_last(files: JobFiles) -> None:
    """And what is beside the checkpoint; of a job without one, that alone."""
    for name in ("lengths.json", "threads.json", "worker.log"):
        files.storage.write(files.key(name), b"x")
    assert checkpoints.needed(files) == ["lengths.json", "threads.json"]
    stored(files, 4)
    found = checkpoints.needed(files)
    assert (found[:2], found[-1]) == (["lengths.json", "threads.json"], "checkpoints/checkpoint-4/complete.json")
    assert len(found) == len(FILES) + 3


def test_a_mark_that_a_kill_broke_off_is_no_part_of_the_checkpoint(files: JobFiles) -> None:
    """A later attempt saves the same step in the same folder, and all that is marked is stored."""
    checkpoint = make(files.folder / "checkpoints", 3, complete=False)
    (checkpoint / ".complete.json.x1y2").write_text("{")
    checkpoints.mark_complete(checkpoint)
    checkpoints.store(files, checkpoint)
    stored_names = [name.rpartition("/")[2] for name in files.names("checkpoints")]
    assert sorted(stored_names) == sorted([*FILES, "complete.json"])
