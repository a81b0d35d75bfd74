"""Samples: what a model answers to the same prompts, again and again, while it is trained.

Protocol: docs/protocol.md, "The config object": ``samplePrompts``; "The event stream": ``sample.made``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import attrs

from arkor.errors import ConfigError
from arkor.protocol import wire
from arkor.protocol.checks import Check
from arkor.protocol.json_rules import HALF_CHARACTER, json_problem
from arkor.protocol.tables import require_pandas
from arkor.text import many

MOST_PROMPTS = 20
MAX_PROMPTS_CHARS = 20_000  # of all prompts, as JSON
_ROLES = ("system", "developer", "user", "assistant")

Prompt: TypeAlias = "str | Sequence[Mapping[str, Any]]"
"""A text, or messages in chat completions form."""


@attrs.frozen(kw_only=True, slots=False)  # as the events, one of which has the same fields
class Sample:
    """An answer of the model at a step of its training.

    Attributes:
        step: optimizer steps done; 0 is the model that the training starts from.
        sample: which prompt it is, from 0; the same number means the same prompt at every step.
        row: the number of the held-out row that was asked, from 1; None for a prompt of the job's settings.
        prompt: the messages that were asked, or a plain text.
        expected: the row's own answer; None if there is none.
        answer: what the model answered.
        exact: whether the answer is the expected one, but for white space; None if none was expected.
        truncated: whether the answer was cut, because it reached its longest length.

    Example:
        ``Sample(step=20, sample=0, row=3, prompt=[…], expected="At nine.", answer="At nine.", exact=True)``
    """

    step: int = 0
    sample: int = 0
    row: int | None = None
    prompt: Prompt = attrs.field(default="", hash=False)
    expected: str | None = None
    answer: str = ""
    exact: bool | None = None
    truncated: bool = False

    @property
    def question(self) -> str:
        """The last message that was asked, or the plain text."""
        if isinstance(self.prompt, str):
            return self.prompt
        return wire.content_text(self.prompt[-1].get("content")) if self.prompt else ""


SAMPLE_NAMES = tuple(field.name for field in attrs.fields(Sample))


class Samples(list[Sample]):
    """The samples of a job: a list of ``Sample``, ordered by step, then by prompt.

    Args:
        samples: the samples, in any order; of two of the same step and prompt, the later one counts.
    """

    def __init__(self, samples: Iterable[Sample] = ()) -> None:
        found = {(sample.step, sample.sample): sample for sample in samples}
        super().__init__(found[place] for place in sorted(found))

    def at(self, step: int) -> Samples:
        """Return the samples of one step, in the order of the prompts; empty if no prompt was asked at it.

        Args:
            step: optimizer steps done, 0 or more.
        """
        return Samples(sample for sample in self if sample.step == step)

    def __repr__(self) -> str:
        if not self:
            return "<Samples, no entries>"
        prompts = many(len({sample.sample for sample in self}), "prompt")
        return f"<Samples, {many(len(self), 'answer')} to {prompts}, step {self[0].step} to {self[-1].step}>"

    def to_pandas(self) -> Any:
        """Return a pandas DataFrame with a row for each sample.

        Returns:
            A column for each attribute of ``Sample``; ``row`` is a whole number or missing, ``expected`` and ``exact``
            are None where no answer was expected.

        Raises:
            ArkorError: pandas 2 or newer is not installed.
        """
        pandas = require_pandas()
        columns = {name: pandas.Series([getattr(one, name) for one in self], dtype=object) for name in SAMPLE_NAMES}
        types = {"step": "int64", "sample": "int64", "row": "Int64", "truncated": "bool"}
        return pandas.DataFrame(columns).astype(types)


def prompts_problem(value: Any) -> str | None:
    """Return what is wrong with the setting ``sample_prompts``, without a word of the prompts; None if it is good."""
    if isinstance(value, int) and not isinstance(value, bool):
        return None if 1 <= value <= MOST_PROMPTS else f"must be {SAMPLE_PROMPTS.words}, not {value}"
    if not isinstance(value, (list, tuple)):
        return f"must be {SAMPLE_PROMPTS.words}"
    if not 1 <= len(value) <= MOST_PROMPTS:
        return f"must have 1 to {MOST_PROMPTS} prompts, not {len(value)}"
    return _first_problem("prompt", map(_prompt_problem, value)) or _whole_problem(prompts_to_wire(value))


def _whole_problem(prompts: list[Any]) -> str | None:
    if json_problem(prompts) is not None:
        return HALF_CHARACTER
    are_short = len(json.dumps(prompts, ensure_ascii=False)) <= MAX_PROMPTS_CHARS
    return None if are_short else f"must have at most {MAX_PROMPTS_CHARS} characters in all, as JSON"


def prompts_to_wire(value: Any) -> Any:
    """Return the setting as it travels: its sequences as lists, its messages as objects."""
    if not isinstance(value, (list, tuple)):
        return value
    return [_listed(prompt) if isinstance(prompt, (list, tuple)) else prompt for prompt in value]


def _listed(messages: Sequence[Any]) -> list[Any]:
    return [dict(message) if isinstance(message, Mapping) else message for message in messages]


def _first_problem(what: str, problems: Iterable[str | None]) -> str | None:
    return next((f"{what} {number} {problem}" for number, problem in enumerate(problems, 1) if problem), None)


def _prompt_problem(prompt: Any) -> str | None:
    if isinstance(prompt, str):
        return None if prompt.strip() else "is empty"
    if not isinstance(prompt, (list, tuple)) or not prompt:
        return "must be a text, or a list of messages"
    problem = _first_problem("has a message", map(_message_problem, prompt))
    if problem is None and prompt[-1]["role"] == "assistant":
        return "ends with a message of the assistant, and the model is to answer: leave that message out"
    return problem


def _message_problem(message: Any) -> str | None:
    if not isinstance(message, Mapping) or set(message) != {"role", "content"}:
        return 'that is not like {"role": "user", "content": "…"}'
    if message["role"] not in _ROLES:
        return f"whose role is none of {', '.join(_ROLES)}"
    is_text = isinstance(message["content"], str) and message["content"].strip()
    return None if is_text else "whose content is no text, or an empty one"


@attrs.frozen
class _PromptsCheck(Check):
    """Says what is wrong, and repeats nothing of the prompts: they are the user's data."""

    def __call__(self, _: object, field: attrs.Attribute[Any], value: Any) -> None:
        """Check a value."""
        problem = None if value is None else prompts_problem(value)
        if problem is not None:
            raise ConfigError(field.name, problem)


SAMPLE_PROMPTS = _PromptsCheck(
    lambda value: prompts_problem(value) is None,
    f"a whole number of held-out rows, 1 to {MOST_PROMPTS}, or a list of 1 to {MOST_PROMPTS} prompts, each a text or a "
    "list of messages",
)


def sample_of(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of ``Sample`` in an event; a value of another type counts as absent."""
    prompt = body.get("prompt")
    exact = body.get("exact")
    return {
        "step": wire.whole_number(body.get("step")) or 0,
        "sample": wire.whole_number(body.get("sample")) or 0,
        "row": wire.whole_number(body.get("row")),
        "prompt": wire.objects(prompt) if isinstance(prompt, list) else wire.text(prompt),
        "expected": wire.optional_text(body.get("expected")),
        "answer": wire.text(body.get("answer")),
        "exact": exact if isinstance(exact, bool) else None,
        "truncated": body.get("truncated") is True,
    }
