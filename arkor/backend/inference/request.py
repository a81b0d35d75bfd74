"""What a client asks of a model, checked before the process that answers is troubled with it.

Protocol: docs/protocol.md, "Inference".
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import attrs

from arkor.backend.inference.constraints import Constraint, read_constraint
from arkor.backend.inference.messages import Message, normalise
from arkor.backend.inference.tools import Tools, read_tools
from arkor.backend.whole_numbers import read_whole_number
from arkor.data.formats import name_list
from arkor.protocol import wire
from arkor.serving.refusal import Refusal

DEFAULT_MAX_TOKENS = 512
MAX_PROMPT_CHARS = 1_000_000
MAX_STOPS = 4  # as OpenAI's API takes
MAX_STOP_CHARS = 1000
MAX_CHOICES = 8  # as many as a batch has rows
MAX_TOP_LOGPROBS = 20  # of a chat, as OpenAI's API takes
MAX_LOGPROBS = 5  # of a completion, as OpenAI's API takes
SMALLEST_SEED, LARGEST_SEED = -(2**63), 2**64 - 1  # what torch.Generator takes

_COMMON_FIELDS = (
    *("temperature", "topP", "maxTokens", "seed", "stream", "streamOptions"),
    *("stop", "responseFormat", "structuredOutputs", "adapter", "baseModel"),
    *("logprobs", "n"),
)
CHAT_FIELDS = frozenset((*_COMMON_FIELDS, "messages", "tools", "toolChoice", "topLogprobs"))
COMPLETION_FIELDS = frozenset((*_COMMON_FIELDS, "prompt", "echo"))
_ALIASES = {"max_completion_tokens": "maxTokens"}
# Of OpenAI's calls: they change nothing in the answer.
_HARMLESS = frozenset(
    (
        *("model", "user", "metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key"),
        "parallel_tool_calls",
    )
)
# Of OpenAI's calls: understood at the value that asks for nothing.
_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "top_logprobs": (0,),
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "logit_bias": ({},),
    "stop": ([], ""),
    "best_of": (1,),
    "echo": (False,),
    "suffix": ("",),
}


@attrs.frozen(kw_only=True)
class ChatRequest:
    """One question to a model.

    The defaults are those of chat completions. So a model answers at temperature 1 where nothing was asked for, which
    makes small models ramble; 0 is greedy, and gives the same answer to the same question. (In company of other
    questions bfloat16 rounds otherwise, and two tokens that are as good as equal may change places, unless there is a
    seed.)

    Attributes:
        messages: the conversation, normalised; empty if there is a prompt.
        prompt: a text to go on with as it is, instead of messages; or None.
        temperature: divides the logits, at least 0; 0 always takes the likeliest token.
        top_p: the share of probability that is sampled from, above 0, at most 1.
        max_tokens: longest answer in tokens, at least 1; the model's context may end it sooner.
        seed: gives the same answer to the same question, also beside other chats, or None.
        stop: texts that end the answer where one of them would begin.
        tools: what the model may call, or None.
        constraint: what the answer is held to, or None.
        logprobs: how many of the likeliest tokens are told at each place, 0 to 20, beside the log-probability of the
            chosen one; None tells nothing.
        n: how many answers are made, 1 to 8.
        echo: whether the prompt stands before the answer; then max_tokens may be 0.
    """

    messages: list[Message] = attrs.field(factory=list)
    prompt: str | None = None
    temperature: float = 1.0
    top_p: float = 1.0
    max_tokens: int = DEFAULT_MAX_TOKENS
    seed: int | None = None
    stop: tuple[str, ...] = ()
    tools: Tools | None = None
    constraint: Constraint | None = None
    logprobs: int | None = None
    n: int = 1
    echo: bool = False

    @property
    def is_constrained(self) -> bool:
        """Whether the answer is held to a form from its first token on, so that the model cannot reason before it."""
        return self.constraint is not None or (self.tools is not None and self.tools.choice == "required")

    def to_line(self) -> dict[str, Any]:
        """Return it as the JSON object that goes to the chat process."""
        return attrs.asdict(self)

    @classmethod
    def from_line(cls, line: Mapping[str, Any]) -> ChatRequest:
        """Take what ``to_line`` gave."""
        tools, constraint = line["tools"], line["constraint"]
        parts = {"tools": tools and Tools(**tools), "constraint": constraint and Constraint(**constraint)}
        return cls(**{**line, **parts, "stop": tuple(line["stop"])})


def spelled(body: Mapping[str, Any], allowed: frozenset[str]) -> dict[str, Any]:
    """Return a request's fields under their wire names; those without a value are left out.

    Args:
        body: the JSON object as it came, in camelCase or in the snake_case of OpenAI's calls.
        allowed: the fields that the call has.

    Raises:
        Refusal: 400, a field is there in both spellings, or asks for something that is not done here.
    """
    fields: dict[str, Any] = {}
    for name, value in body.items():
        known = _ALIASES.get(name) or wire.wire_name(name)
        if value is None or name in _HARMLESS or value in _NEUTRAL.get(name, ()):
            continue
        if known not in allowed:
            raise Refusal(400, f"{name_list([name])}: this backend cannot do that; leave it out.")
        if known in fields:
            raise Refusal(400, f"{name}: is given twice, in two spellings.")
        fields[known] = value
    return fields


def read_request(fields: Mapping[str, Any]) -> ChatRequest:
    """Read a question to a chat.

    Args:
        fields: as ``spelled`` gives them; where the answer comes from and how it is sent are others' business.

    Raises:
        Refusal: 400, it names the field and says what is wrong.
    """
    tools = read_tools(fields.get("tools"), fields.get("toolChoice"))
    constraint = read_constraint(fields.get("responseFormat"), fields.get("structuredOutputs"))
    if tools is not None and tools.choice != "none" and constraint is not None:
        raise Refusal(400, "tools cannot be combined with a constrained answer: leave out one of them.")
    messages = normalise(fields.get("messages"))
    _check_size(messages, tools)
    likelihoods = _logprobs_of_chat(fields)
    return _checked(
        ChatRequest(messages=messages, tools=tools, constraint=constraint, logprobs=likelihoods, **_sampling(fields))
    )


def read_completion(fields: Mapping[str, Any]) -> ChatRequest:
    """Read a text that a model is to go on with.

    Args:
        fields: as ``read_request`` takes them.

    Raises:
        Refusal: 400, it names the field and says what is wrong.
    """
    prompt = fields.get("prompt")
    if not isinstance(prompt, str):
        raise Refusal(400, f"prompt: must be one text, not {prompt!r:.100}.")
    if len(prompt) > MAX_PROMPT_CHARS:
        raise Refusal(400, f"prompt: has {len(prompt)} characters, and at most {MAX_PROMPT_CHARS} are taken.")
    constraint = read_constraint(fields.get("responseFormat"), fields.get("structuredOutputs"))
    likelihoods, echo = _logprobs_of_completion(fields), _flag(fields, "echo")
    sampling = _sampling(fields, fewest_tokens=0 if echo else 1)
    return _checked(ChatRequest(prompt=prompt, constraint=constraint, logprobs=likelihoods, echo=echo, **sampling))


def _logprobs_of_chat(fields: Mapping[str, Any]) -> int | None:
    count = read_whole_number(fields.get("topLogprobs", 0), "topLogprobs", 0, MAX_TOP_LOGPROBS)
    if _flag(fields, "logprobs"):
        return count
    if count:
        raise Refusal(400, "topLogprobs: needs logprobs, with the value true.")
    return None


def _logprobs_of_completion(fields: Mapping[str, Any]) -> int | None:
    count = fields.get("logprobs", False)
    return None if count is False else read_whole_number(count, "logprobs", 0, MAX_LOGPROBS)


def _flag(fields: Mapping[str, Any], name: str) -> bool:
    value = fields.get(name, False)
    if not isinstance(value, bool):
        raise Refusal(400, f"{name}: must be true or false, not {value!r:.100}.")
    return value


def _sampling(fields: Mapping[str, Any], fewest_tokens: int = 1) -> dict[str, Any]:
    return {
        "temperature": _number(fields, "temperature", 1.0, "0 or more", lambda value: value >= 0),
        "top_p": _number(fields, "topP", 1.0, "above 0 and at most 1", lambda value: 0 < value <= 1),
        "max_tokens": read_whole_number(fields.get("maxTokens", DEFAULT_MAX_TOKENS), "maxTokens", fewest_tokens),
        "seed": read_whole_number(fields["seed"], "seed", SMALLEST_SEED, LARGEST_SEED) if "seed" in fields else None,
        "stop": _stops(fields.get("stop", ())),
        "n": read_whole_number(fields.get("n", 1), "n", 1, MAX_CHOICES),
    }


def _stops(given: Any) -> tuple[str, ...]:
    texts = (given,) if isinstance(given, str) else given
    are_texts = isinstance(texts, (list, tuple)) and all(isinstance(text, str) and text for text in texts)
    if not are_texts or len(texts) > MAX_STOPS or any(len(text) > MAX_STOP_CHARS for text in texts):
        raise Refusal(
            400, f"stop: must be a text, or a list of up to {MAX_STOPS}, each with 1 to {MAX_STOP_CHARS} characters."
        )
    return tuple(texts)


def _checked(request: ChatRequest) -> ChatRequest:
    if request.stop and request.is_constrained:
        raise Refusal(400, "stop cannot be combined with a constrained answer, which would no longer hold.")
    return request


def _check_size(messages: list[Message], tools: Tools | None) -> None:
    """Refuse what no model can read: the process that answers would split all of it into tokens first."""
    characters = len(json.dumps([messages, tools and tools.functions], ensure_ascii=False))
    if characters > MAX_PROMPT_CHARS:
        raise Refusal(
            400,
            f"messages: with the tools they have {characters} characters as JSON, and at most {MAX_PROMPT_CHARS} are "
            "taken: shorten them.",
        )


def _number(fields: Mapping[str, Any], name: str, default: float, range_: str, good: Any) -> float:
    value = fields.get(name, default)
    number = wire.number(value)
    if number is None or not math.isfinite(number) or not good(number):
        raise Refusal(400, f"{name}: must be a number, {range_}, not {value!r:.100}.")
    return number
