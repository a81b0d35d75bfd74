"""One piece of work under way: its process, and the replies to what it asks.

The server sends the task first, as one JSON object on a line. Then it replies to what the process asks, in any order::

    {"reply": n, "answer": {"text", "calls", "finishReason", "madeBy"}}  of an ``ask``; see ``completions.made_by``
    {"reply": n, "scored": {"logprob", "tokens", "engine", "dtype"}}  of a ``score``; see ``inference.pipes``
    {"reply": n, "rendered": [ids]}                              of a ``render``
    {"reply": n, "error": {"status", "message"}}                 of any of them

The process says::

    {"ask": n, "candidate", "request": {…}}                   the fields of a chat, or of a completion with ``prompt``
    {"score": n, "candidate", "ids", "start", "dtype", "top"}  how likely the ids from ``start`` on are
    {"render": n, "candidate", "request": {…}}                the ids of the prompt that the chat would send
    {"progress": [done, total]}
    {"made": {"verdict", "check", "artifact"}}                the end: what was found and made
    {"failure": "text"}                                       the end: why there is nothing

This is between two halves of one program, of one version: it is not checked.
"""

from __future__ import annotations

import contextlib
import json
import logging
import subprocess
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import attrs

from arkor.backend.inference.completions import made_by
from arkor.backend.inference.process import Answer
from arkor.backend.inference.request import ChatRequest, read_completion, read_request
from arkor.backend.inference.service import Inference
from arkor.backend.inference.targets import Target
from arkor.serving.refusal import Refusal
from arkor.system.files import read_end
from arkor.system.processes import module_command, signal_group
from arkor.text import last_lines

AT_ONCE = 24  # replies that are being made, each with a thread
_LOOK_S = 0.5
_TRIES = 3  # to have a question answered, if the chat process dies in the middle of it


log = logging.getLogger("arkor.backend")


@attrs.frozen
class Ended:
    """How a process ended.

    Attributes:
        made: what it says of what it made; None if it made nothing.
        failure: why it made nothing; None if it did, or was stopped.
    """

    made: Mapping[str, Any] | None = None
    failure: str | None = None


class TaskRun:
    """The process that does a piece of work. ``stop`` is thread-safe.

    Args:
        module: the process's module.
        folder: the piece's folder; the process's log goes there.
        inference: answers.
        targets: the models that it may ask, by their names.
    """

    def __init__(self, module: str, folder: Path, inference: Inference, targets: Mapping[str, Target]) -> None:
        self._module = module
        self._folder = folder
        self._inference = inference
        self._targets = targets
        self._writing = threading.Lock()
        self._stopping = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None

    def make(self, task: Mapping[str, Any], progress: Callable[[int, int], object]) -> Ended:
        """Start the process, reply to it, and return how it ended.

        Args:
            task: what it is told.
            progress: called with how much is done so far, and with all of it.

        Raises:
            OSError: the process cannot be started.
        """
        for target in self._targets.values():
            self._inference.prepare(target, self._stopping)
        log_path = self._folder / "process.log"
        with log_path.open("wb") as log_file, ThreadPoolExecutor(AT_ONCE, "replies") as pool:
            process = subprocess.Popen(
                module_command(self._module),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log_file,
                start_new_session=True,
                cwd=self._folder,  # the libraries take a folder there for a name of the hub
            )
            self._process = process
            try:
                if self._stopping.is_set():
                    self.stop()
                self._tell(dict(task))
                said = self._follow(process, pool, progress)
            finally:
                self._stopping.set()  # replies that are being made end
                signal_group(process.pid)
                code = process.wait()
        if said is not None:
            return said
        return Ended(failure=f"Its process ended with exit code {code}.\n{last_lines(read_end(log_path))}".strip())

    def stop(self) -> None:
        """Let it end soon; ``make`` then returns."""
        self._stopping.set()
        if self._process is not None and self._process.poll() is None:
            signal_group(self._process.pid)

    def _follow(
        self, process: subprocess.Popen[bytes], pool: ThreadPoolExecutor, progress: Callable[[int, int], object]
    ) -> Ended | None:
        assert process.stdout is not None  # PIPE
        with process.stdout as lines:
            for line in lines:
                said = json.loads(line)
                if "made" in said:
                    return Ended(made=said["made"])
                if "failure" in said:
                    return Ended(failure=said["failure"])
                if "progress" in said:
                    progress(*said["progress"])
                else:
                    pool.submit(self._reply, said)
        return Ended() if self._stopping.is_set() else None

    def _reply(self, said: Mapping[str, Any]) -> None:
        kind = next(name for name in ("ask", "score", "render") if name in said)
        try:
            reply = self._made(lambda: getattr(self, f"_{kind}")(said))
        except Refusal as exc:
            reply = {"error": {"status": exc.status, "message": exc.error}}
        except Exception as exc:  # the work fails, and says so
            log.exception("A question of %s failed", self._folder.name)
            reply = {"error": {"status": 500, "message": f"{type(exc).__name__}: {exc}"}}
        self._tell({"reply": said[kind], **reply})

    def _made(self, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Make a reply, and again if the chat process died meanwhile: the next question starts another one."""
        for left in reversed(range(_TRIES)):
            try:
                return make()
            except Refusal as exc:
                if exc.status != 503 or not left or self._stopping.is_set():
                    raise
                self._stopping.wait(_LOOK_S)
        raise AssertionError("the last try raises")

    def _ask(self, said: Mapping[str, Any]) -> dict[str, Any]:
        text, calls, fingerprint = "", [], None
        with self._inference.ask(self._targets[said["candidate"]], _request(said), is_background=True) as answer:
            while True:
                event = self._next(answer)
                text += event.get("delta", "")
                calls += event.get("toolCalls", [])
                fingerprint = made_by(event) or fingerprint
                if "done" in event:
                    reason = event["done"]["finishReason"]
                    return {"answer": {"text": text, "calls": calls, "finishReason": reason, "madeBy": fingerprint}}

    def _score(self, said: Mapping[str, Any]) -> dict[str, Any]:
        target = self._targets[said["candidate"]]
        how = {"dtype": said.get("dtype"), "top": said.get("top", 0)}
        with self._inference.score(target, said["ids"], said["start"], **how) as answer:
            while True:
                event = self._next(answer)
                if "scored" in event:
                    return {"scored": event["scored"]}

    def _render(self, said: Mapping[str, Any]) -> dict[str, Any]:
        with self._inference.render(self._targets[said["candidate"]], _request(said)) as answer:
            while True:
                event = self._next(answer)
                if "rendered" in event:
                    return {"rendered": event["rendered"]["ids"]}

    def _next(self, answer: Answer) -> Mapping[str, Any]:
        """Return what the chat process says next.

        Raises:
            Refusal: the question failed, or the work stops.
        """
        while not self._stopping.is_set():
            event = answer.next(_LOOK_S)
            self._inference.balance()
            if event is not None and "error" in event:
                raise Refusal(event["error"]["status"], event["error"]["message"])
            if event is not None:
                return event
        raise Refusal(503, "It stops.")

    def _tell(self, line: Mapping[str, Any]) -> None:
        assert self._process is not None
        assert self._process.stdin is not None  # PIPE
        with self._writing, contextlib.suppress(OSError, ValueError):  # it is gone, and its end says why
            self._process.stdin.write(json.dumps(line).encode() + b"\n")
            self._process.stdin.flush()


def _request(said: Mapping[str, Any]) -> ChatRequest:
    fields = said["request"]
    return read_completion(fields) if "prompt" in fields else read_request(fields)
