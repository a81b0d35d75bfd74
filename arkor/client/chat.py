"""Asking a model: the request and its checks, and the answer as it arrives.

Contents that belong to OpenAI's chat completions form (messages, tools, response formats) and to vLLM's structured
outputs travel as they are given, in their own snake_case.

Protocol: docs/protocol.md, "Inference".
"""

from __future__ import annotations

import contextlib
import json
import threading
import weakref
from collections.abc import Generator, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, TypedDict

import requests

from arkor.client.choices import ChatChoice, ChatDelta, TokenLogprob
from arkor.drawing.html import preformatted
from arkor.errors import ArkorError, ConfigError, ConnectionFailed, ServerError, StreamError
from arkor.http.abort import AbortScope
from arkor.http.sse import FrameReader
from arkor.http.translate import translated
from arkor.options import unknown_option
from arkor.protocol import wire
from arkor.protocol.jobs import AdapterRef
from arkor.protocol.json_rules import check_sendable
from arkor.protocol.strict_schemas import strict_fault
from arkor.system.pickling import NotPickled
from arkor.text import printable, short_repr

READ_BYTES = 64 * 1024
IDLE_TIMEOUT_S = 60.0
ANSWER_TIMEOUT_S = 600.0  # without a stream, nothing arrives before the whole answer is made
SMALLEST_SEED, LARGEST_SEED = -(2**63), 2**64 - 1
MAX_CHOICES = 8
MAX_TOP_LOGPROBS, MAX_LOGPROBS = 20, 5  # of a chat, of a completion
CONSTRAINTS = ("json", "regex", "choice", "grammar", "json_object")


class AnswerOptions(TypedDict, total=False):
    """What every question to a model may say; what is not given is not sent.

    Attributes:
        temperature: randomness, at least 0; 0 always takes the likeliest token.
        top_p: the share of probability that is sampled from, above 0, at most 1.
        max_tokens: longest answer in tokens, at least 1.
        seed: the same seed repeats the answer to a question, at any temperature; a whole number from -2**63 to
            2**64 - 1.
        stop: a text, or up to four, each of at most 1,000 characters: the answer ends where one of them would begin.
        n: how many answers are made, 1 to 8; see ``ChatResponse.choices``.
        stream: whether the answer is sent as it is made; True where not given.
        response_format: ``{"type": "json_object"}`` or ``{"type": "json_schema", "json_schema": {"schema": …}}``.
        structured_outputs: exactly one of ``json``, ``regex``, ``choice``, ``grammar``, ``json_object``.
        abort_event: ends the answer at once when set.
        timeout: seconds for the whole answer.
    """

    temperature: float | None
    top_p: float | None
    max_tokens: int | None
    seed: int | None
    stop: str | Sequence[str] | None
    n: int | None
    stream: bool
    response_format: Mapping[str, Any] | None
    structured_outputs: Mapping[str, Any] | None
    abort_event: threading.Event | None
    timeout: float | None


class _Chat(TypedDict):
    messages: Sequence[Mapping[str, Any]]


class ChatOptions(_Chat, AnswerOptions, total=False):
    """What a question to a model may say: ``AnswerOptions``, and these.

    Attributes:
        messages: the conversation in chat completions form, at least one message. The only one that is required.
        tools: functions that the model may call.
        tool_choice: ``auto``, ``none`` (the model sees the tools and calls none), ``required``, or which function.
        logprobs: whether it is told how likely the model found each token of its answer; see ``ChatResponse.logprobs``.
        top_logprobs: how many of the likeliest tokens are told in each place, 0 to 20; needs ``logprobs``.
    """

    tools: Sequence[Mapping[str, Any]] | None
    tool_choice: str | Mapping[str, Any] | None
    logprobs: bool | None
    top_logprobs: int | None


class _Completion(TypedDict):
    prompt: str


class CompletionOptions(_Completion, AnswerOptions, total=False):
    """What a text that a model goes on with may say: ``AnswerOptions``, and these.

    Attributes:
        prompt: the text, without a chat template; the answer goes on where it ends. The only one that is required.
        logprobs: how many of the likeliest tokens are told in each place, 0 to 5, beside the one that stands there; see
            ``ChatResponse.logprobs``.
        echo: whether the prompt stands before the answer, with its tokens if ``logprobs`` is given. Then ``max_tokens``
            may be 0.
    """

    logprobs: int | None
    echo: bool | None


_LOCAL_OPTIONS = frozenset({"abort_event", "timeout"})
_LIKELIHOODS = ("logprobs", "topLogprobs", "echo")  # in wire names

# By the last part of the address: what to call the question, its options, the one that is required, and its noun.
_CALLS: dict[str, tuple[str, Mapping[str, Any], str, str]] = {
    "chat": ("A chat", ChatOptions.__annotations__, "messages", "messages"),
    "completions": ("A completion", CompletionOptions.__annotations__, "prompt", "a prompt"),
}


def question_body(
    call: str, adapter: AdapterRef | None, base_model: str | None, options: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the JSON object of a question to a model: only what was given.

    Args:
        call: ``chat`` or ``completions``.
        adapter: which adapter answers, or None.
        base_model: which model answers without one, or None. Exactly one of the two.
        options: see ``ChatOptions`` and ``CompletionOptions``.

    Raises:
        UnknownOption: there is no such option.
        ConfigError: the request contradicts itself; nothing was sent.
        TypeError: ``messages``, or ``prompt``, is missing.
    """
    what, known, required, noun = _CALLS[call]
    for name in options:
        if name not in known:
            raise unknown_option(what, name, [*known, "adapter", "base_model"])
    if required not in options:
        raise TypeError(f"{what} needs {noun}.")
    if "messages" in options and not options["messages"]:
        raise ConfigError("messages", "must have at least one message")
    if "prompt" in options and not isinstance(options["prompt"], str):
        raise ConfigError("prompt", f"must be a text, not {short_repr(options['prompt'])}")
    if (adapter is None) == (base_model is None):
        raise ConfigError("adapter", "give either an adapter or a base_model")
    check_sendable(options)
    _check_sampling(options, fewest_tokens=0 if options.get("echo") is True else 1)
    _check_likelihoods(call, options)
    check_constraints(options.get("response_format"), options.get("structured_outputs"))
    fields = {
        "adapter": adapter.to_wire() if adapter else None,
        "base_model": base_model,
        "stream": True,
        **{name: value for name, value in options.items() if name not in _LOCAL_OPTIONS},
    }
    return {wire.wire_name(name): value for name, value in fields.items() if value is not None}


def newer_options(body: Mapping[str, Any]) -> list[str]:
    """Return the options of a question, in wire names, that need a backend with the feature ``logprobs``.

    Args:
        body: the question, in wire names.
    """
    asked = [name for name in _LIKELIHOODS if body.get(name) is not None and body[name] is not False]
    return asked if body.get("n") in (None, 1) else [*asked, "n"]


def _check_sampling(options: Mapping[str, Any], fewest_tokens: int) -> None:
    temperature, top_p, max_tokens = (wire.number(options.get(name)) for name in ("temperature", "top_p", "max_tokens"))
    if options.get("temperature") is not None and (temperature is None or not temperature >= 0):
        raise ConfigError("temperature", f"must be a number of at least 0, not {short_repr(options['temperature'])}")
    if options.get("top_p") is not None and (top_p is None or not 0 < top_p <= 1):
        raise ConfigError("top_p", f"must be a number above 0, at most 1, not {short_repr(options['top_p'])}")
    if options.get("max_tokens") is not None and (max_tokens is None or max_tokens < fewest_tokens or max_tokens % 1):
        least, given = fewest_tokens, short_repr(options["max_tokens"])
        raise ConfigError("max_tokens", f"must be a whole number, {least} or more, not {given}")
    _check_seed(options.get("seed"))
    _check_count(options, "n", 1, MAX_CHOICES)


def _check_likelihoods(call: str, options: Mapping[str, Any]) -> None:
    flags = ("logprobs",) if call == "chat" else ("echo",)
    for name in flags:
        if not isinstance(options.get(name), (bool, type(None))):
            raise ConfigError(name, f"must be True or False, not {short_repr(options[name])}")
    if call != "chat":
        _check_count(options, "logprobs", 0, MAX_LOGPROBS)
        return
    _check_count(options, "top_logprobs", 0, MAX_TOP_LOGPROBS)
    if options.get("top_logprobs") and not options.get("logprobs"):
        raise ConfigError("top_logprobs", "needs logprobs=True")


def _check_count(options: Mapping[str, Any], name: str, smallest: int, largest: int) -> None:
    value = options.get(name)
    number = wire.whole_number(value)
    if value is not None and (number is None or not smallest <= number <= largest):
        raise ConfigError(name, f"must be a whole number from {smallest} to {largest}, not {short_repr(value)}")


def _check_seed(seed: Any) -> None:
    is_whole = isinstance(seed, int) and not isinstance(seed, bool)
    if seed is not None and not (is_whole and SMALLEST_SEED <= seed <= LARGEST_SEED):
        raise ConfigError("seed", f"must be a whole number from -2**63 to 2**64 - 1, not {short_repr(seed)}")


def check_constraints(response_format: Mapping[str, Any] | None, structured_outputs: Mapping[str, Any] | None) -> None:
    """Check that an answer is constrained in at most one way, and what a strict schema has to be.

    Raises:
        ConfigError: it is not; the reason says what to change.
    """
    kind = response_format.get("type") if response_format else None
    if structured_outputs is not None:
        given = [name for name in CONSTRAINTS if structured_outputs.get(name) is not None]
        unknown = [name for name in structured_outputs if name not in CONSTRAINTS]
        if unknown:
            raise ConfigError("structured_outputs", f"has no {', '.join(unknown)}; it has {', '.join(CONSTRAINTS)}")
        if len(given) != 1:
            found = ", ".join(given) or "none"
            raise ConfigError("structured_outputs", f"needs exactly one of {', '.join(CONSTRAINTS)}, not {found}")
        if kind in ("json_object", "json_schema"):
            raise ConfigError("structured_outputs", f"cannot be combined with a response_format of type {kind}")
    if kind == "json_schema":
        _check_json_schema(wire.mapping(response_format and response_format.get("json_schema")))


def _check_json_schema(given: Mapping[str, Any]) -> None:
    schema = given.get("schema")
    if not isinstance(schema, Mapping):
        raise ConfigError("response_format", "of type json_schema needs json_schema.schema")
    fault = strict_fault(schema) if given.get("strict") is True else None
    if fault is not None:
        raise ConfigError("response_format", fault)


class ChatResponse(NotPickled):
    """An answer, as it arrives. Iterate it for the text's pieces, or ask for ``text``, which waits for the rest.

    Args:
        response: the open HTTP answer.
        scope: ends reading on an abort or a deadline.
        opened: closed with the answer.

    Attributes:
        response: the raw ``requests.Response``.
        usage: token counts of all answers, as the backend gave them; empty until then.
        system_fingerprint: what computes the answer and in which number type, such as ``llama.cpp-bf16``; None until
            the backend has said it, or where it does not.

    Thread-safety: none; one thread reads. Close it, or use it as a context manager, when it is not read to its end:
    the backend then stops making it.
    """

    _instead = "Pickle its text."

    def __init__(self, response: requests.Response, scope: AbortScope, opened: contextlib.ExitStack) -> None:
        self.response = response
        self.usage: dict[str, Any] = {}
        self.system_fingerprint: str | None = None
        self._scope = scope
        self._first = ChatChoice()
        self._choices = {0: self._first}
        self._deltas = self._read()
        self._close = weakref.finalize(self, opened.close)

    def __enter__(self) -> ChatResponse:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        """Return what has arrived, without waiting for the rest: a debugger asks for it, too."""
        rest = "" if self._first.finish_reason else "…"
        return f"<ChatResponse {self._first.text!r}{rest}>"

    def _repr_html_(self) -> str:
        return preformatted(self._shown())

    def _repr_pretty_(self, printer: Any, _is_cycle: bool) -> None:
        printer.text(self._shown())

    def _shown(self) -> str:
        """Return the whole text for IPython, which shows it at the end of a cell; it is waited for."""
        try:
            return printable(self.text) or "\n".join(json.dumps(call["function"]) for call in self.tool_calls)
        except ArkorError as exc:
            return printable(f"{self._first.text}\n{exc}")

    def __iter__(self) -> Iterator[str]:
        """Yield the pieces of text that were not handed out yet, as they arrive; of several answers, of the first one.

        Raises:
            ConnectionFailed, StreamError: the answer was cut; what was yielded is not all of it.
            ServerError: the backend failed while it made the answer.
            Aborted, WaitTimeout: the abort event was set, or the timeout passed.
        """
        with contextlib.closing(self._deltas):  # as deltas() does if it is left early
            for delta in self._deltas:
                if delta.content and delta.index == 0:
                    yield delta.content

    def deltas(self) -> Iterator[ChatDelta]:
        """Yield the pieces of text and reasoning of all answers that were not handed out yet, as they arrive.

        Raises as iterating does.

        Example::

            for delta in answer.deltas():
                print(delta.reasoning_content or delta.content, end="", flush=True)
        """
        yield from self._deltas

    @property
    def text(self) -> str:
        """The whole text; waits for what has not arrived. Raises as iterating does."""
        return self.choices[0].text

    @property
    def reasoning_content(self) -> str | None:
        """The model's reasoning before its answer, or None; waits and raises as ``text`` does."""
        return self.choices[0].reasoning_content

    @property
    def choices(self) -> list[ChatChoice]:
        """All answers in the order of their indexes, one if ``n`` was not given; waits and raises as ``text`` does."""
        for _ in self._deltas:
            pass
        return [self._choices[index] for index in sorted(self._choices)]

    @property
    def logprobs(self) -> list[TokenLogprob]:
        """The tokens of the text, if they were asked for; waits and raises as ``text`` does."""
        return self.choices[0].logprobs

    @property
    def finish_reason(self) -> str | None:
        """Why the answer ended: ``stop``, ``length`` or ``tool_calls``; None until then."""
        return self._first.finish_reason

    @property
    def tool_calls(self) -> list[dict[str, Any]]:
        """The functions the model called, in chat completions form; complete at the end."""
        return self._first.tool_calls

    def json(self) -> Any:
        """Return the text as the JSON it holds.

        Raises:
            StreamError: it is not JSON; with ``finish_reason`` ``length`` the answer was too long for ``max_tokens``.
        """
        text = self.text
        try:
            return json.loads(text)
        except (ValueError, RecursionError) as exc:
            cut = "; it was cut at max_tokens" if self.finish_reason == "length" else ""
            raise StreamError(f"The answer is not JSON ({exc}){cut}: {text[:200]!r}") from exc

    def close(self) -> None:
        """Stop reading and let the connection go."""
        self._close()

    def _read(self) -> Generator[ChatDelta, None, None]:
        try:
            if "text/event-stream" in self.response.headers.get("Content-Type", ""):
                yield from self._read_stream()
            else:
                yield from self._take(self._whole_body())
        finally:
            self.close()

    def _whole_body(self) -> dict[str, Any]:
        self._scope.limit_reads(ANSWER_TIMEOUT_S)
        with self._scope.noticing_the_end(), translated(self._url):
            self.response.content  # noqa: B018  # reads it
        return wire.json_object(self.response)

    @property
    def _url(self) -> str:
        return self.response.url.partition("?")[0]

    def _read_stream(self) -> Iterator[ChatDelta]:
        """Yield the pieces of a streamed answer; one that ends without its last mark was cut."""
        reader = FrameReader()
        while True:
            self._scope.limit_reads(IDLE_TIMEOUT_S)
            with self._scope.noticing_the_end(), translated(self._url):
                data = self.response.raw.read1(READ_BYTES)
            if not data:
                raise ConnectionFailed("The answer was cut in the middle; what arrived is not all of it.")
            for frame in reader.feed(data):
                if frame.data == "[DONE]":
                    return
                if frame.data:
                    yield from self._take(_chunk(frame.data))

    def _take(self, body: Mapping[str, Any]) -> Iterator[ChatDelta]:
        """Take in a chunk, or a whole body, and yield its text and reasoning."""
        if body.get("error"):
            error = body["error"]
            raise ServerError(500, wire.text(error.get("message") if isinstance(error, Mapping) else error))
        self.usage = wire.mapping(body.get("usage")) or self.usage
        self.system_fingerprint = wire.optional_text(body.get("system_fingerprint")) or self.system_fingerprint
        choices = body.get("choices")
        for choice in map(wire.mapping, choices if isinstance(choices, list) else []):
            index = wire.whole_number(choice.get("index")) or 0
            yield from self._choices.setdefault(index, ChatChoice(index)).take(choice)


def _chunk(data: str) -> Mapping[str, Any]:
    try:
        body = json.loads(data)
    except (ValueError, RecursionError) as exc:
        raise StreamError(f"The answer's stream holds something that is not JSON: {data[:200]!r}") from exc
    return wire.mapping(body)
