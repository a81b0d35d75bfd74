"""What a run has written: kept up to a limit, followed by any number, always whole UTF-8."""

from __future__ import annotations

import itertools
import threading
from concurrent.futures import ThreadPoolExecutor

from hypothesis import example, given, strategies as st

from arkor.studio.log import Log


def _stays() -> bool:
    return False


def _read(log: Log) -> bytes:
    return b"".join(log.follow(_stays))


def test_who_comes_late_reads_all_that_was_written() -> None:
    """The log is whole, and ends with its last line."""
    log = Log()
    log.write("one\n")
    log.write("two\n")
    log.end("[exit 0]")
    assert _read(log) == b"one\ntwo\n[exit 0]\n"


def test_the_last_line_begins_on_a_line_of_its_own() -> None:
    """Also where the text before it did not end its line."""
    log = Log()
    log.write("half a line")
    log.end("[exit 1]")
    assert _read(log) == b"half a line\n[exit 1]\n"


def test_a_follower_gets_each_text_when_it_is_written() -> None:
    """It does not wait for the end."""
    log = Log()
    pieces = log.follow(_stays)
    log.write("one\n")
    assert next(pieces) == b"one\n"
    log.write("two\n")
    assert next(pieces) == b"two\n"
    log.end("[exit 0]")
    assert list(pieces) == [b"[exit 0]\n"]


def test_many_follow_at_once() -> None:
    """Each reads the same, wherever it comes in."""
    log = Log()
    with ThreadPoolExecutor(8) as pool:
        reading = [pool.submit(_read, log) for _ in range(8)]
        for number in range(200):
            log.write(f"line {number}\n")
        log.end("[exit 0]")
        texts = {done.result(10) for done in reading}
    assert texts == {_read(log)}


def test_who_has_left_no_longer_waits() -> None:
    """A follower ends by itself when nobody listens any more."""
    has_left = threading.Event()
    pieces = Log().follow(has_left.is_set)
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(list, pieces)
        has_left.set()
        assert reading.result(10) == []


def test_the_oldest_lines_are_dropped_first() -> None:
    """What is left begins with a whole line, and a follower that fell behind goes on there."""
    log = Log(most_kept=100)
    pieces = log.follow(_stays)
    log.write("the first line\n")
    assert next(pieces) == b"the first line\n"
    for number in range(50):
        log.write(f"line {number:02}\n")
    assert next(pieces).startswith(b"line 38\n")
    log.end("[exit 0]")
    assert _read(log).startswith(b"line 39\n")
    assert len(_read(log)) <= 100


@given(st.lists(st.text(max_size=20), max_size=10), st.integers(min_value=1, max_value=40))
@example(["a\udc80", "b"], 40)
def test_every_piece_is_whole_utf_8(texts: list[str], most_kept: int) -> None:
    """Also where the limit falls into a character, and for text that UTF-8 cannot carry."""
    log = Log(most_kept)
    for text in texts:
        log.write(text)
        if text:
            asked = itertools.count()
            b"".join(log.follow(lambda: next(asked) > 0)).decode()  # noqa: B023
    log.end("end")
    assert len(_read(log).decode().encode()) <= most_kept


def test_what_comes_after_the_end_is_dropped() -> None:
    """Whoever still holds the pipe then is not the run."""
    log = Log()
    log.end("[exit 0]")
    log.write("more")
    assert _read(log) == b"[exit 0]\n"
