"""A data set on its way to a backend: streamed, not sent twice, and never anything else than what was checked."""

from __future__ import annotations

import contextlib
import hashlib
import re
import socket
import struct
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from arkor import dataset_from
from arkor.client.uploads import upload
from arkor.data import checked
from arkor.data.checked import CheckedDataset
from arkor.data.datasets import LocalDataset, UploadedDataset, opened
from arkor.errors import (
    Aborted,
    CloudApiError,
    Conflict,
    ConnectionFailed,
    DatasetError,
    PermissionDenied,
    ServerError,
    WaitTimeout,
)
from arkor.http import abort, transport as transport_room
from arkor.http.abort import AbortScope, Deadline
from arkor.http.transport import Transport
from arkor.protocol import progress
from arkor.protocol.jobs import Scope
from tests.support.cloud import Cloud
from tests.support.contract import Answer
from tests.support.eventually import eventually
from tests.support.waiting import Waiting

SCOPE = Scope("org", "project")
WHERE = "/v1/datasets/*"
MISSING = Answer(status=404)
TAKEN = Answer(status=201, body={})


class Receiver:
    """A server that answers every question with 404, and reads only the first bytes of the first bodies.

    Args:
        limits: how many bytes of a body it reads, for each of the first ones; later ones are read to their end.
        then: what it does after that: ``reset`` or ``close`` the connection, or ``stall`` until it is closed.

    Attributes:
        bodies: what arrived of each body.
    """

    def __init__(self, *limits: int, then: str = "reset") -> None:
        self.bodies: list[bytes] = []
        self.stalled = threading.Event()
        self._limits = list(limits)
        self._then = then
        self._over = threading.Event()
        self._connections: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._threads = [threading.Thread(target=self._accept, name="receiver")]
        self._threads[0].start()

    def close(self) -> None:
        """Let go of everybody."""
        self._over.set()
        for one in (self._listener, *self._connections):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(10)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self._connections.append(connection)
                if self._then == "stall":  # else so much would be on its way that the sender notices nothing
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                thread = threading.Thread(target=self._serve, args=(connection,), name="receiver")
                self._threads.append(thread)
                thread.start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            while head := self._head(connection):
                length = int((re.search(rb"(?i)content-length: (\d+)", head) or [b"", b"0"])[1])
                if not head.startswith(b"PUT") or self._takes(connection, length):
                    status = b"201 Created" if head.startswith(b"PUT") else b"404 Not Found"
                    connection.sendall(b"HTTP/1.1 %s\r\nContent-Length: 2\r\n\r\n{}" % status)
                else:
                    return

    def _head(self, connection: socket.socket) -> bytes:
        head = b""
        while not head.endswith(b"\r\n\r\n") and (byte := connection.recv(1)):
            head += byte
        return head

    def _takes(self, connection: socket.socket, length: int) -> bool:
        limit, body = self._limits.pop(0) if self._limits else length, b""
        self.bodies.append(body)
        while len(body) < min(limit, length) and (chunk := connection.recv(min(65536, limit - len(body)))):
            body += chunk
            self.bodies[-1] = body
        if limit < length:
            if self._then == "stall":
                self.stalled.set()
                self._over.wait()
            if self._then == "reset":
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            return False
        return len(body) == length


@pytest.fixture
def receiver() -> Iterator[Callable[..., Receiver]]:
    """Make such a server."""
    made: list[Receiver] = []

    def make(*limits: int, then: str = "reset") -> Receiver:
        made.append(Receiver(*limits, then=then))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every piece be told, a cut upload begin anew at once, and a watcher without work leave soon."""
    monkeypatch.setattr(progress, "PERIOD_S", 0.0)
    monkeypatch.setattr(transport_room, "retry_delay_s", lambda *_: 0.0)
    monkeypatch.setattr(abort, "WATCH_PERIOD_S", 0.1)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file of rows, larger than the buffers on the way."""
    (tmp_path / "rows.jsonl").write_bytes(b"".join(b'{"text": "%06d"}\n' % number for number in range(20_000)))
    return tmp_path / "rows.jsonl"


@pytest.fixture
def rows(file: Path) -> Iterator[CheckedDataset]:
    """Those rows, checked."""
    with opened(LocalDataset(file)) as checked_rows:
        yield checked_rows


def sent_to(url: str, rows: CheckedDataset, on_progress: Any = None) -> UploadedDataset:
    """Upload to a server that asks for no token."""
    transport = Transport(url)
    try:
        return upload(transport, SCOPE, rows, on_progress)
    finally:
        transport.close()


# What is sent


def test_the_bytes_are_sent_as_they_are(cloud: Cloud, known: Transport, file: Path, rows: CheckedDataset) -> None:
    """Under their hash, with their length."""
    cloud.answer("GET", WHERE, MISSING)
    cloud.answer("PUT", WHERE, TAKEN)
    sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
    assert upload(known, SCOPE, rows, None) == UploadedDataset(sha256)
    (put,) = cloud.calls("PUT", WHERE)
    assert put.path == f"/v1/datasets/{sha256}"
    assert put.query == SCOPE.to_query()
    assert put.body == file.read_bytes()
    assert put.headers["content-length"] == str(file.stat().st_size)
    assert "transfer-encoding" not in put.headers


def test_bytes_that_the_backend_has_are_not_sent(cloud: Cloud, known: Transport, rows: CheckedDataset) -> None:
    """It is asked first; there is nothing to tell of."""
    cloud.answer("GET", WHERE, Answer(body={"dataset": {}}))
    told: list[int] = []
    assert upload(known, SCOPE, rows, lambda done, _: told.append(done)) == UploadedDataset(rows.id)
    assert (len(cloud.requests), told) == (1, [])


def test_several_threads_may_send_the_same_rows(cloud: Cloud, known: Transport) -> None:
    """Each sends all of them."""
    rows = dataset_from({"text": str(number)} for number in range(20_000))
    cloud.answer("GET", WHERE, *[MISSING] * 4)
    cloud.answer("PUT", WHERE, *[TAKEN] * 4)
    for waiting in [Waiting(lambda: upload(known, SCOPE, rows, None)) for _ in range(4)]:
        assert waiting.outcome() == UploadedDataset(rows.id)
    assert {put.body for put in cloud.calls("PUT", WHERE)} == {b"".join(rows.chunks())}


def test_memory_stays_flat_however_large_the_rows_are(receiver: Callable[..., Receiver], tmp_path: Path) -> None:
    """They are streamed from the disk."""
    (tmp_path / "rows.jsonl").write_bytes(b'{"text": "%s"}\n' % (b"x" * 9_000) * 2_000)
    peaks: list[int] = []
    with opened(LocalDataset(tmp_path / "rows.jsonl")) as rows:
        tracemalloc.start()
        try:
            with pytest.raises(ConnectionFailed):
                sent_to(receiver(*[1_000] * 3).url, rows, lambda *_: peaks.append(tracemalloc.get_traced_memory()[1]))
        finally:
            tracemalloc.stop()
    assert max(peaks) < 3_000_000


# Progress


def test_progress_is_told_from_some_bytes_to_all_of_them(cloud: Cloud, known: Transport, rows: CheckedDataset) -> None:
    """On the thread that sends, growing."""
    cloud.answer("GET", WHERE, MISSING)
    cloud.answer("PUT", WHERE, TAKEN)
    told: list[tuple[int, int | None, int]] = []
    upload(known, SCOPE, rows, lambda done, total: told.append((done, total, threading.get_ident())))
    size = rows.summary.size_bytes
    assert [done for done, _, _ in told] == [*range(0, size, checked.CHUNK_BYTES), size]
    assert {item[1:] for item in told} == {(size, threading.get_ident())}


def test_progress_is_told_no_more_often_than_people_can_see(
    cloud: Cloud, known: Transport, rows: CheckedDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """But always that all is sent."""
    monkeypatch.setattr(progress, "PERIOD_S", 3_600.0)
    cloud.answer("GET", WHERE, MISSING)
    cloud.answer("PUT", WHERE, TAKEN)
    told: list[int] = []
    upload(known, SCOPE, rows, lambda done, _: told.append(done))
    assert told == [rows.summary.size_bytes]


@pytest.mark.parametrize("error", [ValueError("mine"), BrokenPipeError("mine"), TimeoutError("mine")], ids=repr)
def test_what_the_callback_raises_ends_the_upload(
    receiver: Callable[..., Receiver], rows: CheckedDataset, error: Exception
) -> None:
    """As it is, and at once, even where it looks like a fault of the connection; the backend gets no whole body."""
    server = receiver()

    def fail(done: int, _: int | None) -> None:
        if done > 100_000:
            raise error

    with pytest.raises(type(error), match="mine") as raised:
        sent_to(server.url, rows, fail)
    assert raised.value is error
    eventually(lambda: server.bodies, "the body began")
    assert len(server.bodies) == 1
    assert len(server.bodies[0]) < rows.summary.size_bytes


# Cuts


@pytest.mark.parametrize("then", ["reset", "close"])
def test_an_upload_that_was_cut_begins_anew(
    receiver: Callable[..., Receiver], file: Path, rows: CheckedDataset, then: str
) -> None:
    """From the first byte, and all of it; progress is told anew."""
    server = receiver(100_000, 0, then=then)
    told: list[int] = []
    assert sent_to(server.url, rows, lambda done, _: told.append(done)) == UploadedDataset(rows.id)
    assert server.bodies[-1] == file.read_bytes()
    assert [len(body) for body in server.bodies[:2]] == [100_000, 0]
    assert told.count(0) == 3
    assert told[-1] == rows.summary.size_bytes


def test_an_upload_that_is_cut_again_and_again_is_given_up(
    receiver: Callable[..., Receiver], rows: CheckedDataset
) -> None:
    """After three times."""
    server = receiver(*[1_000] * 5)
    with pytest.raises(ConnectionFailed, match=f"No answer from {server.url}"):
        sent_to(server.url, rows)
    assert len(server.bodies) == 3


def test_a_backend_that_fails_is_asked_again(cloud: Cloud, known: Transport, rows: CheckedDataset) -> None:
    """To send the same bytes twice does no harm."""
    cloud.answer("GET", WHERE, MISSING)
    cloud.answer("PUT", WHERE, Answer(status=503, headers={"Retry-After": "0"}), TAKEN)
    upload(known, SCOPE, rows, None)
    assert len({put.body for put in cloud.calls("PUT", WHERE)}) == 1
    assert len(cloud.calls("PUT", WHERE)) == 2


@pytest.mark.parametrize("error", [Aborted, WaitTimeout])
def test_an_upload_that_hangs_is_broken_off(
    receiver: Callable[..., Receiver], rows: CheckedDataset, error: type[Exception]
) -> None:
    """By the abort event, or when the time is over."""
    server, event = receiver(1_000, then="stall"), threading.Event()
    limits = AbortScope(event, Deadline(0.5 if error is WaitTimeout else None))

    def call() -> UploadedDataset:
        with limits, limits.noticing_the_end(), limits.active():
            return sent_to(server.url, rows)

    waiting = Waiting(call)
    assert server.stalled.wait(10)
    if error is Aborted:
        event.set()
    assert isinstance(waiting.outcome(), error)


def test_a_deadline_is_felt_while_bytes_still_flow(cloud: Cloud, known: Transport, rows: CheckedDataset) -> None:
    """Each piece may be quick, and all of them together too slow."""
    cloud.answer("GET", WHERE, MISSING)
    limits, told = AbortScope(None, Deadline(0.2)), threading.Event()

    def be_slow(_done: int, _total: int | None) -> None:
        told.wait(0.1)

    with pytest.raises(WaitTimeout), limits, limits.noticing_the_end(), limits.active():
        upload(known, SCOPE, rows, be_slow)
    assert all(len(put.body) < rows.summary.size_bytes for put in cloud.calls("PUT", WHERE))


# Changes


def _grow(file: Path) -> None:
    with file.open("ab") as out:
        out.write(b'{"text": "more"}\n')


def _shrink(file: Path) -> None:
    with file.open("r+b") as out:
        out.truncate(file.stat().st_size - 18)


def _edit(file: Path) -> None:
    with file.open("r+b") as out:
        out.seek(-9, 2)
        out.write(b"9")


@pytest.mark.parametrize("change", [_grow, _shrink, _edit])
@pytest.mark.parametrize("when", [0, 130_000])
def test_a_file_that_changes_while_it_is_sent_is_not_taken(
    receiver: Callable[..., Receiver], file: Path, rows: CheckedDataset, change: Callable[[Path], None], when: int
) -> None:
    """Before the first byte or amid: the error says so, and the backend never gets a whole body. It is not retried."""
    server, pending = receiver(), [change]

    def change_it(done: int, _: int | None) -> None:
        if done >= when and pending:
            pending.pop()(file)

    with pytest.raises(DatasetError) as raised:
        sent_to(server.url, rows, change_it)
    assert str(raised.value) == (
        f"{file}: changed while it was being sent, and the backend kept nothing. Start again when it is complete"
    )
    eventually(lambda: server.bodies, "the body began")
    assert len(server.bodies) == 1
    assert len(server.bodies[0]) < rows.summary.size_bytes


def test_a_file_that_is_replaced_while_it_is_sent_does_not_matter(
    cloud: Cloud, known: Transport, file: Path, rows: CheckedDataset
) -> None:
    """The one that was checked is still open, and is sent."""
    content = file.read_bytes()
    (file.parent / "other").write_bytes(b'{"text": "other"}\n')
    (file.parent / "other").replace(file)
    cloud.answer("GET", WHERE, MISSING)
    cloud.answer("PUT", WHERE, TAKEN)
    upload(known, SCOPE, rows, None)
    assert cloud.calls("PUT", WHERE)[0].body == content


def test_a_file_that_cannot_be_read_any_more_is_told_as_such(
    cloud: Cloud, known: Transport, rows: CheckedDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not as a fault of the network, which would be tried again."""
    cloud.answer("GET", WHERE, MISSING)

    class Broken:
        def seek(self, _: int) -> None:
            raise OSError(5, "Input/output error")

    monkeypatch.setattr(rows, "_file", Broken())
    with pytest.raises(DatasetError, match="cannot be read: Input/output error"):
        upload(known, SCOPE, rows, None)


# Refusals


def refused(cloud: Cloud, known: Transport, rows: CheckedDataset, answer: Answer) -> Exception:
    """Return what an upload raises that is answered so."""
    cloud.answer("GET", WHERE, MISSING)
    cloud.answer("PUT", WHERE, answer)
    with pytest.raises((CloudApiError, DatasetError)) as raised:
        upload(known, SCOPE, rows, None)
    assert len(cloud.calls("PUT", WHERE)) == 1
    return raised.value


def test_rows_that_the_backend_refuses_are_listed_as_ours_are(
    cloud: Cloud, known: Transport, file: Path, rows: CheckedDataset
) -> None:
    """A backend of another version may be stricter."""
    said = "The data set: 2 rows cannot be trained on\n  row 3: too long\n  row 7: too short"
    listed = [{"row": 3, "reason": "too long"}, {"row": 7, "reason": "too short"}]
    error = refused(cloud, known, rows, Answer(status=422, body={"error": said, "rows": listed}))
    assert isinstance(error, DatasetError)
    assert error.problems == ((3, "too long"), (7, "too short"))
    assert str(error) == (
        f"{file}: the backend refuses it: The data set: 2 rows cannot be trained on\n"
        "  row 3: too long\n  row 7: too short"
    )


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({"error": "no rows\nat all"}, "no rows\nat all"),
        ({"error": "no rows", "rows": []}, "no rows"),
        ({"error": "odd", "rows": "none"}, "odd"),
        ({"error": "odd", "rows": [3, {"row": "x"}, {"reason": "y"}, {"row": True}]}, "odd"),
        (b"plain", "plain"),
        (b"", "cloud-api 422"),
    ],
)
def test_a_refusal_without_rows_is_told_in_the_backends_words(
    cloud: Cloud, known: Transport, rows: CheckedDataset, body: Any, text: str
) -> None:
    """Whatever form it has."""
    error = refused(cloud, known, rows, Answer(status=422, body=body))
    assert isinstance(error, DatasetError)
    assert (error.message, error.problems) == (f"the backend refuses it: {text}", ())


@pytest.mark.parametrize(("status", "kind"), [(400, CloudApiError), (409, Conflict), (413, CloudApiError)])
def test_a_refusal_of_the_bytes_names_the_file(
    cloud: Cloud, known: Transport, file: Path, rows: CheckedDataset, status: int, kind: type[CloudApiError]
) -> None:
    """With the backend's reason, and its status for a program."""
    error = refused(cloud, known, rows, Answer(status=status, body={"error": "They hash to something else."}))
    assert type(error) is kind
    assert str(error) == f"{file} was not taken: They hash to something else."


@pytest.mark.parametrize(("status", "kind"), [(403, PermissionDenied), (501, ServerError), (507, ServerError)])
def test_other_refusals_stay_as_they_are(
    cloud: Cloud, known: Transport, rows: CheckedDataset, status: int, kind: type[CloudApiError]
) -> None:
    """They are not about the rows."""
    error = refused(cloud, known, rows, Answer(status=status, body={"error": "No."}))
    assert (type(error), str(error)) == (kind, "No.")
