"""What a trainer calls while its job runs, and what each callback is handed.

Protocol: docs/protocol.md, "The event stream".
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import attrs

from arkor.errors import ArkorError, ConfigError
from arkor.options import known_options
from arkor.protocol import wire
from arkor.protocol.events import (
    CheckpointSavedEvent,
    Event,
    SampleMadeEvent,
    TrainingCompletedEvent,
    TrainingFailedEvent,
    TrainingLogEvent,
    TrainingStartedEvent,
)
from arkor.protocol.jobs import AdapterRef, Artifact, TrainingJob
from arkor.protocol.metrics import METRIC_NAMES, LogMetrics
from arkor.protocol.samples import SAMPLE_NAMES, Sample

if TYPE_CHECKING:
    from typing import Unpack  # Python 3.11; the type checker alone reads it

    from arkor.client.chat import ChatOptions, ChatResponse, CompletionOptions

Ask = Callable[..., "ChatResponse"]
"""Asks a model: with ``chat`` or ``complete``, then the arguments of that method of ``CloudApiClient``."""
_LOGGED = ("step", *METRIC_NAMES)


@attrs.frozen
class StartedContext:
    """Handed to ``on_started``: the job, which runs now, and what the backend says it trains on."""

    job: TrainingJob
    metadata: Mapping[str, Any] = attrs.field(factory=dict, hash=False)


@attrs.frozen(slots=False)  # as TrainingLogEvent
class LogContext(LogMetrics):
    """Handed to ``on_log``: the metrics of a line of the log (see ``LogMetrics`` for their units), and the job."""

    job: TrainingJob = attrs.field(kw_only=True)


@attrs.frozen
class CheckpointContext:
    """Handed to ``on_checkpoint``: the step, the adapter saved at it, its files, and a way to ask it."""

    step: int
    adapter: AdapterRef
    artifacts: tuple[Artifact, ...]
    job: TrainingJob
    _ask: Ask | None = attrs.field(default=None, repr=False, eq=False)

    def infer(self, **options: Unpack[ChatOptions]) -> ChatResponse:
        """Ask the half-trained model, while its training goes on.

        While the backend is away the question is asked again, as the trainer's ``reconnect`` says; an answer that is
        cut is not.

        Args:
            options: the question, see ``arkor.client.chat.ChatOptions``.

        Raises:
            As ``CloudApiClient.chat`` does; ReconnectExhausted where the backend stayed away.
        """
        return self._answer("chat", options)

    def complete(self, **options: Unpack[CompletionOptions]) -> ChatResponse:
        """Let the half-trained model go on with a text, without a chat template; otherwise as ``infer``.

        Args:
            options: the text and how to go on, see ``arkor.client.chat.CompletionOptions``.

        Raises:
            As ``CloudApiClient.complete`` does; ReconnectExhausted where the backend stayed away.
        """
        return self._answer("complete", options)

    def _answer(self, call: str, options: Mapping[str, Any]) -> ChatResponse:
        if self._ask is None:
            raise ArkorError(f"This checkpoint was not handed out by a trainer: use CloudApiClient.{call} instead.")
        return self._ask(call, adapter=self.adapter, **options)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle what is known; the connection stays behind."""
        return (CheckpointContext, (self.step, self.adapter, self.artifacts, self.job))

    def __copy__(self) -> CheckpointContext:
        """Return this very context, with its connection."""
        return self

    def __deepcopy__(self, _memo: Mapping[int, Any]) -> CheckpointContext:
        """Return this very context, with its connection."""
        return self


@attrs.frozen(slots=False)  # as SampleMadeEvent
class SampleContext(Sample):
    """Handed to ``on_sample``: an answer of the half-trained model (see ``Sample``), and the job."""

    job: TrainingJob = attrs.field(kw_only=True)


@attrs.frozen
class CompletedContext:
    """Handed to ``on_completed``: the job, its files and its last figures."""

    job: TrainingJob
    artifacts: tuple[Artifact, ...]
    metrics: Mapping[str, Any] = attrs.field(factory=dict, hash=False)


@attrs.frozen
class FailedContext:
    """Handed to ``on_failed``: the job and why it failed."""

    job: TrainingJob
    error: str


@known_options
@attrs.frozen(kw_only=True)
class Callbacks:
    """Functions called by ``Trainer.wait()``, on its thread, one at a time, each with one context.

    An exception from one ends the wait with that exception; the job goes on. What they return does not matter.

    Args:
        on_started: once, when training begins.
        on_log: for each line of the training log.
        on_checkpoint: for each saved checkpoint.
        on_sample: for each answer to a prompt of ``sample_prompts``.
        on_completed: once, when the job completed.
        on_failed: once, when the job failed. A cancelled job calls none.

    Raises:
        ConfigError: one is not callable.
    """

    on_started: Callable[[StartedContext], object] | None = None
    on_log: Callable[[LogContext], object] | None = None
    on_checkpoint: Callable[[CheckpointContext], object] | None = None
    on_sample: Callable[[SampleContext], object] | None = None
    on_completed: Callable[[CompletedContext], object] | None = None
    on_failed: Callable[[FailedContext], object] | None = None

    def __attrs_post_init__(self) -> None:
        """Check that each can be called."""
        for name in callback_names():
            value = getattr(self, name)
            if value is not None and not callable(value):
                raise ConfigError("callbacks", f"{name} must be callable, not {value!r}")
            if inspect.iscoroutinefunction(value):
                raise ConfigError("callbacks", f"{name} is a coroutine function, which nobody would await: use def")

    @classmethod
    def parse(cls, value: Callbacks | Mapping[str, Any] | None) -> Callbacks:
        """Return callbacks as they are, or make them of a mapping with their names (or their wire names)."""
        if value is None:
            return cls()
        if isinstance(value, Callbacks):
            return value
        if not isinstance(value, Mapping):
            raise ConfigError("callbacks", f"must be Callbacks or a mapping, not {value!r}")
        arguments = {wire.python_name(key): function for key, function in value.items()}
        unknown = [name for name in arguments if name not in callback_names()]
        if unknown:
            raise ConfigError("callbacks", f"there is no {', '.join(unknown)}; there are {', '.join(callback_names())}")
        return cls(**arguments)

    def call_for(  # noqa: PLR0911 (one for each callback)
        self, event: Event, job: TrainingJob, artifacts: tuple[Artifact, ...], ask: Ask | None = None
    ) -> tuple[Callable[[Any], object], Any] | None:
        """Return the callback that an event is for and what to hand it, or None where there is none.

        Args:
            event: the event.
            job: the job after it.
            artifacts: what the job has left so far.
            ask: asks a model of the job.
        """
        match event:
            case TrainingLogEvent() if self.on_log:
                return self.on_log, LogContext(**{name: getattr(event, name) for name in _LOGGED}, job=job)
            case TrainingStartedEvent() if self.on_started:
                return self.on_started, StartedContext(job, event.metadata)
            case CheckpointSavedEvent() if self.on_checkpoint:
                adapter = AdapterRef("checkpoint", job.id, event.step)
                return self.on_checkpoint, CheckpointContext(event.step, adapter, event.artifacts, job, ask)
            case SampleMadeEvent() if self.on_sample:
                return self.on_sample, SampleContext(**{name: getattr(event, name) for name in SAMPLE_NAMES}, job=job)
            case TrainingCompletedEvent() if self.on_completed:
                return self.on_completed, CompletedContext(job, artifacts, event.metrics)
            case TrainingFailedEvent() if self.on_failed:
                return self.on_failed, FailedContext(job, job.error or "")
        return None


def callback_names() -> Sequence[str]:
    """Return the names of the callbacks."""
    return [field.name for field in attrs.fields(Callbacks)]
