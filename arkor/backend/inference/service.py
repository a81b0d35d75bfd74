"""Chats: how many at a time, by which process, on how many cores."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from arkor.backend.inference.engines import Engines
from arkor.backend.inference.process import Answer, ChatProcess, ProcessGone
from arkor.backend.inference.request import ChatRequest
from arkor.backend.inference.targets import Target
from arkor.backend.processes.core_sharing import Shares, share
from arkor.backend.settings import Settings
from arkor.serving.refusal import Refusal

_BACKGROUND_IDLE_S = 10.0  # after which the process leaves that no chat has used: a training may want its memory


class Inference:
    """Answers chats with a process of its own, which is started for the first one. Thread-safe.

    Args:
        settings: what it was told.
        engines: chooses who answers.
        places: how many jobs may train at the same time.
        is_training: says whether any job trains now.
        kept_threads: says on how many threads the jobs compute that give no cores away.
    """

    def __init__(
        self,
        settings: Settings,
        engines: Engines,
        places: int,
        is_training: Callable[[], bool],
        kept_threads: Callable[[], int],
    ) -> None:
        self._settings = settings
        self._engines = engines
        self._places = places
        self._is_training = is_training
        self._kept_threads = kept_threads
        self._lock = threading.Lock()
        self._open = self._background = 0
        self._has_chatted = False  # since the process was started
        self._process: ChatProcess | None = None
        self._told_threads: int | None = None
        self._leaving: threading.Timer | None = None
        self._closed = False

    def prepare(self, target: Target, stopping: threading.Event) -> None:
        """Let a model be ready for many questions; see ``Engines.prepare``."""
        self._engines.prepare(target, stopping)

    @contextlib.contextmanager
    def ask(self, target: Target, request: ChatRequest, *, is_background: bool = False) -> Iterator[Answer]:
        """Ask a model; the answer is made until the block is left.

        Args:
            target: the model.
            request: what is asked.
            is_background: whether nobody waits for it: all others come first, and it takes no place of a chat.

        Raises:
            Refusal: 503, as many chats as there may be are being answered, or the backend stops.
            OSError: the process cannot be started.
        """
        with self._open_for({"request": request.to_line()}, target, is_background=is_background) as answer:
            yield answer

    @contextlib.contextmanager
    def render(self, target: Target, request: ChatRequest) -> Iterator[Answer]:
        """Ask for the tokens of the prompt that a question would be sent with; in the background, see ``ask``."""
        with self._open_for({"request": request.to_line(), "renders": True}, target, is_background=True) as answer:
            yield answer

    @contextlib.contextmanager
    def score(
        self,
        target: Target,
        ids: Sequence[int],
        start: int,
        *,
        dtype: str | None = None,
        top: int = 0,
    ) -> Iterator[Answer]:
        """Ask how likely a model finds tokens; in the background, see ``ask``.

        Args:
            target: the model.
            ids: the tokens.
            start: the first one that counts, 1 or more.
            dtype: the number type of the model, ``bfloat16`` or ``float32``; None for the one that it answers in.
            top: how many of the likeliest tokens are told in each place, at least 0.
        """
        score = {"ids": list(ids), "start": start, "top": top}
        asked = {"score": score, "dtype": dtype}
        with self._open_for(asked, target, is_background=True) as answer:
            yield answer

    @contextlib.contextmanager
    def _open_for(self, asked: Mapping[str, Any], target: Target, *, is_background: bool) -> Iterator[Answer]:
        files = None if asked.get("dtype") else self._engines.files(target)
        self._enter(is_background)
        try:
            question = {**target.to_line(), "gguf": files, "isBackground": is_background, "dtype": None, **asked}
            answer = self._ask(question)
            try:
                yield answer
            finally:
                answer.close()
        finally:
            self._leave(is_background)

    def balance(self) -> Shares:
        """Return how the cores are shared now, and tell the chat process its part where that has changed."""
        with self._lock:
            shares = self._shares()
            if self._process is not None and shares.chat != self._told_threads:
                self._told_threads = shares.chat
                self._process.tell({"threads": shares.chat})
            return shares

    def close(self) -> None:
        """End every answer, and the process. Nothing is answered afterwards."""
        with self._lock:
            self._closed = True
            process, self._process = self._process, None
            if self._leaving is not None:
                self._leaving.cancel()
        if process is not None:
            process.close()

    def _shares(self) -> Shares:
        return share(
            *(os.cpu_count() or 1, self._places),
            training=self._is_training(),
            chatting=self._open + self._background > 0,
            kept=self._kept_threads(),
        )

    def _enter(self, is_background: bool) -> None:
        with self._lock:
            if self._closed:
                raise Refusal(503, "The backend is stopping.", headers={"Retry-After": "5"})
            if is_background:
                self._background += 1
            elif self._open < self._settings.chat_cap:
                self._open += 1
                self._has_chatted = True
            else:
                cap = self._settings.chat_cap
                raise Refusal(503, f"All {cap} chats of this backend are taken.", headers={"Retry-After": "1"})
            if self._leaving is not None:
                self._leaving.cancel()
                self._leaving = None

    def _leave(self, is_background: bool) -> None:
        with self._lock:
            self._background -= is_background
            self._open -= not is_background
            if self._open or self._background or self._closed or self._process is None:
                return
            patience_s = self._settings.chat_idle_s if self._has_chatted else _BACKGROUND_IDLE_S
            self._leaving = threading.Timer(min(patience_s, self._settings.chat_idle_s), self._unload)
            self._leaving.daemon = True
            self._leaving.start()

    def _unload(self) -> None:
        """Let the process go: its memory is worth more to others by now."""
        with self._lock:
            if self._open or self._background or self._process is None:
                return
            process, self._process = self._process, None
            self._has_chatted = False
        process.close()

    def _ask(self, question: Mapping[str, Any]) -> Answer:
        while True:
            process = self._running()
            self.balance()
            try:
                return process.ask(question)
            except ProcessGone:
                with self._lock:
                    if self._process is process:
                        self._process = None

    def _running(self) -> ChatProcess:
        with self._lock:
            if self._closed:
                raise Refusal(503, "The backend is stopping.", headers={"Retry-After": "5"})
            if self._process is None:
                self._process = ChatProcess(self._settings.chat_module, self._settings.data / "chat.log", self._engines)
                self._told_threads = None
            return self._process
