"""An artifact on its way to the disk: whatever the connection does, it arrives whole, or nothing does."""

from __future__ import annotations

import hashlib
import random
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from arkor.client import downloads
from arkor.client.client import CloudApiClient
from arkor.errors import (
    Aborted,
    ArkorError,
    CloudApiError,
    ConfigError,
    ConnectionFailed,
    NotFound,
    UnsupportedByBackend,
    WaitTimeout,
)
from arkor.http.abort import AbortScope, Deadline
from arkor.protocol.jobs import Artifact, Scope
from tests.support.cloud import Cloud
from tests.support.eventually import eventually
from tests.support.full_disk import largest_file
from tests.support.shelf import Sending, Shelf, tar
from tests.support.waiting import Waiting

SCOPE = Scope("org", "project")
FILES = {"adapter_model.safetensors": random.Random(1).randbytes(30_000), "adapter_config.json": b"{}"}
CONTENT = tar(FILES)
ADAPTER = Artifact(name="adapter", size_bytes=len(CONTENT), sha256=hashlib.sha256(CONTENT).hexdigest())
UNCHECKED = Artifact(name="adapter")
OTHER = tar({**FILES, "adapter_config.json": b"[]"})


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds between attempts, which are noted, not waited."""
    noted: list[float] = []
    monkeypatch.setattr(downloads, "pause", noted.append)
    return noted


@pytest.fixture
def shelf() -> Iterator[Shelf]:
    """A backend that has the artifact."""
    with Shelf(CONTENT) as running:
        yield running


@pytest.fixture
def client(shelf: Shelf, pauses: list[float]) -> Iterator[CloudApiClient]:
    """A client of that backend."""
    one = CloudApiClient(shelf.url, token="secret")
    yield one
    one.close()


def fetch(client: CloudApiClient, dest: Path, artifact: Artifact = ADAPTER, **options: Any) -> Path:
    """Download the artifact."""
    return client.download_artifact(SCOPE, "job_1", artifact, dest, **options)


def files(folder: Path) -> dict[str, bytes]:
    """Return every file below a folder, and folders without one, by their path."""
    return {
        str(item.relative_to(folder)): item.read_bytes() if item.is_file() else b""
        for item in folder.rglob("*")
        if item.is_file() or not any(item.iterdir())
    }


def whole(dest: Path) -> bool:
    """Say whether the artifact is there, and nothing else."""
    return files(dest) == {f"adapter/{name}": content for name, content in FILES.items()}


# The plain way


def test_an_artifact_becomes_a_folder_of_its_name(shelf: Shelf, client: CloudApiClient, tmp_path: Path) -> None:
    """In folders that are made for it; asked for once, uncompressed, with the token."""
    dest = tmp_path / "made" / "for it"
    assert fetch(client, dest) == dest / "adapter"
    assert whole(dest)
    (asked,) = shelf.requests
    assert (asked["accept-encoding"], asked["authorization"]) == ("identity", "Bearer secret")
    assert "range" not in asked


def test_the_destination_may_be_a_text(client: CloudApiClient, project: Path) -> None:
    """Relative to the working directory."""
    assert fetch(client, "adapters") == Path("adapters/adapter")  # type: ignore[arg-type]
    assert whole(project / "adapters")


@pytest.mark.parametrize(
    "sending",
    [Sending(etag=""), Sending(etag="", chunked=True), Sending(headers={"Content-Length": "9" * 5000}, cut=10**6)],
    ids=["length", "chunked", "odd length"],
)
def test_without_a_size_or_a_digest_it_is_what_the_answer_holds(
    shelf: Shelf, client: CloudApiClient, tmp_path: Path, sending: Sending
) -> None:
    """A backend need not say more, nor say it well."""
    shelf.script(sending)
    fetch(client, tmp_path, UNCHECKED)
    assert whole(tmp_path)


def test_a_digest_in_capitals_is_the_same_digest(client: CloudApiClient, tmp_path: Path) -> None:
    """Hexadecimal has two spellings."""
    fetch(client, tmp_path, attrs.evolve(ADAPTER, sha256=str(ADAPTER.sha256).upper()))
    assert whole(tmp_path)


def test_a_folder_of_the_same_name_is_replaced_whole(client: CloudApiClient, tmp_path: Path) -> None:
    """Nothing of the old one stays."""
    (tmp_path / "adapter" / "inner").mkdir(parents=True)
    (tmp_path / "adapter" / "inner" / "old").write_text("old")
    fetch(client, tmp_path)
    assert whole(tmp_path)


def test_a_link_of_the_same_name_is_replaced_and_what_it_leads_to_stays(client: CloudApiClient, tmp_path: Path) -> None:
    """The folder behind it belongs to somebody else."""
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "file").write_text("theirs")
    (tmp_path / "dest").mkdir()
    (tmp_path / "dest" / "adapter").symlink_to(tmp_path / "theirs")
    fetch(client, tmp_path / "dest")
    assert whole(tmp_path / "dest")
    assert files(tmp_path / "theirs") == {"file": b"theirs"}


def test_a_file_of_the_same_name_is_not_replaced(shelf: Shelf, client: CloudApiClient, tmp_path: Path) -> None:
    """Nobody expects a folder to remove a file; nothing is asked for."""
    (tmp_path / "adapter").write_text("mine")
    with pytest.raises(ArkorError, match="adapter is a file, and the artifact becomes a folder"):
        fetch(client, tmp_path)
    assert files(tmp_path) == {"adapter": b"mine"}
    assert shelf.requests == []


def test_progress_is_told_as_it_is_made(client: CloudApiClient, tmp_path: Path) -> None:
    """In bytes, up to all of them."""
    told: list[tuple[int, int | None]] = []
    fetch(client, tmp_path, on_progress=lambda done, total: told.append((done, total)))
    assert [total for _, total in told] == [len(CONTENT)] * len(told)
    assert [done for done, _ in told] == sorted({done for done, _ in told})
    assert told[-1][0] == len(CONTENT)


def test_a_backend_that_keeps_no_artifacts_is_told_as_such(cloud: Cloud, tmp_path: Path) -> None:
    """Before anything is written."""
    cloud.know("secret", "org")
    with pytest.raises(UnsupportedByBackend, match="does not support downloading artifacts"):
        fetch(CloudApiClient(cloud.url, token="secret"), tmp_path / "made")
    assert files(tmp_path) == {}


# Cuts


@pytest.mark.parametrize("reset", [False, True], ids=["FIN", "RST"])
@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
def test_a_download_that_is_cut_goes_on_where_it_was(
    shelf: Shelf, client: CloudApiClient, tmp_path: Path, pauses: list[float], chunked: bool, reset: bool
) -> None:
    """On the condition that it is still the same file."""
    shelf.script(*[Sending(cut=9000, chunked=chunked, reset=reset)] * 2)
    told: list[int] = []
    fetch(client, tmp_path, on_progress=lambda done, _: told.append(done))
    assert whole(tmp_path)
    starts = [int((asked or "bytes=0-")[6:-1]) for asked in shelf.ranges]
    assert starts[0] == 0
    assert starts == sorted(set(starts))  # a reset may take bytes with it that were sent
    assert len(starts) == 3
    assert [asked.get("if-range") for asked in shelf.requests[1:]] == ['"one"'] * 2
    assert told == sorted(told)
    assert len(pauses) == 2


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cuts=st.lists(st.integers(0, len(CONTENT)), max_size=6), chunked=st.booleans(), etag=st.sampled_from(["", None]))
def test_a_download_may_be_cut_at_any_byte(
    shelf: Shelf,
    client: CloudApiClient,
    tmp_path_factory: pytest.TempPathFactory,
    cuts: list[int],
    chunked: bool,
    etag: str | None,
) -> None:
    """As long as it gets further within a few attempts, it arrives whole."""
    dest = tmp_path_factory.mktemp("dest")
    shelf._sendings.clear()
    for cut in cuts:  # a byte more after each, so that not too many in a row get nowhere
        shelf.script(Sending(cut=cut, chunked=chunked, etag=etag), Sending(cut=200, etag=etag))
    fetch(client, dest)
    assert whole(dest)


def test_only_failures_without_progress_count(
    shelf: Shelf, client: CloudApiClient, tmp_path: Path, pauses: list[float]
) -> None:
    """A connection that never holds for long still gets there; the pauses stay short."""
    shelf.script(*[Sending(cut=500)] * 50)
    fetch(client, tmp_path)
    assert whole(tmp_path)
    assert len(shelf.requests) == 51
    assert max(pauses) <= 0.6


def test_a_download_that_gets_no_further_ends(
    shelf: Shelf, client: CloudApiClient, tmp_path: Path, pauses: list[float]
) -> None:
    """After half a minute of growing pauses, with what went wrong; nothing stays."""
    shelf.script(Sending(cut=500), *[Sending(cut=0)] * 50)
    with pytest.raises(ConnectionFailed):
        fetch(client, tmp_path / "dest")
    assert len(shelf.requests) == 1 + downloads.ATTEMPTS
    assert 20 < sum(pauses) < 40
    assert files(tmp_path) == {}


def test_a_download_that_never_begins_ends_sooner(shelf: Shelf, client: CloudApiClient, tmp_path: Path) -> None:
    """As every other call does."""
    shelf.script(*[Sending(cut=0)] * 50)
    with pytest.raises(ConnectionFailed):
        fetch(client, tmp_path)
    assert len(shelf.requests) == 3


@pytest.mark.parametrize("status", [429, 500, 502, 503])
def test_an_error_that_may_pass_is_waited_for(
    shelf: Shelf, client: CloudApiClient, tmp_path: Path, pauses: list[float], status: int
) -> None:
    """As long as the backend asks."""
    busy = Sending(status=status, content=b"busy", ranges=False, headers={"Retry-After": "7"})
    shelf.script(busy, Sending(cut=9000), busy)
    fetch(client, tmp_path)
    assert whole(tmp_path)
    assert pauses[0] == pauses[2] == 7.0


@pytest.mark.parametrize(("status", "error"), [(403, CloudApiError), (404, NotFound), (410, CloudApiError)])
def test_an_error_that_stays_is_raised_at_once(
    shelf: Shelf, client: CloudApiClient, tmp_path: Path, status: int, error: type[Exception]
) -> None:
    """In the middle of a download too; nothing stays."""
    gone = Sending(status=status, content=b"It is gone.", ranges=False)
    for script in ([gone], [Sending(cut=9000), gone]):
        shelf.script(*script)
        with pytest.raises(error, match=r"It is gone\."):
            fetch(client, tmp_path / "dest")
    assert len(shelf.requests) == 3
    assert files(tmp_path) == {}


# Ranges that do not fit


@pytest.mark.parametrize(
    ("second", "requests"),
    [
        (Sending(ranges=False), 2),
        (Sending(etag='"two"', content=OTHER), 2),
        (Sending(etag='"two"', content=OTHER, conditions=False), 3),
        (Sending(content=CONTENT[:5000]), 3),
        (Sending(headers={"Content-Range": f"bytes 0-9999/{len(CONTENT)}"}), 3),
        (Sending(headers={"Content-Range": f"bytes 9000-9999/{len(CONTENT) + 1}"}), 3),
        (Sending(headers={"Content-Range": "lines 1-2/3"}), 3),
        (Sending(status=206, ranges=False, headers={"Content-Range": ""}), 3),
    ],
    ids=["ignored", "changed", "changed-206", "shorter-416", "elsewhere", "other-size", "odd-unit", "no-range"],
)
def test_a_part_that_does_not_continue_what_is_there_starts_over(
    shelf: Shelf, client: CloudApiClient, tmp_path: Path, second: Sending, requests: int
) -> None:
    """Two files are never made into one."""
    shelf.script(Sending(cut=9000, content=CONTENT, etag='"one"'), second)
    if second.etag:
        shelf.content, shelf.etag = OTHER, second.etag
    artifact = attrs.evolve(ADAPTER, sha256=hashlib.sha256(shelf.content).hexdigest())
    folder = fetch(client, tmp_path, artifact)
    assert (folder / "adapter_config.json").read_bytes() == (b"[]" if second.etag else b"{}")
    assert shelf.ranges == [None, "bytes=9000-", None][:requests]
    assert not any("cache-control" in asked for asked in shelf.requests)  # it was seen before it was damaged


def test_a_size_that_was_not_told_may_be_told_by_a_part(shelf: Shelf, client: CloudApiClient, tmp_path: Path) -> None:
    """The first answer was chunked."""
    shelf.script(Sending(cut=9000, chunked=True))
    told: list[tuple[int, int | None]] = []
    fetch(client, tmp_path, attrs.evolve(ADAPTER, size_bytes=None), on_progress=lambda *now: told.append(now))
    assert whole(tmp_path)
    assert (told[0][1], told[-1]) == (None, (len(CONTENT), len(CONTENT)))


@pytest.mark.parametrize("etag", ["", 'W/"one"'])
def test_without_a_promise_that_it_is_the_same_file_the_digest_decides(
    shelf: Shelf, client: CloudApiClient, tmp_path: Path, etag: str
) -> None:
    """Where there is one, a part will do; where there is none, all of it is fetched again."""
    shelf.etag = etag
    shelf.script(Sending(cut=9000))
    fetch(client, tmp_path)
    assert shelf.ranges == [None, "bytes=9000-"]
    assert "if-range" not in shelf.requests[1]
    shelf.script(Sending(cut=9000))
    fetch(client, tmp_path, UNCHECKED)
    assert shelf.ranges[2:] == [None, None]
    assert whole(tmp_path)


def test_a_server_without_ranges_that_never_gets_further_ends(
    shelf: Shelf, client: CloudApiClient, tmp_path: Path
) -> None:
    """Starting over is no progress: not for ever."""
    shelf.script(*[Sending(cut=9000, ranges=False)] * 50)
    with pytest.raises(ConnectionFailed):
        fetch(client, tmp_path)
    assert len(shelf.requests) == 1 + downloads.ATTEMPTS


def test_a_file_that_changes_all_the_time_ends_too(shelf: Shelf, client: CloudApiClient, tmp_path: Path) -> None:
    """It is new whenever it is asked for."""
    shelf.script(*[Sending(cut=9000, etag=f'"{number}"') for number in range(50)])
    with pytest.raises(ConnectionFailed):
        fetch(client, tmp_path)
    assert len(shelf.requests) == 1 + downloads.ATTEMPTS


# Damage


def test_what_is_damaged_is_fetched_once_more(shelf: Shelf, client: CloudApiClient, tmp_path: Path) -> None:
    """From its start, and past every cache on the way."""
    shelf.script(Sending(content=CONTENT[:-1] + b"x"))
    fetch(client, tmp_path)
    assert whole(tmp_path)
    assert shelf.ranges == [None, None]
    assert [asked.get("cache-control") for asked in shelf.requests] == [None, "no-cache"]


@pytest.mark.parametrize(
    ("sending", "says"),
    [
        (Sending(content=CONTENT[:-1] + b"x"), "its SHA-256 differs"),
        (Sending(content=CONTENT[:-512]), f"{len(CONTENT) - 512} bytes came, and {len(CONTENT)} were announced"),
        (Sending(content=CONTENT + bytes(512)), f"bytes came, and {len(CONTENT)} were announced"),
        (Sending(content=CONTENT + bytes(512), chunked=True), f"bytes came, and {len(CONTENT)} were announced"),
    ],
    ids=["other", "shorter", "longer", "longer-chunked"],
)
def test_what_is_damaged_twice_is_an_error(
    shelf: Shelf, client: CloudApiClient, tmp_path: Path, sending: Sending, says: str
) -> None:
    """That says what differs; what was there before is whole."""
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "old").write_text("old")
    shelf.script(*[sending] * 3)
    with pytest.raises(ArkorError, match="Artifact adapter of job job_1 arrived damaged, twice: ") as raised:
        fetch(client, tmp_path)
    assert says in str(raised.value)
    assert len(shelf.requests) == 2
    assert files(tmp_path) == {"adapter/old": b"old"}


def test_a_body_that_is_too_long_is_not_read_to_its_end(shelf: Shelf, client: CloudApiClient, tmp_path: Path) -> None:
    """A backend cannot fill the disk with more than it announced."""
    told: list[int] = []
    shelf.content = bytes(50_000_000)
    with pytest.raises(ArkorError, match="arrived damaged"):
        fetch(client, tmp_path, on_progress=lambda done, _: told.append(done))
    assert max(told) < 10_000_000


def test_a_chunked_body_that_ends_too_early_was_cut(shelf: Shelf, client: CloudApiClient, tmp_path: Path) -> None:
    """Its end was in order, but the list of artifacts says more."""
    shelf.script(Sending(content=CONTENT[:9000], chunked=True))
    fetch(client, tmp_path)
    assert whole(tmp_path)
    assert shelf.ranges == [None, "bytes=9000-"]


@pytest.mark.parametrize(
    ("sending", "says"),
    [
        (Sending(status=204, content=b""), "was answered with status 204"),
        (Sending(status=304, content=b""), "was answered with status 304"),
        (Sending(headers={"Content-Encoding": "gzip"}), r"was answered compressed \(gzip\)"),
    ],
    ids=range(3),
)
def test_an_answer_that_is_no_file_is_named(
    shelf: Shelf, client: CloudApiClient, tmp_path: Path, sending: Sending, says: str
) -> None:
    """At once: another attempt would not help."""
    shelf.script(sending)
    with pytest.raises(ArkorError, match=says):
        fetch(client, tmp_path)
    assert files(tmp_path) == {}
    assert len(shelf.requests) == 1


def test_a_part_that_nobody_asked_for_is_not_taken(shelf: Shelf, client: CloudApiClient, tmp_path: Path) -> None:
    """It would be the middle of something."""
    odd = Sending(status=206, headers={"Content-Range": f"bytes 0-9/{len(CONTENT)}"})
    shelf.script(odd, odd, odd)
    with pytest.raises(ConnectionFailed, match="has changed on the backend"):
        fetch(client, tmp_path)
    assert files(tmp_path) == {}


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"<html>Log in</html>", "it is not a whole tar file"),
        (tar({"../outside": b"evil"}), "its member '../outside' would be written outside of its folder"),
    ],
    ids=range(2),
)
def test_what_cannot_be_unpacked_is_named(
    shelf: Shelf, client: CloudApiClient, tmp_path: Path, content: bytes, says: str
) -> None:
    """Nothing of it stays."""
    shelf.content = content
    with pytest.raises(ArkorError, match=r"^Artifact adapter of job job_1 cannot be unpacked: ") as raised:
        fetch(client, tmp_path / "dest", UNCHECKED)
    assert says in str(raised.value)
    assert files(tmp_path) == {}


# The disk


@pytest.mark.parametrize(
    "name", ["", "..", ".", "a/b", "/etc", "../adapter", ".git", "a\\b", "a\0b", "a\nb", "a\x1b[1m"]
)
def test_an_artifact_cannot_leave_its_place_by_its_name(client: CloudApiClient, tmp_path: Path, name: str) -> None:
    """Whatever a backend calls it; nor can it be hidden."""
    with pytest.raises(ArkorError, match="cannot be a folder's name") as raised:
        fetch(client, tmp_path / "dest", Artifact(name=name))
    assert str(raised.value).isprintable()
    assert files(tmp_path) == {}


@pytest.mark.parametrize("job_id", ["..", ".", ""])
def test_a_job_cannot_be_another_place(shelf: Shelf, client: CloudApiClient, tmp_path: Path, job_id: str) -> None:
    """Such an id is refused before anything is written or asked."""
    with pytest.raises(ConfigError):
        client.download_artifact(SCOPE, job_id, ADAPTER, tmp_path / "dest")
    assert (files(tmp_path), shelf.requests) == ({}, [])


@pytest.mark.parametrize("limit", [0, 1000, 20_000, len(CONTENT) - 1])
def test_a_disk_that_is_full_is_told_as_such(client: CloudApiClient, tmp_path: Path, limit: int) -> None:
    """Not as a fault of the network; nothing half stays."""
    with (
        largest_file(limit),
        pytest.raises(ArkorError, match="dest/adapter cannot be written: File too large") as raised,
    ):
        fetch(client, tmp_path / "dest")
    assert not isinstance(raised.value, ConnectionFailed)
    assert files(tmp_path) == {}


def test_a_disk_that_is_full_when_it_is_unpacked_is_told_as_such(client: CloudApiClient, tmp_path: Path) -> None:
    """The archive fitted, what is in it did not; what was there before is whole."""
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "old").write_text("old")
    with (
        largest_file(10**9) as allow,
        pytest.raises(ArkorError, match="adapter cannot be written: File too large"),
    ):
        fetch(client, tmp_path, on_progress=lambda done, total: allow(1000) if done == total else None)
    assert files(tmp_path) == {"adapter/old": b"old"}


@pytest.mark.parametrize("dest", ["/proc/arkor", "/dev/null", "/dev/null/adapters"])
def test_a_place_that_takes_no_folder_is_named(shelf: Shelf, client: CloudApiClient, dest: str) -> None:
    """Before anything is asked for."""
    with pytest.raises(ArkorError, match=f"^{dest}/adapter cannot be written: "):
        fetch(client, Path(dest))
    assert shelf.requests == []


@pytest.mark.parametrize("exc", [KeyboardInterrupt, ZeroDivisionError, BrokenPipeError, SystemExit])
@pytest.mark.parametrize("after", [0, 20_000, len(CONTENT) - 1])
def test_an_interruption_leaves_what_was_there(
    shelf: Shelf, client: CloudApiClient, tmp_path: Path, after: int, exc: type[BaseException]
) -> None:
    """Ctrl-C, or an error of the caller's own, which is not taken for one of the disk or the network."""
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "old").write_text("old")
    shelf.script(*[Sending(cut=8_000)] * 5)

    def stop(done: int, _: int | None) -> None:
        if done > after:
            raise exc

    with pytest.raises(exc):
        fetch(client, tmp_path, on_progress=stop)
    assert files(tmp_path) == {"adapter/old": b"old"}


def test_two_downloads_to_the_same_place_at_once_both_succeed(
    shelf: Shelf, client: CloudApiClient, tmp_path: Path
) -> None:
    """Whichever is last is there, whole."""
    met = threading.Barrier(8, timeout=10)

    def meet(done: int, total: int | None) -> None:
        if done == total:
            met.wait()

    waits = [Waiting(lambda: fetch(client, tmp_path, on_progress=meet)) for _ in range(8)]
    assert [wait.outcome() for wait in waits] == [tmp_path / "adapter"] * 8
    assert whole(tmp_path)


# Ended by the caller


def test_an_abort_is_felt_at_once(shelf: Shelf, client: CloudApiClient, tmp_path: Path) -> None:
    """While nothing arrives; nothing stays."""
    event, arrived = threading.Event(), threading.Event()
    shelf.script(Sending(cut=9000, hold=threading.Event()))

    def run() -> None:
        with AbortScope(event) as scope, scope.active():
            fetch(client, tmp_path / "dest", on_progress=lambda *_: arrived.set())

    waiting = Waiting(run)
    eventually(arrived.is_set, "bytes have arrived")
    event.set()
    assert isinstance(waiting.outcome(), Aborted)
    assert files(tmp_path) == {}


def test_a_deadline_ends_a_silent_download(shelf: Shelf, client: CloudApiClient, tmp_path: Path) -> None:
    """And one that only pauses."""
    shelf.script(Sending(cut=9000, hold=threading.Event()))
    with pytest.raises(WaitTimeout), AbortScope(None, Deadline(0.3)) as scope, scope.active():
        fetch(client, tmp_path / "dest")
    assert files(tmp_path) == {}


def test_an_abort_between_two_attempts_ends_the_download(
    shelf: Shelf, client: CloudApiClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It does not wait for the next."""
    monkeypatch.undo()
    event = threading.Event()
    shelf.script(Sending(status=503, content=b"busy", headers={"Retry-After": "10"}))

    def run() -> None:
        with AbortScope(event) as scope, scope.active():
            fetch(client, tmp_path / "dest")

    waiting = Waiting(run)
    eventually(lambda: shelf.requests, "the first attempt was made")
    event.set()
    assert isinstance(waiting.outcome(), Aborted)
    assert files(tmp_path) == {}
