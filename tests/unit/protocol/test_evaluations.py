"""The options of an evaluation, and evaluations as they travel."""

from __future__ import annotations

from typing import Any

import pytest

from arkor.errors import ConfigError, UnknownOption
from arkor.protocol.evaluations import CHECK_ONLY, Evaluation, EvaluationOptions, evaluation_to_wire

SOURCE = {"type": "dataset", "id": "0" * 64}
ADAPTER = {"kind": "final", "jobId": "job_1"}


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"limit": 0},
        {"limit": 1000, "scorers": ["exact"], "checkpoints": [1, 20], "maxTokens": 4096},
        {"rows": SOURCE, "against": ADAPTER, "retention": False, "check": False},
    ],
)
def test_options_travel_as_they_were_given(options: dict[str, Any]) -> None:
    """And nothing that was not."""
    assert EvaluationOptions.from_wire(options).to_wire() == options


BAD: dict[str, tuple[Any, ...]] = {
    "limit": (-1, 1001, 1.5, True, "3"),
    "rows": ("rows.jsonl", {}, 3),
    "scorers": ([], "exact", [1], [""], ["x"] * 21),
    "checkpoints": ([0], [1, 1], 5, list(range(1, 10))),
    "against": ("adapter", {}, {"kind": "checkpoint", "jobId": "j"}),
    "maxTokens": (0, 4097),
    "retention": (1, "yes"),
    "check": (1, "yes"),
}


@pytest.mark.parametrize(("field", "value"), [(field, value) for field, values in BAD.items() for value in values])
def test_a_value_out_of_its_range_is_refused(field: str, value: Any) -> None:
    """The error names the option."""
    with pytest.raises(ConfigError) as raised:
        EvaluationOptions.from_wire({field: value})
    assert raised.value.field == {"maxTokens": "max_tokens"}.get(field, field)


def test_a_token_is_refused_and_not_shown() -> None:
    """The backend would keep it."""
    with pytest.raises(ConfigError, match="with a token cannot be kept") as raised:
        EvaluationOptions(rows={"type": "blob", "url": "https://example.com", "token": "secret"})
    assert "secret" not in str(raised.value)


def test_an_unknown_option_is_answered_with_the_nearest() -> None:
    """In Python's spelling."""
    with pytest.raises(UnknownOption, match="did you mean max_tokens"):
        EvaluationOptions.from_wire({"maxToken": 3})
    with pytest.raises(UnknownOption, match="did you mean limit"):
        EvaluationOptions(limits=3)  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        (None, None),
        (False, None),
        (True, {}),
        ({}, {}),
        ({"max_tokens": 3}, {"maxTokens": 3}),
        (EvaluationOptions(limit=3), {"limit": 3}),
    ],
)
def test_a_setting_of_a_job_becomes_options(given: Any, sent: Any) -> None:
    """From what users write."""
    assert evaluation_to_wire(given) == sent


@pytest.mark.parametrize("given", [3, "yes", ["limit"]])
def test_a_setting_that_is_something_else_is_refused(given: Any) -> None:
    """Before anything is sent."""
    with pytest.raises(ConfigError, match="must be True, or a mapping of options"):
        evaluation_to_wire(given)


def test_an_evaluation_travels_whole() -> None:
    """What a newer backend adds is kept; options that are not known stand for the defaults."""
    body = {"id": "eval_1", "jobId": "job_1", "status": "running", "options": {"limit": 3}, "done": 1, "total": 2}
    read = Evaluation.from_wire({**body, "news": 1})
    assert (read.options, read.is_terminal, read.extra) == (EvaluationOptions(limit=3), False, {"news": 1})
    assert body.items() <= read.to_wire().items()
    assert Evaluation.from_wire({"id": "e", "options": {"news": 1}}).options == EvaluationOptions()
    assert CHECK_ONLY.is_check_only
    assert not EvaluationOptions(limit=0).is_check_only
