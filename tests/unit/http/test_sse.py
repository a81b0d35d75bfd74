"""Bytes to frames, against the rules of WHATWG HTML's "Server-sent events", however the bytes are cut."""

from __future__ import annotations

import bisect
import itertools
import re
from collections.abc import Iterable, Sequence

import pytest
from hypothesis import given, strategies as st

from arkor.errors import StreamError
from arkor.http import sse
from arkor.http.sse import LONGEST_RETRY_MS, MAX_FRAME_BYTES, Frame, FrameReader
from tests.support.events import frames, long_plan

LINES = [
    b"data: one",
    b"data:two",
    b"data:  three",
    b"data",
    b"data:",
    b"data: a:b",
    b"data: \xc3\xa9\xe2\x80\xa8\xc2\x85",
    b"data: \xff\xc3",
    b"id: 7",
    b"id",
    b"id: a\0b",
    b"id:\0",
    b"event: log",
    b"event:",
    b"retry: 10",
    b"retry: x",
    b"retry:",
    b"retry: 1\xc2\xb2",
    b": comment",
    b":",
    b" data: indented",
    b"Data: other",
    b"\0",
    b"\xef\xbb\xbfdata: marked",
    b"",
    b"",
    b"",
]
STREAMS = st.lists(
    st.tuples(st.sampled_from(LINES), st.sampled_from([b"\n", b"\r", b"\r\n"])).map(b"".join), max_size=24
).map(b"".join)
CUTS = st.lists(st.integers(1, 9), max_size=60) | st.just([1] * 300)


def pieces(data: bytes, sizes: Iterable[int]) -> list[bytes]:
    """Cut bytes into reads of these sizes; the rest is the last one."""
    cuts = [0, *itertools.accumulate(sizes)]
    return [data[start:end] for start, end in zip(cuts, [*cuts[1:], None], strict=True)]


def read(chunks: Sequence[bytes]) -> list[Frame]:
    """Return the frames of one connection."""
    reader = FrameReader()
    return [frame for chunk in chunks for frame in reader.feed(chunk)]


def specified(data: bytes) -> list[Frame]:
    """Return what the specification makes of a stream; blocks without data are frames too, since their ids count."""
    text = data.decode("utf-8", "replace").removeprefix("\ufeff")
    *lines, _unfinished = re.split("\r\n|\r|\n", text)
    frames, block = [], list[str]()
    for line in lines:
        if line:
            block.append(line)
        elif block:
            frames.append(_specified_frame(block))
            block = []
    return frames


def _specified_frame(block: list[str]) -> Frame:
    found_id: str | None = None
    event, data, retry_ms = "", list[str](), None
    for line in block:
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "data":
            data.append(value)
        elif field == "event":
            event = value
        elif field == "id" and "\0" not in value:
            found_id = value
        elif field == "retry" and re.fullmatch("[0-9]+", value):
            retry_ms = int(value)
    return Frame(found_id, event or "message", "\n".join(data), retry_ms)


@given(STREAMS)
def test_frames_are_what_the_specification_says(data: bytes) -> None:
    """Fields, comments, line ends of every kind and mix, NUL, ids alone, what is not UTF-8."""
    assert read([data]) == specified(data)


@given(STREAMS, CUTS)
def test_however_the_bytes_are_cut_the_frames_are_the_same(data: bytes, sizes: list[int]) -> None:
    """A read may end anywhere: in a line end, in a character, in a byte order mark."""
    assert read(pieces(data, sizes)) == read([data])


@given(st.lists(st.binary(max_size=40), max_size=8))
def test_arbitrary_bytes_are_read_without_an_accident(chunks: list[bytes]) -> None:
    """Nothing that a server sends raises anything but StreamError."""
    assert read(chunks) == specified(b"".join(chunks))


@given(STREAMS)
def test_large_frames_are_read_by_the_same_rules(data: bytes) -> None:
    """Frames too large to be parsed together, and those of so many lines that they are parsed in slices."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sse, "_BATCH_BYTES", 8)
        patch.setattr(sse, "_SLICE_LINES", 1)
        assert read([data]) == specified(data)


@given(STREAMS, st.integers(0, 400))
def test_a_frame_that_was_cut_was_never_sent(data: bytes, end: int) -> None:
    """A connection that ends anywhere gives a beginning of the frames, none of them mutilated."""
    cut = read([data[:end]])
    assert cut == specified(data)[: len(cut)] or data[:end].endswith(b"\r")


@pytest.mark.parametrize("newline", [b"\n", b"\r\n", b"\r"], ids=["LF", "CRLF", "CR"])
def test_forty_events_cut_at_every_byte_and_resumed_are_the_forty_events(newline: bytes) -> None:
    """A cut gives exactly the events that were whole before it, and what is sent after the last of them the others."""
    sent = [event.replace(b"\n", newline) for event in frames(long_plan())]
    stream, ends = b"".join(sent), list(itertools.accumulate(map(len, sent)))
    uncut = read([stream])
    resumed = [read([b"".join(sent[number:])]) for number in range(len(sent) + 1)]
    assert len(uncut) == 40
    for cut in range(len(stream) + 1):
        whole = bisect.bisect(ends, cut + len(newline) - 1)  # the CR of a blank line is enough
        before = read([stream[:cut]])
        assert before == uncut[:whole], cut
        assert before + resumed[whole] == uncut, cut


@pytest.mark.parametrize(
    ("data", "frames"),
    [
        (b"id: 1\nevent: training.log\ndata: {}\n\n", [Frame("1", "training.log", "{}", None)]),
        (b"data: a\ndata: b\n\n", [Frame(None, "message", "a\nb", None)]),
        (b"data\n\n", [Frame(None, "message", "", None)]),
        (b"data\ndata\n\n", [Frame(None, "message", "\n", None)]),
        (b"id: 9\n\n", [Frame("9", "message", "", None)]),
        (b"id\n\n", [Frame("", "message", "", None)]),
        (b"id: 1\nid: a\0b\ndata: x\n\n", [Frame("1", "message", "x", None)]),
        (b"\xef\xbb\xbfdata: x\n\n", [Frame(None, "message", "x", None)]),
        (b"retry: 5\nretry: soon\n\n", [Frame(None, "message", "", 5)]),
        (b"data: x\r\n\r\ndata: y\r\rdata: z\n\n", [Frame(None, "message", value, None) for value in "xyz"]),
        (b"data: x\r\n\n", [Frame(None, "message", "x", None)]),
        (b"data: \xff\n\n", [Frame(None, "message", "\ufffd", None)]),
        (b"\n\n\n\ndata: x\n\n\n\n", [Frame(None, "message", "x", None)]),
        (b"data: x\n", []),
        (b"", []),
    ],
)
def test_some_streams_in_full(data: bytes, frames: list[Frame]) -> None:
    """What a reader of this file can check by eye."""
    assert read([data]) == frames
    assert read([data[index : index + 1] for index in range(len(data))]) == frames


def test_a_bad_frame_does_not_spoil_the_next() -> None:
    """What is not UTF-8 is replaced, and reading goes on."""
    frames = read([b"data: \xff\n\ndata: good\n\n", b"data: \xff\n\n", b"data: better\n\n"])
    assert [frame.data for frame in frames] == ["\ufffd", "good", "\ufffd", "better"]


@pytest.mark.parametrize("digits", ["9" * 20, "9" * 400, "9" * 5000])
def test_a_retry_beyond_reason_is_a_day(digits: str) -> None:
    """However many digits it has."""
    (frame,) = read([f"retry: {digits}\n\n".encode()])
    assert frame.retry_ms == LONGEST_RETRY_MS


def test_an_endless_frame_is_an_error_before_much_is_held() -> None:
    """Memory stays bounded by the limit and one read."""
    reader, fed = FrameReader(1000), []

    def endless() -> None:
        for _ in range(100):
            fed.append(64)
            list(reader.feed(b"x" * 64))

    with pytest.raises(StreamError, match="more than 1000 bytes"):
        endless()
    assert sum(fed) <= 1000 + 64


@pytest.mark.parametrize("line", [b"data: x\n", b": comment\n", b"data: x\r\n"])
def test_an_endless_frame_of_short_lines_is_an_error_too(line: bytes) -> None:
    """Whatever it consists of."""
    reader = FrameReader(1000)
    with pytest.raises(StreamError):
        list(itertools.chain.from_iterable(map(reader.feed, [line] * 1000)))


def test_the_limit_is_of_one_frame_not_of_the_stream() -> None:
    """Many frames in one read, each within it, are fine; one of exactly the limit too."""
    reader = FrameReader(20)
    assert len(list(reader.feed(b"data: x\n\n" * 1000))) == 1000
    assert len(list(reader.feed(b"data: " + b"x" * 14 + b"\n\n"))) == 1
    with pytest.raises(StreamError):
        list(reader.feed(b"data: " + b"x" * 15 + b"\n\n"))


def test_a_large_frame_in_small_reads_is_whole() -> None:
    """Up to the default limit."""
    payload = b"x" * (2 * 2**20)
    assert len(payload) < MAX_FRAME_BYTES
    data = b"data: " + payload + b"\n\n"
    (frame,) = read([data[start : start + 500] for start in range(0, len(data), 500)])
    assert frame.data == payload.decode()


@pytest.mark.timeout(20)
def test_a_frame_of_very_many_lines_is_read_in_linear_time() -> None:
    """Which sseclient-py alone would not be done with in minutes."""
    count = 1_000_000
    data = b"id: 1\n" + b"data: 12\n" * count + b"event: log\n\n"
    (frame,) = read([data[start : start + 4096] for start in range(0, len(data), 4096)])
    assert frame == Frame("1", "log", "\n".join(["12"] * count))
