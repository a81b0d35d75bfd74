"""What many short waits leave behind: nothing."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from arkor import Aborted, Trainer, WaitTimeout
from tests.support.contract import Recorded
from tests.support.events import frames, long_plan
from tests.support.eventually import eventually
from tests.support.rawserver import FORMS, Connection, RawServer, event_stream
from tests.support.waiting import QUICK, make_trainer

WAITS = 1000
FRAMES = frames(long_plan())
DESCRIPTORS = Path("/proc/self/fd")


def open_files() -> int:
    """Return how many file descriptors this process has."""
    gc.collect()
    return len(list(DESCRIPTORS.iterdir()))


def _never_ending() -> Iterator[Connection]:
    """Yield connections that fall silent: in the head, between events, within one; in every form."""
    while True:
        for form in FORMS:
            whole = event_stream(*FRAMES, form=form)
            for cut in (0, 20, whole.index(FRAMES[0]), whole.index(FRAMES[3]), whole.index(FRAMES[3]) + 20):
                yield Connection(sent=whole[:cut], hold=threading.Event())


@pytest.mark.skipif(not DESCRIPTORS.exists(), reason="needs /proc")
def test_a_thousand_short_waits_leave_no_thread_no_socket_and_no_file() -> None:
    """Half of them are aborted when the backend got their request, half of them time out, before it or after it."""
    connections = _never_ending()
    events: list[threading.Event] = []

    def fall_silent(_: Recorded) -> Connection:
        if events:
            events[-1].set()
        return next(connections)

    with RawServer(long_plan(), events=fall_silent) as server:
        job = make_trainer(server).start()
        files, threads = open_files(), set(threading.enumerate())
        for number in range(WAITS):
            events[:] = [threading.Event()] if number % 2 else []
            trainer = Trainer.attach(job.id, backend=server.url, reconnect=QUICK, abort_event=next(iter(events), None))
            with suppress(Aborted, WaitTimeout):
                trainer.wait(timeout=None if events else number % 6 / 1000)
                pytest.fail("the wait came to an end")
        del trainer
        eventually(lambda: not set(threading.enumerate()) - threads, "every thread has left")
        eventually(lambda: open_files() <= files, "every file is closed")
