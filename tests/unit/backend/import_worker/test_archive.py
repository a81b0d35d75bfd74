"""The archive of an adapter: two files by their names, and nothing else is ever written."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from arkor.backend.import_worker.archive import MAX_CONFIG_BYTES, unpack
from arkor.backend.imports.task import ARCHIVE, CONFIG, WEIGHTS
from arkor.errors import ModelError


def member(name: str, content: bytes = b"x", kind: bytes = tarfile.REGTYPE) -> tuple[tarfile.TarInfo, bytes]:
    """Return a member of a tar."""
    made = tarfile.TarInfo(name)
    made.type, made.size, made.linkname = kind, len(content) if kind == tarfile.REGTYPE else 0, "/etc/passwd"
    return made, content


def archive(folder: Path, members: Sequence[tuple[tarfile.TarInfo, bytes]]) -> None:
    """Write an archive as it was sent."""
    with tarfile.open(folder / ARCHIVE, "w") as tar:
        for made, content in members:
            tar.addfile(made, io.BytesIO(content))


GOOD = [member(CONFIG, b"{}"), member(WEIGHTS, b"weights")]


def test_the_two_files_are_unpacked(tmp_path: Path) -> None:
    """In either order; the archive is removed."""
    archive(tmp_path, GOOD[::-1])
    unpack(tmp_path)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == {CONFIG: b"{}", WEIGHTS: b"weights"}


@pytest.mark.parametrize(
    ("members", "says"),
    [
        ([*GOOD, member("../escaped")], r"The archive has '\.\./escaped', and may have the files adapter_config\.json"),
        ([*GOOD, member("/escaped")], "The archive has '/escaped'"),
        ([*GOOD, member("adapter_model.bin")], r"The archive has 'adapter_model\.bin'"),
        ([*GOOD, member("modeling.py")], r"The archive has 'modeling\.py'"),
        ([GOOD[0], member(WEIGHTS, kind=tarfile.SYMTYPE)], r"The archive has 'adapter_model\.safetensors'"),
        ([GOOD[0], member(WEIGHTS, kind=tarfile.LNKTYPE)], r"The archive has 'adapter_model\.safetensors'"),
        ([GOOD[0], member(WEIGHTS, kind=tarfile.FIFOTYPE)], r"The archive has 'adapter_model\.safetensors'"),
        ([*GOOD, GOOD[1]], r"The archive has adapter_model\.safetensors twice"),
        ([GOOD[0]], r"The archive lacks adapter_model\.safetensors"),
        ([GOOD[1]], r"The archive lacks adapter_config\.json"),
        ([member(CONFIG, bytes(MAX_CONFIG_BYTES + 1))], r"adapter_config\.json has 1,048,577 bytes"),
    ],
)
def test_anything_else_is_refused(tmp_path: Path, members: Sequence[tuple[tarfile.TarInfo, bytes]], says: str) -> None:
    """And nothing is written outside of the folder."""
    folder = tmp_path / "import"
    folder.mkdir()
    archive(folder, members)
    with pytest.raises(ModelError, match=says):
        unpack(folder)
    assert list(tmp_path.iterdir()) == [folder]


@pytest.mark.parametrize("content", [b"", b"no tar", b"\x1f\x8b" + bytes(600)])
def test_what_is_no_tar_is_refused(tmp_path: Path, content: bytes) -> None:
    """A compressed one neither."""
    (tmp_path / ARCHIVE).write_bytes(content)
    with pytest.raises(ModelError, match=r"The archive is no whole tar|The archive lacks"):
        unpack(tmp_path)


def test_one_that_is_cut_is_refused(tmp_path: Path) -> None:
    """In the middle of the weights."""
    archive(tmp_path, [GOOD[0], member(WEIGHTS, bytes(10_000))])
    whole = (tmp_path / ARCHIVE).read_bytes()
    (tmp_path / ARCHIVE).write_bytes(whole[:4000])
    with pytest.raises(ModelError, match="The archive is no whole tar"):
        unpack(tmp_path)
