"""Asking the server: many questions at a time, and the answers so far, which outlast this process."""

from __future__ import annotations

import itertools
import json
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Protocol

import attrs

from arkor.serving.refusal import Refusal

AT_ONCE = 32


class Say(Protocol):
    """Tells the server something; thread-safe."""

    def __call__(self, **fields: Any) -> None:
        """Say the fields of one line."""


class ServerLine:
    """The server, as the process asks it. ``ask`` is for one thread, ``hear`` for another.

    Args:
        say: sends a line.
    """

    def __init__(self, say: Say) -> None:
        self._say = say
        self._numbers = itertools.count(1)
        self._waiting: dict[int, Future[Mapping[str, Any]]] = {}
        self._lock = threading.Lock()
        self._places = threading.BoundedSemaphore(AT_ONCE)

    def send(self, kind: str, **fields: Any) -> Future[Mapping[str, Any]]:
        """Ask something, once fewer than ``AT_ONCE`` questions are under way.

        Args:
            kind: ``ask``, ``score`` or ``render``.
            fields: the question's others.

        Returns:
            The reply to come: its line; a Refusal, if the server refuses.
        """
        self._places.acquire()
        reply: Future[Mapping[str, Any]] = Future()
        number = next(self._numbers)
        with self._lock:
            self._waiting[number] = reply
        self._say(**{kind: number}, **fields)
        return reply

    def tell(self, **fields: Any) -> None:
        """Say something that needs no reply."""
        self._say(**fields)

    def hear(self, lines: Iterable[Mapping[str, Any]]) -> None:
        """Hand out the replies until the server is gone."""
        for line in lines:
            with self._lock:
                reply = self._waiting.pop(line["reply"])
            self._places.release()
            if "error" in line:
                reply.set_exception(Refusal(line["error"]["status"], line["error"]["message"]))
            else:
                reply.set_result(line)


@attrs.frozen
class Asked:
    """A question to one candidate.

    Attributes:
        key: names it within the evaluation, so that an answer is found again.
        candidate: who is asked.
        request: the fields of a chat, or of a completion.
        size: about how long its prompt is, in characters.
    """

    key: str
    candidate: str
    request: Mapping[str, Any] = attrs.field(hash=False)
    size: int


class KeptAnswers:
    """The answers so far, a line each in a file: an evaluation that is made again does not ask twice.

    Args:
        file: where they are; made if it is missing.

    Raises:
        OSError: the file cannot be read or written.
    """

    def __init__(self, file: Path) -> None:
        file.touch(mode=0o600)
        self.found: dict[str, Mapping[str, Any]] = {}
        text = file.read_bytes()
        whole = text[: text.rfind(b"\n") + 1]  # a kill may have cut the last line
        for line in whole.splitlines():
            kept = json.loads(line)
            self.found[kept["key"]] = kept["reply"]
        if len(whole) < len(text):
            os.truncate(file, len(whole))
        self._file = file.open("ab", buffering=0)

    def keep(self, key: str, reply: Mapping[str, Any]) -> None:
        """Add an answer."""
        self.found[key] = reply
        self._file.write(json.dumps({"key": key, "reply": reply}).encode() + b"\n")

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def ask_all(
    line: ServerLine, asked: Sequence[Asked], kept: KeptAnswers, progress: Callable[[int], object]
) -> dict[str, Mapping[str, Any]]:
    """Ask all questions that have no answer yet, those of like length together.

    Args:
        line: the server.
        asked: the questions.
        kept: the answers so far.
        progress: called with the number of answers that there are, whenever there is one more.

    Returns:
        By their keys, the answers: the line of the reply; or ``{"refused": text}``, if the server refused to ask this.

    Raises:
        Refusal: a status of 500 or more: the model failed, or cannot be had.
        OSError: the disk is full.
    """
    waiting = sorted((one for one in asked if one.key not in kept.found), key=lambda one: (one.size, one.key))
    done = len(asked) - len(waiting)
    progress(done)
    under_way: deque[tuple[Asked, Future[Mapping[str, Any]]]] = deque()

    def take_first() -> None:
        nonlocal done
        one, reply = under_way.popleft()
        kept.keep(one.key, _settled(reply))
        done += 1
        progress(done)

    for one in waiting:
        under_way.append((one, line.send("ask", candidate=one.candidate, request=one.request)))
        while under_way and under_way[0][1].done():
            take_first()
    while under_way:
        take_first()
    return {one.key: kept.found[one.key] for one in asked}


def _settled(reply: Future[Mapping[str, Any]]) -> Mapping[str, Any]:
    try:
        return {"answer": reply.result()["answer"]}
    except Refusal as exc:
        if exc.status >= 500:
            raise
        return {"refused": exc.error}
