"""A blob that is cut, refused for a while, or larger than it may be."""

from __future__ import annotations

import gzip
import signal
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from arkor.backend.training_worker.__main__ import main
from arkor.backend.training_worker.rows.blob_body import GIB, Limits
from arkor.backend.training_worker.rows.download import download_blob
from arkor.backend.training_worker.stopping import Interrupted, StopReason, StopSwitch
from arkor.errors import DatasetError
from tests.support.blobs import ROWS, Answer, BlobHost, head, redirect, whole

ROOT = Path(__file__).parents[5]
MANY = b"".join(b'{"text": "%d"}\n' % number for number in range(500))
CUT = 1000
TAGGED = 'ETag: "v1"'
UNAVAILABLE = whole(b"", status="503 Service Unavailable")


def part(body: bytes, start: int, *headers: str, total: int | None = None) -> bytes:
    """Return the rest of a body as an answer to a range."""
    end, total = len(body) - 1, len(body) if total is None else total
    return whole(body[start:], f"Content-Range: bytes {start}-{end}/{total}", *headers, status="206 Partial Content")


def cut(body: bytes, *headers: str) -> bytes:
    """Return an answer whose connection ends too early."""
    answer = whole(body, *headers)
    return answer[: len(answer) - len(body) + CUT]


def fetch(server: BlobHost, folder: Path, **limits: Any) -> bytes:
    source = {"type": "blob", "url": f"{server.url()}?sig=SECRET", "token": "SECRET"}
    allowed = Limits(**{"tries": 3, "first_pause_s": 0.01, **limits})
    return download_blob(source, folder, allow_private_urls=True, limits=allowed).read_bytes()


# Tries


@pytest.mark.parametrize(
    "trouble",
    [
        UNAVAILABLE,
        whole(b"", status="500 Internal Server Error"),
        whole(b"", status="429 Too Many Requests"),
        whole(b"", "Retry-After: 0", status="429 Too Many Requests"),
        whole(b"", "Retry-After: soon", status="503 Service Unavailable"),
        whole(b"", f"Retry-After: {'9' * 5000}0", status="503 Service Unavailable"),
        b"",
        cut(MANY),
        head("200 OK", "Transfer-Encoding: chunked") + b'5\r\n{"tex\r\n',
        whole(gzip.compress(MANY)[:-30], "Content-Encoding: gzip"),
    ],
    ids=["503", "500", "429", "at once", "no time", "no number", "nothing", "cut", "cut between chunks", "cut gzip"],
)
def test_what_passes_is_tried_again(trouble: bytes, tmp_path: Path) -> None:
    """The whole file, with nothing left of the first try."""
    with BlobHost([trouble, whole(MANY)]) as server:
        assert fetch(server, tmp_path, longest_retry_after_s=0.01) == MANY
        assert server.seen("Authorization") == ["Bearer SECRET"] * 2
        assert server.seen("Range") == [None, None]


def test_a_server_says_when_it_is_asked_again(tmp_path: Path) -> None:
    """Up to a limit. The usual pause would last longer than the test."""
    with BlobHost([whole(b"", "Retry-After: 3000", status="429 Too Many Requests"), whole(MANY)]) as server:
        assert fetch(server, tmp_path, first_pause_s=3000.0, longest_retry_after_s=0.01) == MANY


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 416])
def test_a_refusal_is_final(status: int, tmp_path: Path) -> None:
    """One request, and the status in the error."""
    with BlobHost([whole(b"no SECRET", status=f"{status} No"), whole(ROWS)]) as server:
        with pytest.raises(DatasetError, match=f"the server answered {status}") as caught:
            fetch(server, tmp_path)
        assert len(server.heads) == 1
    assert "SECRET" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_the_tries_have_an_end(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The error has the last cause; neither it nor the log has the token or the query of the URL."""
    caplog.set_level("DEBUG", logger="arkor.worker")
    with BlobHost([UNAVAILABLE]) as server:
        with pytest.raises(DatasetError, match="the server answered 503") as caught:
            fetch(server, tmp_path)
        assert len(server.heads) == 3
    assert "SECRET" not in str(caught.value) + caplog.text
    assert "the next try is in" in caplog.text


def test_a_try_that_brings_new_bytes_does_not_count(tmp_path: Path) -> None:
    """A large file over a bad line: each answer brings a little more."""
    pieces = [part(MANY, start, TAGGED) for start in range(CUT, 5 * CUT, CUT)]
    cuts = [answer[: answer.index(b"\r\n\r\n") + 4 + CUT] for answer in pieces]
    with BlobHost([cut(MANY, TAGGED), *cuts, part(MANY, 5 * CUT, TAGGED)]) as server:
        assert fetch(server, tmp_path, tries=1) == MANY
        assert server.seen("Range") == [None, *(f"bytes={start}-" for start in range(CUT, 6 * CUT, CUT))]


# Stops


@pytest.fixture
def stop() -> Iterator[StopSwitch]:
    """The switch of a worker, which takes over two signals."""
    former = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGUSR1)}
    made = StopSwitch()
    made.install()
    yield made
    for number, handler in former.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(
    "sent", [b"", head("200 OK", "Content-Length: 9000") + ROWS, UNAVAILABLE], ids=["no head", "half a body", "a pause"]
)
def test_a_stop_ends_a_download_wherever_it_is(sent: bytes, stop: StopSwitch, tmp_path: Path) -> None:
    """In a read, or between two tries; nothing half fetched stays."""

    def answer(file: BinaryIO) -> None:
        file.write(sent)
        file.flush()
        stop.request(StopReason.CANCELLED)
        if sent != UNAVAILABLE:
            server.leaving.wait()

    with BlobHost([answer]) as server, pytest.raises(Interrupted):
        fetch(server, tmp_path, first_pause_s=3000.0, longest_pause_s=3000.0)
    assert list(tmp_path.iterdir()) == []


# Parts


@pytest.mark.parametrize("encoding", ["identity", "gzip"])
def test_a_cut_body_is_continued_where_the_server_can(encoding: str, tmp_path: Path) -> None:
    """Compressed, too: the part is one of the compressed bytes."""
    body = MANY if encoding == "identity" else gzip.compress(MANY)
    headers = (TAGGED, f"Content-Encoding: {encoding}")
    with BlobHost([cut(body, *headers), part(body, CUT, *headers)]) as server:
        assert fetch(server, tmp_path) == MANY
        assert (server.seen("Range")[1], server.seen("If-Range")[1]) == (f"bytes={CUT}-", '"v1"')


@pytest.mark.parametrize(
    "answers",
    [
        [whole(MANY, 'ETag: "v2"')],
        [part(MANY, CUT, 'ETag: "v2"'), whole(MANY)],
        [part(MANY, CUT - 1, TAGGED), whole(MANY)],
        [part(MANY, CUT, TAGGED, total=len(MANY) + 1), whole(MANY)],
        [whole(MANY[CUT:], TAGGED, status="206 Partial Content"), whole(MANY)],
        [whole(b"", "Content-Range: bytes */5", status="416 Range Not Satisfiable"), whole(MANY)],
    ],
    ids=["whole", "another file", "another place", "another size", "no place", "shorter file"],
)
def test_a_part_that_does_not_fit_is_not_taken(answers: Sequence[Answer], tmp_path: Path) -> None:
    """The file is fetched from its start."""
    other = MANY.replace(b"1", b"x")
    with BlobHost([cut(other, TAGGED), *answers]) as server:
        assert fetch(server, tmp_path) == MANY


@pytest.mark.parametrize("headers", [(), ('ETag: W/"v1"',), ("Last-Modified: Sat, 31 Jan 2026 09:30:00 GMT",)])
def test_without_a_strong_etag_no_part_is_asked_for(headers: tuple[str, ...], tmp_path: Path) -> None:
    """Nothing would promise that the parts are of the same file."""
    with BlobHost([cut(MANY, *headers), whole(MANY, *headers)]) as server:
        assert fetch(server, tmp_path) == MANY
        assert server.seen("Range") == [None, None]


# Compression


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("gzip", gzip.compress(MANY[:CUT]) + gzip.compress(MANY[CUT:])),
        ("X-Gzip", gzip.compress(MANY)),
        ("deflate", zlib.compress(MANY)),
        ("gzip", gzip.compress(MANY * 500)),
    ],
    ids=["two streams", "old name", "deflate", "many pieces"],
)
def test_a_body_that_is_compressed_on_the_way_is_unpacked(encoding: str, body: bytes, tmp_path: Path) -> None:
    """And asked for in no other way."""
    with BlobHost([whole(body, f"Content-Encoding: {encoding}")]) as server:
        assert fetch(server, tmp_path) in {MANY, MANY * 500}
        assert server.seen("Accept-Encoding") == ["gzip"]


@pytest.mark.parametrize(
    ("encoding", "says"), [("gzip", "is damaged: it cannot be unpacked"), ("br", "came with Content-Encoding 'br'")]
)
def test_a_body_that_cannot_be_unpacked_is_refused(encoding: str, says: str, tmp_path: Path) -> None:
    """Another try would not help."""
    with BlobHost([whole(MANY, f"Content-Encoding: {encoding}")]) as server:
        with pytest.raises(DatasetError, match=says):
            fetch(server, tmp_path)
        assert len(server.heads) == 1


# Limits


def endless(file: BinaryIO) -> None:
    """Send rows until the client leaves."""
    file.write(head())
    while True:
        file.write(MANY)


@pytest.mark.parametrize(
    ("answer", "limits", "says"),
    [
        (whole(MANY), {"received_bytes": 5000}, f"{len(MANY)} bytes announced, and the limit is 5000"),
        (endless, {"received_bytes": 5000}, r"bytes sent, and the limit is 5000; divide the rows"),
        (
            whole(gzip.compress(MANY), "Content-Encoding: gzip"),
            {"unpacked_bytes": 5000},
            "bytes unpacked, and the limit is 5000",
        ),
        (
            whole(gzip.compress(ROWS * 100_000), "Content-Encoding: gzip"),
            {"ratio_from_bytes": 500_000},
            "is compressed more than 200 times .* which is the limit",
        ),
    ],
    ids=["announced", "sent", "unpacked", "ratio"],
)
def test_a_body_over_a_limit_is_refused_by_its_name(
    answer: Answer, limits: dict[str, int], says: str, tmp_path: Path
) -> None:
    """Before the disk is full of it; another try would not help."""
    with BlobHost([answer]) as server:
        with pytest.raises(DatasetError, match=says):
            fetch(server, tmp_path, **limits)
        assert len(server.heads) == 1
    assert list(tmp_path.iterdir()) == []


def test_the_documented_limits_are_those_that_hold() -> None:
    """The table of docs/training.md."""
    limits, text = Limits(), (ROOT / "docs" / "training.md").read_text()
    for row in (
        f"| bytes that the server sends | {limits.received_bytes // GIB} GiB |",
        f"| bytes of the file, after gzip is unpacked | {limits.unpacked_bytes // GIB} GiB |",
        f"| compression, for files over {limits.ratio_from_bytes // 1024**2} MiB | {limits.ratio} times |",
        f"| time in all, pauses included | {limits.total_s / 3600:g} hours |",
        f"| time without a byte | {limits.idle_s:g} s, then the next try |",
        f"| tries in a row without new bytes | {limits.tries} |",
        f"| redirects in a row | {limits.redirects} |",
        f"(`Retry-After` counts, up to {limits.longest_retry_after_s / 60:g} minutes)",
    ):
        assert row in text


def test_little_may_be_compressed_a_lot(tmp_path: Path) -> None:
    """Equal rows are, and the file is small."""
    body = gzip.compress(ROWS * 100_000)
    assert len(body) * Limits().ratio < len(ROWS) * 100_000
    with BlobHost([whole(body, "Content-Encoding: gzip")]) as server:
        assert fetch(server, tmp_path) == ROWS * 100_000


def test_the_body_of_a_redirect_is_not_read(tmp_path: Path) -> None:
    """It may have no end."""

    def leading_on(file: BinaryIO) -> None:
        file.write(head("302 Found", "Location: /rows"))
        endless(file)

    with BlobHost([leading_on, whole(ROWS)]) as server:
        assert fetch(server, tmp_path) == ROWS


def test_a_redirect_without_a_place_is_an_error(tmp_path: Path) -> None:
    """As any other answer without rows."""
    with BlobHost([whole(b"", status="302 Found")]) as server, pytest.raises(DatasetError, match="answered 302"):
        fetch(server, tmp_path)


def test_a_redirect_out_of_the_web_is_an_error(tmp_path: Path) -> None:
    """A server cannot make the backend read its own files."""
    with BlobHost([redirect("file:///etc/passwd")]) as server, pytest.raises(DatasetError, match="InvalidSchema"):
        fetch(server, tmp_path)


@pytest.mark.parametrize("sent", [b"", head()[:-2], head("200 OK", "Content-Length: 9"), head() + MANY])
def test_a_server_that_falls_silent_is_left(sent: bytes, tmp_path: Path) -> None:
    """Before its head, within it, after it, or in the body."""

    def silent(file: BinaryIO) -> None:
        file.write(sent)
        server.leaving.wait()

    with (
        BlobHost([silent]) as server,
        pytest.raises(DatasetError, match=r"no byte came for 0\.05 s, which is the limit"),
    ):
        fetch(server, tmp_path, idle_s=0.05, tries=1)


@pytest.mark.parametrize("start", [b"HTTP/1.1 200 OK\r\nX-Long: ", head()], ids=["head", "body"])
def test_a_server_that_sends_a_byte_now_and_then_is_left_when_the_time_is_up(start: bytes, tmp_path: Path) -> None:
    """No single read lasts too long, and all of them together do."""

    def drip(file: BinaryIO) -> None:
        file.write(start)
        while not server.leaving.wait(0.02):
            file.write(b"x")

    says = r"not complete after 0\.3 s, which is the limit for all tries together"
    with BlobHost([drip]) as server, pytest.raises(DatasetError, match=says):
        fetch(server, tmp_path, total_s=0.3)
    assert len(server.heads) == 1


def test_no_try_begins_that_the_time_would_not_allow(tmp_path: Path) -> None:
    """The pause before it counts."""
    with BlobHost([UNAVAILABLE]) as server:
        with pytest.raises(DatasetError, match="the server answered 503"):
            fetch(server, tmp_path, total_s=60.0, first_pause_s=61.0, longest_pause_s=61.0)
        assert len(server.heads) == 1


def test_the_workers_log_has_no_signature_of_a_url(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The library's warnings would have it: here of a head that is malformed."""
    caplog.set_level("INFO", logger="urllib3")
    main([])
    with BlobHost([head("200 OK", "no header at all", "Content-Length: 2") + ROWS, whole(ROWS)]) as server:
        fetch(server, tmp_path)
    assert "SECRET" not in caplog.text
