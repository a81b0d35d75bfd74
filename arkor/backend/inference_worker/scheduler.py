"""The one thread that owns the models: takes questions in, and makes all answers a token at a time."""

from __future__ import annotations

import contextlib
import gc
import logging
import queue
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import attrs
import torch

from arkor.backend.inference.request import ChatRequest
from arkor.backend.inference_worker.answering import make_choices, prompt_ids
from arkor.backend.inference_worker.base import Base, Batch
from arkor.backend.inference_worker.choices import Choices
from arkor.backend.inference_worker.llama_engine.base import LlamaBase, file_memory_bytes
from arkor.backend.inference_worker.llama_engine.library import LlamaError
from arkor.backend.inference_worker.rows import Row, Say
from arkor.backend.inference_worker.scoring import Scoring, fault
from arkor.backend.inference_worker.transformers_engine.base import LoadedBase, memory_bytes
from arkor.backend.models.hardware import available_bytes
from arkor.backend.settings import GIB
from arkor.serving.refusal import Refusal
from arkor.text import first_line

log = logging.getLogger("arkor.chat")

_LaneName = tuple[str, str | None, str | None]

MAX_BASES = 2
MAX_BACKGROUND = 16  # answers at the same time that nobody waits for, beside the others


@attrs.frozen
class Gguf:
    """The files with which llama.cpp can answer a question.

    Attributes:
        model: the base model.
        dtype: the number type of its weights.
        adapter: the adapter; None if there is none.
    """

    model: str
    dtype: str
    adapter: str | None = None


@attrs.frozen
class Question:
    """A request that waits for its turn.

    Attributes:
        id: names it between server and process.
        base: the base model's path.
        adapter: the adapter's name and path, or None.
        gguf: what llama.cpp answers it with; None if transformers does.
        request: what is asked; None if tokens are scored.
        template_options: what the chat template is given beside the conversation.
        escape_special_tokens: whether special tokens in messages stay text.
        score: the tokens that are scored, and the first one that counts; or None.
        top: how many of the likeliest tokens in their places are told too, see ``Scoring``.
        renders: whether the prompt is told, instead of answered.
        is_background: whether nobody waits for it, so that all others come first.
        dtype: the number type of the base model; None for the one that it answers best in.
    """

    id: Any
    base: str
    adapter: tuple[str, str] | None
    request: ChatRequest | None
    gguf: Gguf | None = None
    template_options: Mapping[str, Any] = attrs.field(factory=dict)
    escape_special_tokens: bool = False
    score: tuple[Sequence[int], int] | None = None
    top: int = 0
    renders: bool = False
    is_background: bool = False
    dtype: str | None = None

    @property
    def lane(self) -> _LaneName:
        """The base model in its number type, and the file that llama.cpp loads of it."""
        return self.base, self.dtype, None if self.gguf is None else self.gguf.model


@attrs.define
class _Lane:
    """A base model and the answers it is making."""

    base: Base
    batch: Batch
    ids: dict[Any, Choices | Scoring] = attrs.Factory(dict)

    @property
    def adapters(self) -> set[str]:
        """The adapters that are in use."""
        return {item.adapter for item in self.ids.values() if item.adapter is not None}

    def has_room(self, count: int, *, background: bool) -> bool:
        """Whether so many more answers can be made: those that nobody waits for have places of their own."""
        rows = self.batch.rows
        if self.base.max_rows == 1:
            return not rows
        most = MAX_BACKGROUND if background else self.base.max_rows
        return sum(row.is_background == background for row in rows) + count <= most

    def fill(self) -> None:
        """Give the batch the answers that have a place: of a model that makes one at a time, one after the other."""
        for choices in (item for item in self.ids.values() if isinstance(item, Choices)):
            if self.base.max_rows > 1 and choices.unread:
                self.batch.add(*choices.unread)
                choices.unread = []
            elif choices.unread and not self.batch.rows:
                self.batch.add(choices.unread.pop(0))

    def next_scoring(self) -> Scoring | None:
        """Return the first tokens that are not scored yet, or None."""
        return next((item for item in self.ids.values() if isinstance(item, Scoring) and not item.done), None)


class Scheduler:
    """Answers questions. ``ask``, ``cancel``, ``set_threads`` and ``close`` are thread-safe; ``run`` is the one thread.

    Args:
        say: tells the server something; called with fields, from the thread that runs.
        max_bases: how many base models stay loaded.
    """

    def __init__(self, say: Say, max_bases: int = MAX_BASES) -> None:
        self._say = say
        self._max_bases = max_bases
        self._orders: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._waiting: deque[Question] = deque()
        self._lanes: OrderedDict[_LaneName, _Lane] = OrderedDict()  # least recently used first
        self._unusable: set[str] = set()  # files that llama.cpp does not load

    def ask(self, question: Question) -> None:
        """Take a question in; its answer goes to ``say``."""
        self._orders.put(partial(self._take_in, question))

    def cancel(self, question_id: Any) -> None:
        """Stop making an answer; nothing more is said of it."""
        self._orders.put(partial(self._cancel, question_id))

    def set_threads(self, count: int) -> None:
        """Compute with so many threads, at least 1, from the next token on."""
        self._orders.put(partial(torch.set_num_threads, count))

    def close(self) -> None:
        """Let ``run`` return, whatever is under way."""
        self._orders.put(None)

    def run(self) -> None:
        """Answer until closed."""
        while self._obey():
            self._admit()
            self._go_on()

    def _go_on(self) -> None:
        """Make a token of every answer. A method: as a variable of ``run``, a lane would outlast being let go."""
        for lane in list(self._lanes.values()):
            self._turn(lane)

    def _obey(self) -> bool:
        """Do what was ordered meanwhile; wait for an order where there is nothing else to do."""
        busy = bool(self._waiting) or any(lane.ids for lane in self._lanes.values())
        with contextlib.suppress(queue.Empty):
            while True:
                order = self._orders.get(block=not busy)
                if order is None:
                    return False
                order()
                busy = True
        return True

    def _take_in(self, question: Question) -> None:
        self._waiting.append(question)  # those of now: each round makes another list of them

    def _cancel(self, question_id: Any) -> None:
        self._waiting = deque(question for question in self._waiting if question.id != question_id)
        for lane in self._lanes.values():
            item = lane.ids.pop(question_id, None)
            if item is not None:
                item.stop()

    def _admit(self) -> None:
        """Let in whatever there is room for: the background last, otherwise first come, first served for each model."""
        waiting, self._waiting = sorted(self._waiting, key=lambda question: question.is_background), deque()
        full: set[tuple[Any, ...]] = set()
        for question in waiting:
            queue_of = (*question.lane, question.is_background)
            try:
                if queue_of in full or not self._begin(question):
                    full.add(queue_of)
                    self._waiting.append(question)
            except Refusal as exc:
                self._fail(question.id, exc)
            except Exception as exc:  # one question must not end the others
                log.exception("A question failed")
                self._fail(question.id, Refusal(500, f"The model failed: {_first_line(exc)}"))

    def _begin(self, question: Question) -> bool:
        """Begin to answer a question; return whether there was room. What llama.cpp cannot load, transformers does."""
        gguf = question.gguf
        if gguf is None or not self._unusable.isdisjoint({gguf.model, gguf.adapter}):
            return self._begin_with(attrs.evolve(question, gguf=None))
        try:
            return self._begin_with(question)
        except LlamaError as exc:
            is_loaded = question.lane in self._lanes
            self._unusable.add(gguf.adapter if is_loaded and gguf.adapter is not None else gguf.model)
            log.warning("%s is answered by transformers: %s", question.base, exc)
            return self._begin_with(attrs.evolve(question, gguf=None))

    def _begin_with(self, question: Question) -> bool:
        """Begin to answer a question with the engine that it names; return whether there was room."""
        lane = self._lane(question)
        if lane is None:
            return False
        if question.score is not None:
            lane.ids[question.id] = self._scoring(question, *question.score, lane)
            return True
        assert question.request is not None  # nothing is scored
        if question.renders:
            self._say(id=question.id, rendered={"ids": _prompt(question, question.request, lane.base)})
            return True
        if not lane.has_room(question.request.n, background=question.is_background):
            return False
        self._begin_choices(question, question.request, lane)
        return True

    def _begin_choices(self, question: Question, request: ChatRequest, lane: _Lane) -> None:
        prompt = _prompt(question, request, lane.base)
        lane.base.check_length(len(prompt), request.max_tokens)
        say, adapter = partial(self._say, id=question.id), self._adapter(question, lane)
        choices = make_choices(say, request, prompt, lane.base, adapter, is_background=question.is_background)
        lane.ids[question.id] = choices
        try:
            lane.fill()
        except Refusal:
            del lane.ids[question.id]
            raise
        say(accepted={"promptTokens": len(prompt), **lane.base.computed_by})

    def _lane(self, question: Question) -> _Lane | None:
        """Return a base model's lane, loaded where it was not; None while all places are in use."""
        if question.lane not in self._lanes:
            if not self._make_room(_needed_bytes(question)):
                return None
            base = _load(question)
            if question.gguf is not None:
                self._drop_replaced(question.base)
            self._lanes[question.lane] = _Lane(base, base.new_batch())
        self._lanes.move_to_end(question.lane)
        return self._lanes[question.lane]

    def _drop_replaced(self, base: str) -> None:
        """Let go of what answered until llama.cpp could, unless it is still answering."""
        replaced = self._lanes.get((base, None, None))
        if replaced is not None and not replaced.ids:
            del replaced
            self._let_go((base, None, None))

    def _scoring(self, question: Question, ids: Sequence[int], start: int, lane: _Lane) -> Scoring:
        problem = fault(ids, start, lane.base.context)
        if problem is not None:
            raise Refusal(400, f"These tokens cannot be scored: {problem}.")
        say, adapter = partial(self._say, id=question.id), self._adapter(question, lane)
        return Scoring(say, lane.base, adapter, ids, start, top=question.top)

    def _adapter(self, question: Question, lane: _Lane) -> str | None:
        if question.adapter is None:
            return None
        name, path = question.adapter
        if question.gguf is not None and question.gguf.adapter is not None:
            path = question.gguf.adapter
        return lane.base.adapters.load(name, path, lane.adapters)

    def _make_room(self, needed_bytes: int) -> bool:
        """Let go of base models that nobody is using; return whether another one may be loaded now.

        Raises:
            Refusal: 503, it does not fit into the memory there is.
        """
        idle = [name for name, lane in self._lanes.items() if not lane.ids]
        while idle and (len(self._lanes) >= self._max_bases or needed_bytes > available_bytes()):
            self._let_go(idle.pop(0))
        if needed_bytes > available_bytes():
            raise Refusal(
                503,
                f"Not enough memory for this model: it takes about {needed_bytes / GIB:.1f} GiB, and "
                f"{available_bytes() / GIB:.1f} GiB are available.",
            )
        return len(self._lanes) < self._max_bases

    def _let_go(self, name: _LaneName) -> None:
        self._lanes.pop(name).base.close()
        gc.collect()  # the layers of transformers and their hooks refer to each other

    def _turn(self, lane: _Lane) -> None:
        try:
            lane.batch.turn(self._advance)
            lane.fill()
            scoring = lane.next_scoring()
            if scoring is not None:
                scoring.step()
        except Exception as exc:  # out of memory, say: the answers under way are lost, the next ones need not be
            log.exception("The model failed")
            lane.batch.clear()
            for item in (item for item in lane.ids.values() if not item.done):
                item.stop()
                item.say(error={"status": 500, "message": f"The model failed: {_first_line(exc)}"})
        lane.ids = {question_id: item for question_id, item in lane.ids.items() if not item.done}

    def _advance(self, row: Row, logits_V: torch.Tensor) -> None:  # noqa: N803
        if row.done:
            return
        try:
            row.advance(logits_V)
        except Refusal as exc:
            row.done = True
            row.say(error={"status": exc.status, "message": exc.error})

    def _fail(self, question_id: Any, exc: Refusal) -> None:
        self._say(id=question_id, error={"status": exc.status, "message": exc.error})


def _load(question: Question) -> Base:
    """Load a base model with the engine that a question names.

    Raises:
        LlamaError: llama.cpp cannot load it.
        Refusal: 500, transformers cannot load it.
    """
    try:
        if question.gguf is not None:
            return LlamaBase(question.base, question.gguf.model, question.gguf.dtype)
        return LoadedBase(question.base, question.dtype)
    except (OSError, ValueError) as exc:
        log.exception("A model cannot be loaded")
        raise Refusal(500, f"The model {question.base} cannot be loaded: {_first_line(exc)}") from exc


def _needed_bytes(question: Question) -> int:
    if question.gguf is not None:
        return file_memory_bytes(question.gguf.model)
    return memory_bytes(question.base, question.dtype)


def _prompt(question: Question, request: ChatRequest, base: Base) -> list[int]:
    escapes = question.escape_special_tokens
    return prompt_ids(request, base, question.template_options, escape_special_tokens=escapes)


def _first_line(exc: Exception) -> str:
    return first_line(exc)
