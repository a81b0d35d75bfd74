"""An archive that nobody vouches for: files and folders come out of it, and nothing else happens."""

from __future__ import annotations

import contextlib
import io
import os
import random
import tarfile
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from arkor.client.unpack import unpack
from arkor.errors import Aborted
from arkor.http.abort import AbortScope
from tests.support.shelf import tar

FILES = {"adapter_config.json": b"{}", "inner/deep/model.bin": bytes(range(256)) * 20, "empty": b""}


def member(
    name: str, kind: bytes = tarfile.REGTYPE, content: bytes = b"", **fields: Any
) -> tuple[tarfile.TarInfo, bytes]:
    """Return a member of an archive, and what is in it."""
    info = tarfile.TarInfo(name)
    info.type, info.size = kind, len(content)
    for field, value in fields.items():
        setattr(info, field, value)
    return info, content


def archive(*members: tuple[tarfile.TarInfo, bytes], form: int = tarfile.PAX_FORMAT) -> bytes:
    """Return an archive of some members."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as made:
        for info, content in members:
            made.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def unpacked(content: bytes, folder: Path) -> dict[str, bytes]:
    """Unpack an archive, and return every file by its path."""
    unpack(io.BytesIO(content), folder)
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_files_and_folders_come_out_as_they_went_in(tmp_path: Path, form: int) -> None:
    """In every form that tar has, long and foreign names included."""
    files = {**FILES, "größe/日本": b"names", "/".join(["long" * 20] * 3): b"long"}
    if form == tarfile.USTAR_FORMAT:
        files.popitem()
    assert (
        unpacked(archive(*(member(name, content=data) for name, data in files.items()), form=form), tmp_path / "to")
        == files
    )


def test_a_folder_may_be_a_member_and_may_be_empty(tmp_path: Path) -> None:
    """``tar cf x.tar .`` names the top as well."""
    content = archive(
        member(".", tarfile.DIRTYPE),
        member("./a", content=b"a"),
        member("inner", tarfile.DIRTYPE),
        member("inner", tarfile.DIRTYPE),
        member("inner/b", content=b"b"),
        member("none", tarfile.DIRTYPE),
    )
    assert unpacked(content, tmp_path / "to") == {"a": b"a", "inner/b": b"b"}
    assert (tmp_path / "to" / "none").is_dir()


def test_owner_and_permissions_are_those_of_who_unpacks(tmp_path: Path) -> None:
    """A program in an archive does not run by itself, and least of all as somebody else."""
    unpacked(archive(member("run", content=b"#!", mode=0o6777, uid=12345, gid=12345)), tmp_path / "to")
    status = (tmp_path / "to" / "run").stat()
    assert (status.st_mode & 0o7111, status.st_uid) == (0, os.getuid())


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        (member("../outside", content=b"evil"), "would be written outside of its folder"),
        (member("inner/../../outside", content=b"evil"), "would be written outside of its folder"),
        (member("/outside", content=b"evil"), "would be written outside of its folder"),
        (member("//outside", content=b"evil"), "would be written outside of its folder"),
        (member("..\\outside", content=b"evil"), "would be written outside of its folder"),
        (member("C:\\outside", content=b"evil"), "would be written outside of its folder"),
        (member("C:outside", content=b"evil"), "would be written outside of its folder"),
        (member("..", tarfile.DIRTYPE), "would be written outside of its folder"),
        (member("link", tarfile.SYMTYPE, linkname="/etc/passwd"), "neither a file nor a folder"),
        (member("link", tarfile.SYMTYPE, linkname="good"), "neither a file nor a folder"),
        (member("link", tarfile.LNKTYPE, linkname="good"), "neither a file nor a folder"),
        (member("pipe", tarfile.FIFOTYPE), "neither a file nor a folder"),
        (member("null", tarfile.CHRTYPE, devmajor=1, devminor=3), "neither a file nor a folder"),
        (member("disk", tarfile.BLKTYPE), "neither a file nor a folder"),
        (member("odd", b"Z"), "neither a file nor a folder"),
        (member("good", content=b"again"), "two of its members have the same place"),
        (member("good/inner", content=b"below a file"), "two of its members have the same place"),
        (member(".", content=b"the folder itself"), "two of its members have the same place"),
        (
            member("huge", pax_headers={"GNU.sparse.major": "1", "GNU.sparse.minor": "0"}, content=b"1\n0\n1\n"),
            "sparse",
        ),
    ],
    ids=lambda value: repr(value[0].name) if isinstance(value, tuple) else "",
)
def test_anything_else_is_refused_by_its_name(tmp_path: Path, bad: tuple[tarfile.TarInfo, bytes], says: str) -> None:
    """And nothing is written outside of the folder."""
    content = archive(member("good", content=b"good"), bad)
    with pytest.raises(tarfile.ExtractError, match=says):
        unpacked(content, tmp_path / "to")
    assert {item.name for item in tmp_path.rglob("*")} <= {"to", "good"}


def test_a_sparse_file_is_refused_however_small_it_is(tmp_path: Path) -> None:
    """In the old form of GNU tar a single block says how large it becomes."""
    info = tarfile.TarInfo("huge")
    info.type = tarfile.GNUTYPE_SPARSE
    block = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    block[386:410] = b"%011o\0%011o\0" % (0, 0)
    block[483:495] = b"%011o\0" % (8**11 - 1)
    block[148:156] = b"%06o\0 " % (sum(block[:148]) + sum(block[156:]) + 8 * 32)
    with pytest.raises(tarfile.ExtractError, match="'huge' is a sparse file"):
        unpacked(bytes(block) + bytes(1024), tmp_path / "to")
    assert list((tmp_path / "to").iterdir()) == []


GOOD = tar(FILES)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<html>Log in</html>" * 100,
        GOOD[:1300],
        GOOD[:1536],
        GOOD[: 3 * 512],
        GOOD[: len(GOOD) - 10240 + 512],
        GOOD[:1024] + b"\xff" * 512 + GOOD[1536:],
    ],
    ids=range(7),
)
def test_an_archive_that_is_not_whole_is_told_as_such(tmp_path: Path, content: bytes) -> None:
    """A part of it would pass for all of it: ``tarfile`` takes a damaged header for the end."""
    with pytest.raises(tarfile.ReadError, match="it is not a whole tar file"):
        unpacked(content, tmp_path / "to")


def test_a_compressed_archive_is_not_unpacked(tmp_path: Path) -> None:
    """A few bytes could become as many as the disk has."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as made:
        info, content = member("zeros", content=bytes(100_000))
        made.addfile(info, io.BytesIO(content))
    with pytest.raises(tarfile.ReadError, match="it is not a whole tar file"):
        unpacked(buffer.getvalue(), tmp_path / "to")


def test_a_size_that_leads_back_ends_too(tmp_path: Path) -> None:
    """Some versions of ``tarfile`` go round for ever (CVE-2025-8194)."""
    block = bytearray(member("a")[0].tobuf(tarfile.GNU_FORMAT))
    block[124:136] = (b"\xff" * 12)[:10] + (65536 - 1024).to_bytes(2, "big")  # -1024 in base 256
    block[148:156] = b"%06o\0 " % (sum(block[:148]) + sum(block[156:]) + 8 * 32)
    with pytest.raises(tarfile.TarError):
        unpacked(bytes(block) + bytes(block) + bytes(1024), tmp_path / "to")


@settings(max_examples=150, deadline=2000)
@given(
    st.lists(st.tuples(st.integers(0, 4 * 512), st.binary(min_size=1, max_size=12)), min_size=1, max_size=4),
    st.integers(0, len(GOOD)),
)
def test_damage_anywhere_is_an_error_or_does_no_harm(
    tmp_path_factory: pytest.TempPathFactory, damage: list[tuple[int, bytes]], end: int
) -> None:
    """Bytes that fell over: never another kind of exception, never a file outside of the folder."""
    content = bytearray(GOOD)
    for at, what in damage:
        content[at : at + len(what)] = what
    world = tmp_path_factory.mktemp("world")
    with contextlib.suppress(tarfile.TarError, OSError):
        unpack(io.BytesIO(bytes(content[: end or None])), world / "to")
    assert [item.name for item in world.iterdir()] == ["to"]
    assert not any(item.is_symlink() for item in world.rglob("*"))


def test_an_abort_ends_the_unpacking(tmp_path: Path) -> None:
    """Of a large archive."""
    event = threading.Event()
    with AbortScope(event) as scope, scope.active():
        event.set()
        with pytest.raises(Aborted):
            unpack(io.BytesIO(tar({"large": random.Random(1).randbytes(2_000_000)})), tmp_path / "to")
