"""What a run has written so far: kept for those who come later, followed by those who are there."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

MOST_KEPT = 1024**2
_LOOK_S = 1.0  # how soon a follower that has left is noticed
_NEAR = 4096  # bytes within which the rest is cut at the end of a line


class Log:
    """The last MiB of a text that grows.

    Thread-safety: safe, for one writer and any number of followers.
    """

    def __init__(self, most_kept: int = MOST_KEPT) -> None:
        self._most_kept = most_kept
        self._changed = threading.Condition()
        self._kept = bytearray()
        self._dropped = 0
        self._ended = False

    def write(self, text: str) -> None:
        """Add a text; after the end it is dropped."""
        with self._changed:
            if not self._ended:
                self._kept += text.encode("utf-8", "replace")
                self._drop(len(self._kept) - self._most_kept)
                self._changed.notify_all()

    def end(self, last_line: str) -> None:
        """Add the last line, on a line of its own."""
        with self._changed:
            begin = "" if not self._kept or self._kept.endswith(b"\n") else "\n"
        self.write(f"{begin}{last_line}\n")
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def follow(self, has_left: Callable[[], bool]) -> Iterator[bytes]:
        """Yield what is kept, then what comes, until the end; each piece is whole UTF-8.

        Args:
            has_left: says whether nobody listens any more; asked about once a second.
        """
        at = 0
        while not has_left():
            with self._changed:
                self._changed.wait_for(lambda at=at: self._ended or self._end > at, _LOOK_S)  # type: ignore[misc]
                piece = bytes(self._kept[max(0, at - self._dropped) :])
                at, ended = self._end, self._ended
            if piece:
                yield piece
            if ended:
                return

    @property
    def _end(self) -> int:
        return self._dropped + len(self._kept)

    def _drop(self, count: int) -> None:
        """Drop bytes from the start: up to the end of a line where one is near, and never a part of a character."""
        if count <= 0:
            return
        line_end = self._kept.find(b"\n", count, count + _NEAR)
        count = line_end + 1 if line_end >= 0 else count
        while count < len(self._kept) and self._kept[count] & 0xC0 == 0x80:
            count += 1
        del self._kept[:count]
        self._dropped += count
