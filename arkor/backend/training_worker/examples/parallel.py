"""Chunks of rows by several processes, in the order of the rows.

This process tokenises too: it would have nothing else to do, and each further process takes as much memory as the
libraries need.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import connection
from types import TracebackType
from typing import Any

from arkor.backend.training_worker.examples.chunks import Chunk, ChunkEncoder
from arkor.backend.training_worker.rows.spool import SpooledRows, read_row
from arkor.errors import ArkorError, DatasetError

CHUNK_ROWS = 256
LEAST_ROWS = 8 * CHUNK_ROWS  # for a second process
_WAITING = 2  # chunks that wait for each child
_AHEAD = 8  # chunks that are done, for each process, while an earlier one is not

_encoders: list[ChunkEncoder] = []  # of a child


class ChunkPool:
    """Tokenises rows with so many processes, which end with its ``with`` block.

    Args:
        encoders: one for each part of the rows.
        processes: how many, this one included, at least 1.
    """

    def __init__(self, encoders: Sequence[ChunkEncoder], processes: int) -> None:
        self._encoders = encoders
        self._children = processes - 1
        self._pool: ProcessPoolExecutor | None = None
        if self._children:
            self._pool = ProcessPoolExecutor(self._children, _context(), initializer=_begin, initargs=(encoders,))

    def chunks(self, part: int, rows: SpooledRows) -> Iterator[Chunk]:
        """Yield rows as chunks, in their order.

        Args:
            part: which encoder to take.
            rows: the rows.

        Raises:
            DatasetError: a row cannot be tokenised; it is named.
            ArkorError: a process was killed.
        """
        try:
            yield from self._in_order(part, rows)
        except BrokenProcessPool as exc:
            raise ArkorError(
                "A process that tokenizes the rows was killed (often: out of memory). Free memory, or let fewer jobs "
                "run at the same time."
            ) from exc

    def _in_order(self, part: int, rows: SpooledRows) -> Iterator[Chunk]:
        waiting: deque[Future[Chunk]] = deque()
        for raw in _divided(rows.raw()):
            waiting.append(self._begun(part, raw, sum(not one.done() for one in waiting)))
            while waiting and (waiting[0].done() or len(waiting) > _AHEAD * (self._children + 1)):
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()

    def _begun(self, part: int, raw: Sequence[bytes], begun: int) -> Future[Chunk]:
        if self._pool is not None and begun < _WAITING * self._children:
            return self._pool.submit(_encode_in_child, part, raw)
        done: Future[Chunk] = Future()
        try:
            done.set_result(self._encoders[part].encode(map(read_row, raw)))
        except DatasetError as exc:  # an earlier chunk may have another, and the first one counts
            done.set_exception(exc)
        return done

    def __enter__(self) -> ChunkPool:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End the processes; after an error, without waiting for what they do."""
        if self._pool is not None:
            self._pool.shutdown(wait=exc_type is None, cancel_futures=True)


def processes_for(threads: int, rows: int) -> int:
    """Return how many processes are worth it for so many rows, at most one for each thread."""
    return max(1, min(threads, rows // LEAST_ROWS))


def _context() -> Any:
    # A fork takes no time, where another process imports the libraries for many seconds. On a Mac it is not safe.
    return multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")


def _divided(rows: Iterable[bytes]) -> Iterator[list[bytes]]:
    chunk = []
    for row in rows:
        chunk.append(row)
        if len(chunk) == CHUNK_ROWS:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def _begin(encoders: Sequence[ChunkEncoder]) -> None:
    """Set a child up: it ends with its parent, however that ends."""
    _encoders.extend(encoders)
    for number in (signal.SIGTERM, signal.SIGUSR1):  # a fork has the handlers of its parent
        signal.signal(number, signal.SIG_DFL)
    threading.Thread(target=_leave_with_parent, daemon=True).start()


def _leave_with_parent() -> None:
    process = multiprocessing.parent_process()
    if process is not None:
        connection.wait([process.sentinel])
    os._exit(1)


def _encode_in_child(part: int, raw: Sequence[bytes]) -> Chunk:
    return _encoders[part].encode(map(read_row, raw))
