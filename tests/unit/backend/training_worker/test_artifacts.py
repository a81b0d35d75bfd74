"""Packing adapters: the same bytes for the same adapter, whole or not there."""

from __future__ import annotations

import hashlib
import json
import os
import tarfile
from pathlib import Path

import pytest

from arkor.backend.jobs.job_files import JobFiles
from arkor.backend.models.origin import ModelOrigin
from arkor.backend.training_worker import artifacts
from arkor.backend.training_worker.provenance import Provenance
from arkor.protocol.receipt import Receipt
from arkor.protocol.record import TrainingRecord

BASE = ModelOrigin("owner/base", "c0ffee", {"name": "owner/base"})
MADE_BY = Provenance(BASE, TrainingRecord(model=BASE.facts, device="cpu", threads=2), Receipt(rows=3))


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    folder = tmp_path / "adapter"
    folder.mkdir()
    config = {"r": 8, "base_model_name_or_path": "/home/me/.arkor/models/base", "revision": None}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    (folder / "adapter_model.safetensors").write_bytes(bytes(range(256)) * 10)
    (folder / "README.md").write_text("not for the user")
    return folder


def test_a_tar_holds_the_adapter_and_what_made_it(adapter: Path, tmp_path: Path) -> None:
    """The base has its public name, the weights are as they were, and what is told about the tar is true."""
    artifact = artifacts.pack_adapter(adapter, tmp_path / "out", "checkpoint-4", MADE_BY, 4)
    tar = tmp_path / "out" / "checkpoint-4.tar"
    with tarfile.open(tar) as opened:
        content = {member.name: opened.extractfile(member).read() for member in opened}  # type: ignore[union-attr]
    assert tuple(content) == artifacts.ARCHIVED_FILES
    config = {"r": 8, "base_model_name_or_path": "owner/base", "revision": "c0ffee"}
    assert json.loads(content["adapter_config.json"]) == config
    assert content["adapter_model.safetensors"] == bytes(range(256)) * 10
    record = json.loads(content["arkor.json"])
    assert (record["model"], record["device"], record["receipt"]["rows"]) == ({"name": "owner/base"}, "cpu", 3)
    assert "threads" not in record  # a chat changes them
    assert artifact.to_wire() == {
        "name": "checkpoint-4",
        "kind": "adapter",
        "step": 4,
        "sizeBytes": tar.stat().st_size,
        "sha256": hashlib.sha256(tar.read_bytes()).hexdigest(),
    }


def test_the_same_adapter_makes_the_same_bytes(adapter: Path, tmp_path: Path) -> None:
    """Whenever the files were written, and whoever may read them."""
    first = artifacts.pack_adapter(adapter, tmp_path / "out", "a", MADE_BY)
    for file in adapter.iterdir():
        os.utime(file, (1, 1))
        file.chmod(0o600)
    second = artifacts.pack_adapter(adapter, tmp_path / "out", "b", MADE_BY)
    assert first.sha256 == second.sha256


def test_nothing_is_left_where_packing_fails(adapter: Path, tmp_path: Path) -> None:
    """A missing file is an error, and no tar, whole or part, remains."""
    (adapter / "adapter_model.safetensors").unlink()
    with pytest.raises(FileNotFoundError):
        artifacts.pack_adapter(adapter, tmp_path / "out", "adapter", MADE_BY)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("count", "best", "kept"),
    [
        (3, None, [8, 10, 12]),
        (3, 8, [8, 10, 12]),
        (3, 4, [4, 10, 12]),
        (1, None, [12]),
        (1, 4, [4, 12]),
        (1, 5, [12]),  # its checkpoint was not asked for
        (9, None, [2, 4, 6, 8, 10, 12]),
    ],
)
def test_the_newest_checkpoints_are_kept(tmp_path: Path, count: int, best: int | None, kept: list[int]) -> None:
    """And that of the best evaluation in place of the oldest of them; what is no checkpoint stays."""
    folder = tmp_path / "artifacts"
    folder.mkdir()
    for name in ("adapter", *(f"checkpoint-{step}" for step in range(2, 13, 2))):
        (folder / f"{name}.tar").touch()
    artifacts.keep_newest(JobFiles.alone(tmp_path), count, best)
    assert {file.stem for file in folder.iterdir()} == {"adapter", *(f"checkpoint-{step}" for step in kept)}


def test_packed_checkpoints_are_found_by_step(adapter: Path, tmp_path: Path) -> None:
    """The final adapter and strangers are not among them; what a killed attempt left goes away."""
    out = tmp_path / "artifacts"
    for name in ("checkpoint-10", "checkpoint-9", "adapter"):
        artifacts.pack_adapter(adapter, out, name, MADE_BY)
    (out / ".adapter.x.part").write_bytes(b"half")
    artifacts.remove_unfinished(out)
    assert [(item.name, item.step) for item in artifacts.packed_checkpoints(JobFiles.alone(tmp_path))] == [
        ("checkpoint-9", 9),
        ("checkpoint-10", 10),
    ]
    assert not (out / ".adapter.x.part").exists()
