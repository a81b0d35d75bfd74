"""The chat process as the server sees it: started, talked to, and missed when it is gone."""

from __future__ import annotations

import contextlib
import itertools
import json
import logging
import queue
import signal
import subprocess
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from arkor.backend.inference.engines import Engines
from arkor.backend.processes.exit_reasons import describe_chat_exit
from arkor.system.files import read_end, rotate_log
from arkor.system.processes import end, module_command
from arkor.text import last_lines

log = logging.getLogger("arkor.backend")

_FAULTS = frozenset({signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGSEGV})
LAST = frozenset({"done", "error", "rendered", "scored"})
_LEAVE_S = 2.0


class ProcessGone(Exception):
    """The process has ended; another one has to be started."""


class Answer:
    """What the chat process says about one question. One thread reads it, any may close it.

    Args:
        process: who answers.
        number: the question's id.
        files: those with which llama.cpp answers; None if transformers does.

    Attributes:
        files: those with which llama.cpp answers; None if transformers does.
    """

    def __init__(self, process: ChatProcess, number: int, files: Mapping[str, Any] | None) -> None:
        self._process = process
        self._number = number
        self.files = files
        self._events: queue.SimpleQueue[Mapping[str, Any]] = queue.SimpleQueue()

    def put(self, event: Mapping[str, Any]) -> None:
        """Add what was said."""
        self._events.put(event)

    def next(self, timeout_s: float) -> Mapping[str, Any] | None:
        """Return what was said next, see ``arkor.backend.inference.pipes``; None where nothing was in time.

        One with a name of ``LAST`` is the last of it.
        """
        with contextlib.suppress(queue.Empty):
            return self._events.get(timeout=timeout_s)
        return None

    def close(self) -> None:
        """Let the process stop making it, unless it has ended."""
        self._process.forget(self._number)


class ChatProcess:
    """A running ``python -m <module>``. Thread-safe.

    It ends with the server, however that ends: its standard input is closed then.

    Args:
        module: the process's module.
        log_path: where its output goes; what an earlier process left is overwritten.
        engines: told which models have answered, and which were answering when the process failed.

    Raises:
        OSError: it cannot be started.
    """

    def __init__(self, module: str, log_path: Path, engines: Engines) -> None:
        self._log_path = log_path
        self._engines = engines
        self._lock = threading.Lock()
        self._writing = threading.Lock()  # of its own: a pipe may be full for a while
        self._numbers = itertools.count(1)
        self._answers: dict[int, Answer] = {}
        self._gone = self._closing = False
        log_path.touch(mode=0o600)
        log_path.write_bytes(b"")
        with log_path.open("ab") as log_file:  # appending: it goes on in a log that was rotated
            self._process = subprocess.Popen(
                module_command(module),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log_file,
                start_new_session=True,
                cwd=log_path.parent,  # the libraries take a folder there for a name of the hub
            )
        log.info("Chat process %d started", self._process.pid)
        self._reader = threading.Thread(target=self._read, name=f"chat-{self._process.pid}", daemon=True)
        self._reader.start()

    def ask(self, question: Mapping[str, Any]) -> Answer:
        """Ask something.

        Args:
            question: the line of ``arkor.backend.inference.pipes``, without its id.

        Raises:
            ProcessGone: the process has ended.
        """
        with self._lock:
            if self._gone:
                raise ProcessGone
            number = next(self._numbers)
            answer = self._answers[number] = Answer(self, number, question.get("gguf"))
        rotate_log(self._log_path)
        self.tell({"id": number, **question})
        return answer

    def forget(self, number: int) -> None:
        """Stop an answer that nobody waits for any more."""
        with self._lock:
            known = self._answers.pop(number, None)
        if known is not None:
            self.tell({"cancel": number})

    def tell(self, line: Mapping[str, Any]) -> None:
        """Send a line; one that is gone does not hear it, and its reader tells everybody who waits."""
        assert self._process.stdin is not None
        with self._writing, contextlib.suppress(OSError, ValueError):  # broken, or closed
            self._process.stdin.write(json.dumps(line).encode() + b"\n")
            self._process.stdin.flush()

    def close(self) -> None:
        """End the process, and wait until it is gone."""
        assert self._process.stdin is not None
        self._closing = True
        with self._writing, contextlib.suppress(OSError):
            self._process.stdin.close()
        end(self._process, _LEAVE_S)
        self._reader.join()

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                said = json.loads(line)
                with self._lock:
                    is_last = not LAST.isdisjoint(said)
                    answer = self._answers.pop(said["id"], None) if is_last else self._answers.get(said["id"])
                if answer is not None:
                    if answer.files is not None and is_last and "error" not in said:
                        self._engines.answered(answer.files)
                    answer.put(said)
        self._end(self._process.wait())

    def _end(self, code: int) -> None:
        with self._lock:
            self._gone = True
            waiting = list(self._answers.values())
            self._answers.clear()
        log.log(logging.ERROR if waiting else logging.INFO, "Chat process %d ended: %d", self._process.pid, code)
        message = describe_chat_exit(code, last_lines(read_end(self._log_path)))
        if self._closing:
            message = "The backend is stopping; ask again when it is back."
        for files in _distinct(answer.files for answer in waiting) if -code in _FAULTS else ():
            self._engines.crashed(files)
        for answer in waiting:
            answer.put({"error": {"status": 503, "message": message}})


def _distinct(found: Iterable[Mapping[str, Any] | None]) -> list[Mapping[str, Any]]:
    """Return the files of each model once."""
    return list({files["model"]: files for files in found if files is not None}.values())
