"""An evaluation of what a job trained: its options, and how far it is. The report is ``arkor.evaluation.report``.

Protocol: docs/protocol.md, "Evaluations".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from arkor.errors import ConfigError
from arkor.options import known_options, unknown_option
from arkor.protocol import wire
from arkor.protocol.checks import FLAG, Check, whole
from arkor.protocol.jobs import AdapterRef
from arkor.protocol.tasks import JobTask
from arkor.text import short_repr

HELD_OUT = "held_out"
BASE = "base"
ADAPTER = "adapter"
DEFAULT_LIMIT = 50
MOST_ROWS = 1000
MOST_CHECKPOINTS = 8
MOST_TOKENS = 4096
_MOST_SCORERS = 20
_NAME_CHARS = 100


def _are_rows(value: Any) -> bool:
    return value == HELD_OUT or (isinstance(value, Mapping) and isinstance(value.get("type"), str))


def _are_names(value: Any) -> bool:
    names = isinstance(value, Sequence) and not isinstance(value, str) and 0 < len(value) <= _MOST_SCORERS
    return names and all(isinstance(name, str) and 0 < len(name) <= _NAME_CHARS for name in value)


def _are_steps(value: Any) -> bool:
    are_listed = isinstance(value, Sequence) and not isinstance(value, str) and len(value) <= MOST_CHECKPOINTS
    return are_listed and all(whole(1, 10**9).accepts(step) for step in value) and len(set(value)) == len(value)


def _is_against(value: Any) -> bool:
    return value == BASE or AdapterRef.from_wire(value) is not None


@known_options
@attrs.frozen(kw_only=True)
class EvaluationOptions:
    """What an evaluation asks, of whom, and how the answers are scored.

    Args:
        rows: ``held_out``, the rows that the job held out; or a source of rows as a job's ``dataset_source``.
        limit: the most rows that are asked, 0 to 1000, chosen at random but the same ones each time. With 0 only the
            check is made, and the retention questions are asked if you want them.
        scorers: names of scorers; by default those that fit the rows.
        checkpoints: steps of checkpoints that answer too, at most 8.
        against: what the others are compared with: ``base``, the model without an adapter, or an adapter of another
            job with the same model, as ``{"kind": "final", "jobId": …}``.
        max_tokens: longest answer in tokens, 1 to 4096; by default twice the longest expected answer, at least 16.
        retention: whether general questions are asked too, which tell whether the adapter forgot something.
        check: whether the served adapter is checked against the trained one, if the job held rows out.

    Raises:
        ConfigError: a value is out of its range; ``field`` names it.

    Example:
        ``EvaluationOptions(limit=200, scorers=["labels"], checkpoints=[20, 40])``
    """

    rows: str | Mapping[str, Any] = attrs.field(
        default=HELD_OUT, validator=Check(_are_rows, f"'{HELD_OUT}', or a source of rows"), hash=False
    )
    limit: int = attrs.field(default=DEFAULT_LIMIT, validator=whole(0, MOST_ROWS))
    scorers: Sequence[str] | None = attrs.field(
        default=None, validator=Check(_are_names, f"a list of 1 to {_MOST_SCORERS} names of scorers"), hash=False
    )
    checkpoints: Sequence[int] = attrs.field(
        default=(), validator=Check(_are_steps, f"a list of at most {MOST_CHECKPOINTS} different steps"), hash=False
    )
    against: str | Mapping[str, Any] = attrs.field(
        default=BASE, validator=Check(_is_against, f"'{BASE}', or an adapter of a job"), hash=False
    )
    max_tokens: int | None = attrs.field(default=None, validator=whole(1, MOST_TOKENS))
    retention: bool = attrs.field(default=True, validator=FLAG)
    check: bool = attrs.field(default=True, validator=FLAG)

    def __attrs_post_init__(self) -> None:
        if self.source is not None and self.source.get("token") is not None:
            raise ConfigError("rows", "with a token cannot be kept by the backend: download them, and name the file")

    @classmethod
    def from_wire(cls, body: Mapping[str, Any]) -> EvaluationOptions:
        """Read the options that a client sent; null stands for an absent one.

        Raises:
            UnknownOption: there is no such option.
            ConfigError: a value is out of its range.
        """
        arguments = wire.known_fields(cls, body)
        unknown = arguments.pop("extra")
        known = [field.name for field in attrs.fields(cls)]
        for name in unknown:
            raise unknown_option("An evaluation", wire.python_name(name), known)
        return cls(**arguments)

    def to_wire(self) -> dict[str, Any]:
        """Return the JSON object that travels: what differs from the defaults."""
        body = wire.to_wire(self)
        defaults = {wire.wire_name(field.name): field.default for field in attrs.fields(type(self))}
        plain = {name: list(value) if isinstance(value, tuple) else value for name, value in body.items()}
        return {name: value for name, value in plain.items() if value != defaults[name] and value != []}

    @property
    def source(self) -> Mapping[str, Any] | None:
        """The source of the rows; None if they are those that the job held out."""
        return None if isinstance(self.rows, str) else self.rows

    @property
    def is_check_only(self) -> bool:
        """Whether no question is asked."""
        return self.limit == 0 and not self.retention


CHECK_ONLY = EvaluationOptions(limit=0, retention=False)


def evaluation_to_wire(given: Any) -> dict[str, Any] | None:
    """Return the ``evaluation`` of a job's settings as it travels.

    Args:
        given: True, a mapping with the names of ``EvaluationOptions``, or one of these; None or False for none.

    Raises:
        ConfigError: it is something else, or a value is out of its range.
        UnknownOption: there is no such option.
    """
    if given is None or given is False:
        return None
    if isinstance(given, EvaluationOptions):
        return given.to_wire()
    if given is not True and not isinstance(given, Mapping):
        raise ConfigError("evaluation", f"must be True, or a mapping of options, not {short_repr(given)}")
    options = {} if given is True else {wire.wire_name(str(name)): value for name, value in given.items()}
    return EvaluationOptions.from_wire(options).to_wire()


def _options(value: Any) -> EvaluationOptions:
    """Read the options that a backend sends back; those of a newer version stand for the defaults."""
    if isinstance(value, EvaluationOptions):
        return value
    try:
        return EvaluationOptions.from_wire(wire.mapping(value))
    except ConfigError:
        return EvaluationOptions()


@attrs.frozen(kw_only=True)
class Evaluation(JobTask):
    """An evaluation, as the backend describes it; ``JobTask`` has its attributes.

    Attributes:
        options: what was asked for.
    """

    options: EvaluationOptions = attrs.field(factory=EvaluationOptions, converter=_options)
