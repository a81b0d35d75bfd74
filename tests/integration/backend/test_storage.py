"""What holds for every storage: a folder, and S3 as moto's server speaks it."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import random
import traceback
from pathlib import Path
from typing import Any

import pytest

from arkor.backend.storage.choose import open_storage
from arkor.backend.storage.interface import Content, Storage
from arkor.backend.storage.local import LocalStorage
from arkor.errors import ObjectChanged, ObjectMissing, StorageError
from tests.support import s3
from tests.support.auth0 import free_ports

MIB = 1024**2
PATIENCE_S = 3.0
SHORT_S = 0.5  # of those that are to give up
KEY = "jobs/job_1/artifacts/adapter.tar"


@pytest.fixture
def s3_url(endpoint: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> str:
    """A prefix of the test's own, for the credentials that the environment has."""
    for name, value in {**s3.VARIABLES, "AWS_ENDPOINT_URL": endpoint}.items():
        monkeypatch.setenv(name, value)
    return f"s3://{s3.BUCKET}/{hashlib.sha256(request.node.name.encode()).hexdigest()[:12]}/of-tests"


@pytest.fixture(params=["folder", "s3"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    """A storage of each kind."""
    where = str(tmp_path / "storage") if request.param == "folder" else request.getfixturevalue("s3_url")
    return open_storage(where, PATIENCE_S)


@pytest.fixture
def s3_storage(s3_url: str) -> Storage:
    """A storage in S3."""
    return open_storage(s3_url, PATIENCE_S)


def written(folder: Path, data: bytes = b"some bytes", name: str = "file") -> Path:
    """Return a file with these bytes."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def large(size: int = 40 * MIB) -> bytes:
    """Return bytes that take several parts."""
    return random.Random(1).randbytes(size)


def content_of(data: bytes) -> Content:
    """Return the content that these bytes are."""
    return Content(len(data), hashlib.sha256(data).hexdigest())


@pytest.mark.parametrize("data", [b"", b"some bytes", large()], ids=["empty", "small", "large"])
def test_what_is_stored_comes_back(storage: Storage, tmp_path: Path, data: bytes) -> None:
    """Byte by byte, whole and from any place on; the file that was stored stays."""
    file = written(tmp_path, data)
    storage.put(file, KEY, content_of(data))
    assert (storage.size(KEY), storage.content(KEY)) == (len(data), content_of(data))
    storage.fetch(KEY, tmp_path / "new" / "copy", content_of(data))
    assert (tmp_path / "new" / "copy").read_bytes() == data == file.read_bytes()
    assert storage.bring(KEY, tmp_path / "brought").read_bytes() == data
    with storage.open(KEY) as opened:
        assert opened.read() == data
        for place in (0, len(data) // 2, len(data), len(data) + 5):
            assert opened.seek(place) == place
            assert opened.read(100) == data[place : place + 100]
        assert opened.seek(0, io.SEEK_END) == len(data)


def test_a_file_that_is_moved_is_gone(storage: Storage, tmp_path: Path) -> None:
    """The storage alone has it."""
    file = written(tmp_path)
    storage.put(file, KEY, move=True)
    assert not file.exists()
    assert storage.read(KEY) == b"some bytes"


def test_an_object_is_replaced(storage: Storage, tmp_path: Path) -> None:
    """A reader that has opened the former one does not get a mixture."""
    storage.put(written(tmp_path, b"a" * MIB), KEY)
    with storage.open(KEY) as former:
        assert former.read(10) == b"a" * 10
        storage.put(written(tmp_path, b"b" * 2 * MIB, "other"), KEY)
        with contextlib.suppress(ObjectChanged):
            assert set(former.read()) == {ord("a")}
    assert storage.content(KEY) == content_of(b"b" * 2 * MIB)


def test_keys_are_listed(storage: Storage) -> None:
    """Those of a prefix, sorted; more than a page of them."""
    assert storage.keys("jobs/job_1/") == []
    names = [f"jobs/job_1/checkpoints/checkpoint-{number}/trainer_state.json" for number in range(12)]
    for key in (*names, "jobs/job_10/artifacts/adapter.tar", "datasets/a.jsonl"):
        storage.write(key, b"x")
    assert storage.keys("jobs/job_1/") == sorted(names)
    assert storage.keys("jobs/job_1/checkpoints/checkpoint-1/") == [names[1]]
    assert storage.keys("datasets/") == ["datasets/a.jsonl"]


def test_objects_are_removed(storage: Storage) -> None:
    """One that is not there is passed over."""
    for key in ("jobs/job_1/a", "jobs/job_1/b/c", "jobs/job_2/a"):
        storage.write(key, b"x")
    storage.delete(["jobs/job_1/a", "jobs/job_1/nothing"])
    assert storage.keys("jobs/") == ["jobs/job_1/b/c", "jobs/job_2/a"]
    for _ in range(2):
        storage.delete_all("jobs/job_1/")
        assert storage.keys("jobs/") == ["jobs/job_2/a"]
    assert storage.size("jobs/job_1/b/c") is None


def test_an_object_is_copied(storage: Storage) -> None:
    """Each of the two may be removed on its own."""
    storage.write(KEY, b"some bytes")
    for _ in range(2):
        storage.copy(KEY, "jobs/job_2/base-adapter.tar")
    storage.delete([KEY])
    assert storage.content("jobs/job_2/base-adapter.tar") == content_of(b"some bytes")
    with pytest.raises(ObjectMissing, match="There is no object"):
        storage.copy(KEY, "jobs/job_3/base-adapter.tar")


def test_what_is_not_there_is_named(storage: Storage, tmp_path: Path) -> None:
    """Nothing appears where it should have been written to."""
    assert (storage.size(KEY), storage.content(KEY)) == (None, None)
    for ask in (
        lambda: storage.fetch(KEY, tmp_path / "new"),
        lambda: storage.bring(KEY, tmp_path / "new"),
        lambda: storage.open(KEY),
        lambda: storage.read(KEY),
    ):
        storage.write("jobs/job_1/other", b"x")
        with pytest.raises(ObjectMissing, match=f"There is no object {storage.url}/{KEY}") as raised:
            ask()
        assert raised.value.place == f"{storage.url}/{KEY}"
    assert not (tmp_path / "new").exists()


def test_a_file_that_is_another_one_is_not_stored(storage: Storage, tmp_path: Path) -> None:
    """It changed since its content was found; a large one is noticed when its parts are there already."""
    for data in (b"some bytes", large()):
        with pytest.raises(ObjectChanged, match="changed while it was stored"):
            storage.put(written(tmp_path, data), KEY, content_of(data[:-1]))
        assert storage.keys("jobs/") == []


def test_a_changed_object_is_noticed(storage: Storage, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """The error says which, and what to do; the file that was there before stays."""
    storage.put(written(tmp_path), KEY)
    if isinstance(storage, LocalStorage):
        storage.path(KEY).unlink()  # the file may be another name of the one that was stored
    before = written(tmp_path, b"before", "fetched")
    for data in (b"other byte", b"cut"):
        _overwrite(storage, KEY, data, request)
        with pytest.raises(ObjectChanged, match=f"The object {storage.url}/{KEY} is not as it was stored.*backup"):
            storage.fetch(KEY, before, content_of(b"some bytes"))
        assert before.read_bytes() == b"before"
        assert sorted(path.name for path in tmp_path.iterdir() if path.name != "storage") == ["fetched", "file"]


def _overwrite(storage: Storage, key: str, data: bytes, request: pytest.FixtureRequest) -> None:
    """Change an object as somebody does who knows nothing of arkor."""
    if isinstance(storage, LocalStorage):
        storage.path(key).write_bytes(data)
        return
    bucket, _, prefix = storage.url.removeprefix("s3://").partition("/")
    client = s3.client(request.getfixturevalue("endpoint"))
    known = client.head_object(Bucket=bucket, Key=f"{prefix}/{key}")["Metadata"]
    client.put_object(Bucket=bucket, Key=f"{prefix}/{key}", Body=data, Metadata=known)


@pytest.mark.parametrize("key", ["../x", "a/../b", "/etc/passwd", "a//b", "a/.hidden", "", "a b", "a\n"])
def test_no_key_leads_out(storage: Storage, key: str) -> None:
    """Nor is anything hidden."""
    with pytest.raises(ValueError, match="cannot be a key"):
        storage.write(key, b"x")


def test_a_storage_that_can_be_used_leaves_nothing(storage: Storage) -> None:
    """Of the check."""
    storage.check()
    assert storage.keys("jobs/") == []
    assert storage.keys("unsettled/") == []


# A folder


def test_a_file_in_its_place_is_left_alone(tmp_path: Path) -> None:
    """The storage is the data folder: no copy is made, and no file is removed."""
    storage = open_storage(str(tmp_path))
    file = written(tmp_path, name=KEY)
    before = file.stat()
    for move in (False, True):
        storage.put(file, KEY, move=move)
        storage.fetch(KEY, file, Content.of(file))
        after = file.stat()
        assert (after.st_ino, after.st_mtime_ns, after.st_nlink) == (before.st_ino, before.st_mtime_ns, 1)
    assert list(file.parent.iterdir()) == [file]


def test_files_are_linked_and_renamed(tmp_path: Path) -> None:
    """On one disk, no byte is copied."""
    storage = open_storage(str(tmp_path / "storage"))
    file = written(tmp_path)
    number = file.stat().st_ino
    storage.put(file, KEY)
    storage.copy(KEY, "jobs/job_2/copy")
    storage.put(file, "jobs/job_3/moved", move=True)
    found = {Path(str(storage.path(key))).stat().st_ino for key in (KEY, "jobs/job_2/copy", "jobs/job_3/moved")}
    assert found == {number}


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """And what to do."""
    written(tmp_path, name="file")
    with pytest.raises(StorageError, match=r"cannot be written.*--storage"):
        open_storage(str(tmp_path / "file")).check()


# S3


def test_an_upload_that_is_cut_goes_on(
    s3_url: str, endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The part is sent again; the object is whole."""
    with s3.cutter(endpoint) as between:
        monkeypatch.setenv("AWS_ENDPOINT_URL", between.url)
        storage = open_storage(s3_url, 20)
        between.cut("up", 5 * MIB, times=2)
        storage.put(written(tmp_path, large()), KEY)
        assert between.cuts == 2
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    assert open_storage(s3_url).content(KEY) == content_of(large())


def test_a_broken_upload_leaves_nothing(
    s3_url: str, endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither an object nor parts that cost money; the former object stays."""
    open_storage(s3_url).write(KEY, b"former")
    with s3.cutter(endpoint) as between:
        monkeypatch.setenv("AWS_ENDPOINT_URL", between.url)
        storage = open_storage(s3_url, SHORT_S)
        between.cut("up", 5 * MIB, times=1000)
        with pytest.raises(StorageError, match=r"gave no whole answer for .*adapter.tar.*check the network"):
            storage.put(written(tmp_path, large()), KEY)
        assert between.cuts
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    assert open_storage(s3_url).read(KEY) == b"former"
    assert s3.client(endpoint).list_multipart_uploads(Bucket=s3.BUCKET).get("Uploads", []) == []


def test_a_download_that_is_cut_goes_on(
    s3_url: str, endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where it was; with no patience left, no file appears."""
    open_storage(s3_url).put(written(tmp_path, large()), KEY)
    with s3.cutter(endpoint) as between:
        monkeypatch.setenv("AWS_ENDPOINT_URL", between.url)
        between.cut("down", 10 * MIB, times=3)
        open_storage(s3_url, 20).fetch(KEY, tmp_path / "fetched")
        assert between.cuts == 3
        assert (tmp_path / "fetched").read_bytes() == large()
        between.cut("down", 0, times=1000)
        with pytest.raises(StorageError, match="gave no whole answer"):
            open_storage(s3_url, SHORT_S).fetch(KEY, tmp_path / "again")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fetched", "file"]


def test_a_bucket_that_is_not_there_is_named(s3_url: str) -> None:
    """And what to do."""
    storage = open_storage("s3://no-such-bucket/x", SHORT_S)
    for ask in (storage.check, lambda: storage.keys("jobs/"), lambda: storage.write(KEY, b"x")):
        with pytest.raises(StorageError, match=r"There is no bucket 'no-such-bucket' at http.*create it"):
            ask()


def test_wrong_credentials_are_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error has neither of the two, and says what to do."""
    with s3.moto_server(tmp_path / "log") as url:
        right = s3.only_for_a_user(url)
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        for name, value in right.items():
            monkeypatch.setenv(name, value)
        open_storage(f"s3://{s3.BUCKET}", PATIENCE_S).check()
        for name in right:
            monkeypatch.setenv(name, "wrongwrongwrongwrong")
            with pytest.raises(StorageError, match=r"denies access to s3://.*credentials.*docs/scale\.md") as raised:
                open_storage(f"s3://{s3.BUCKET}", PATIENCE_S).check()
            assert "wrongwrong" not in f"{raised.value!r} {raised.value.__cause__}"


def test_no_credentials_are_noticed(s3_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything is sent."""
    for name in s3.VARIABLES:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(StorageError, match=r"There are no credentials for s3://.*set AWS_ACCESS_KEY_ID"):
        open_storage(s3_url, SHORT_S).check()


def test_no_network_is_noticed(s3_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the patience; a name and a password in the address are not shown."""
    port = free_ports(1)[0]
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://me:a-secret@127.0.0.1:{port}")
    with pytest.raises(StorageError, match=f"http://127.0.0.1:{port} gave no whole answer.*AWS_ENDPOINT_URL") as raised:
        open_storage(s3_url, SHORT_S).check()
    shown = "".join(traceback.format_exception(raised.value))
    assert "a-secret" not in shown


@pytest.mark.parametrize("where", ["s3://", "s3://name:secret@bucket", "s3://bucket/a b", "s3://bucket/../x", "gs://b"])
def test_other_storages_are_refused(where: str) -> None:
    """What is wrong may be a password."""
    with pytest.raises(StorageError, match="s3://") as raised:
        open_storage(where)
    assert "secret" not in str(raised.value)


def test_an_object_without_a_sha256_is_not_ours(s3_storage: Storage, endpoint: str, tmp_path: Path) -> None:
    """Somebody else put it there."""
    prefix = s3_storage.url.removeprefix(f"s3://{s3.BUCKET}/")
    client: Any = s3.client(endpoint)
    client.put_object(Bucket=s3.BUCKET, Key=f"{prefix}/{KEY}", Body=b"some bytes")
    with pytest.raises(ObjectChanged, match="is not as it was stored"):
        s3_storage.fetch(KEY, tmp_path / "fetched", content_of(b"some bytes"))
    assert not os.path.lexists(tmp_path / "fetched")
