"""Standard output that outlives its reader: what a command writes to a closed pipe or terminal is dropped."""

from __future__ import annotations

import errno
import io
import os
import stat
from typing import Any, TextIO

_READER_LEFT = frozenset({errno.EPIPE, errno.EIO})  # of a pipe; of a terminal


class _Dropping(io.FileIO):
    """A file that drops what is written after its reader has left. Other processes that share it drop it, too."""

    is_closed_pipe = False

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except OSError as exc:
            if exc.errno not in _READER_LEFT:
                raise
            self.is_closed_pipe = True
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, self.fileno(), inheritable=os.get_inheritable(self.fileno()))
            os.close(null)
            return memoryview(data).nbytes


def outliving(stream: TextIO | None) -> TextIO | None:
    """Return a standard stream that takes no notice of its reader's end: the same one, if it has none.

    Args:
        stream: ``sys.stdout`` or ``sys.stderr``; None if it was closed before Python began.
    """
    if not isinstance(stream, io.TextIOWrapper) or not _has_reader(stream):
        return stream
    stream.flush()
    file = _Dropping(stream.fileno(), "w", closefd=False)
    is_unbuffered = isinstance(stream.buffer, io.RawIOBase)  # as Python makes it for -u
    return io.TextIOWrapper(
        file if is_unbuffered else io.BufferedWriter(file),
        encoding=stream.encoding,
        errors=stream.errors,
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )


def outliving_copy(number: int) -> TextIO:
    """Return a copy of a file descriptor, for ASCII, that takes no notice of its reader's end."""
    return io.TextIOWrapper(io.BufferedWriter(_Dropping(os.dup(number), "w")), encoding="ascii")


def is_closed(stream: TextIO | None) -> bool:
    """Say whether the reader of a stream of ``outliving`` has left, as far as the last write shows."""
    buffer = getattr(stream, "buffer", None)
    file = getattr(buffer, "raw", buffer)
    return isinstance(file, _Dropping) and file.is_closed_pipe


def _has_reader(stream: TextIO) -> bool:
    """Say whether a stream is a pipe, a socket or a terminal."""
    try:
        mode = os.fstat(stream.fileno()).st_mode
        is_terminal = os.isatty(stream.fileno())
    except (OSError, ValueError):  # a stand-in without a file
        return False
    return is_terminal or stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)
