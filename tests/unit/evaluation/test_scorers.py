"""Scorers: how right an answer is, and which scorers fit which rows."""

from __future__ import annotations

import json
from typing import Any

import attrs
import pytest

from arkor.errors import ArkorError, ConfigError
from arkor.evaluation.cases import Answered, Case
from arkor.evaluation.comparing import compared, scored
from arkor.evaluation.json_answers import MOST_FIELDS
from arkor.evaluation.labels import OTHER, Labels, confusion, macro_f1
from arkor.evaluation.own_scores import own_scorer
from arkor.evaluation.scorers import SCORERS, find_scorers, named_scorers
from arkor.protocol.config import BEST_BY_ANSWERS


def case(expected: str = "", answer: str = "", row: int = 1, **more: Any) -> Case:
    """Return a row that one candidate answered."""
    return Case(row=row, expected=expected, answers={"base": Answered(text=answer)}, **more)


def scores(scorer: str, expected: str, answer: str) -> dict[str, float]:
    """Return what a scorer says of an answer."""
    return dict(SCORERS[scorer].score(case(expected), Answered(text=answer)))


def call(name: str, arguments: Any) -> dict[str, Any]:
    """Return a call in chat completions form."""
    return {"type": "function", "function": {"name": name, "arguments": arguments}}


@pytest.mark.parametrize(
    ("answer", "is_right"), [("At nine.", 1), (" At\n nine. ", 1), ("at nine.", 0), ("At nine", 0), ("", 0)]
)
def test_exact_passes_over_white_space_alone(answer: str, is_right: int) -> None:
    """Upper and lower case, and a full stop, count."""
    assert scores("exact", "At nine.", answer) == {"exact_match": is_right}


@pytest.mark.parametrize(
    ("answer", "is_right"), [("refund", 1), ('"Refund."', 1), (" REFUND\n", 1), ("a refund", 0), ("", 0)]
)
def test_a_label_is_known_in_any_case_and_in_quotes(answer: str, is_right: int) -> None:
    """More words are another answer."""
    assert scores("labels", "refund", answer) == {"accuracy": is_right}


@pytest.mark.parametrize(
    ("answer", "is_right"),
    [("42", 1), ("It is 42.", 1), ("6 times 7 is 42", 1), ("$42.00", 1), ("42 of 50", 0), ("none", 0), ("-42", 0)],
)
def test_the_last_number_counts(answer: str, is_right: int) -> None:
    """In words around it, and in another form."""
    assert scores("numbers", "42", answer) == {"number_match": is_right}


def test_thousands_and_fractions_are_numbers() -> None:
    """1,200.5 is one number."""
    assert scores("numbers", "1,200.5", "about 1200.50 km") == {"number_match": 1}


@pytest.mark.parametrize(
    ("answer", "fields", "exact", "valid"),
    [
        ('{"a": 1, "b": "x", "c": [1, {"d": true}]}', 1, 1, 1),
        ('```json\n{"a": 1.0, "b": " x ", "c": [1, {"d": true}]}\n```', 1, 1, 1),
        ('{"a": 1, "b": "y", "c": [1, {"d": 1}]}', 1 / 3, 0, 1),
        ('{"a": 1, "b": "x", "c": [1, {"d": true}], "e": 0}', 1, 0, 1),
        ('{"a": 1', 0, 0, 0),
        ("[1]", 0, 0, 0),
    ],
)
def test_json_is_scored_by_its_fields(answer: str, fields: float, exact: int, valid: int) -> None:
    """By value: in any order, numbers in any form, true is not 1; a field too many is not all right."""
    expected = '{"c": [1, {"d": true}], "b": "x", "a": 1}'
    found = scores("json", expected, answer)
    assert {name: found[name] for name in SCORERS["json"].labels} == {
        "json_fields": pytest.approx(fields),
        "json_exact": exact,
        "json_valid": valid,
    }


def test_each_field_of_json_has_a_score() -> None:
    """Those that most rows expect, in their order there; rows without a field do not count for it."""
    rows = [
        Case(row=1, expected='{"kind": "a", "size": 3}'),
        Case(row=2, expected=json.dumps({"kind": "b", **{f"rare {number}": 0 for number in range(20)}})),
        Case(row=3, expected='{"size": 4}'),
    ]
    assert list(SCORERS["json"].labels_for(rows).items())[3:6] == [
        ("json_field.kind", "right kind"),
        ("json_field.size", "right size"),
        ("json_field.rare 0", "right rare 0"),
    ]
    assert len(SCORERS["json"].labels_for(rows)) == 3 + MOST_FIELDS
    answers = {"base": Answered(text="no"), "adapter": Answered(text='{"kind": "a", "size": 4}')}
    cases = scored([attrs.evolve(row, answers=answers) for row in rows], [SCORERS["json"]])
    values = {score.name: score.values for score in compared(cases, SCORERS["json"], ["base", "adapter"])}
    assert values["json_field.kind"] == values["json_field.size"] == {"base": 0, "adapter": 0.5}


def test_every_score_can_make_an_evaluation_the_best() -> None:
    """The settings of a job know the names of the scorers' metrics, which they cannot import."""
    assert sorted(BEST_BY_ANSWERS) == sorted(name for scorer in SCORERS.values() for name in scorer.labels)


def test_calls_are_compared_by_name_and_arguments() -> None:
    """The arguments by value, also as text."""
    row = Case(row=1, expected_calls=[call("add", '{"a": 1, "b": 2}')])
    for calls, exact, name in (
        ([call("add", {"b": 2, "a": 1})], 1, 1),
        ([call("add", {"a": 1})], 0, 1),
        ([call("sub", {"a": 1, "b": 2})], 0, 0),
        ([], 0, 0),
    ):
        found = SCORERS["calls"].score(row, Answered(calls=calls))
        assert found == {"call_exact": exact, "call_name": name}


def test_overlap_is_one_for_the_same_text_and_between_for_a_part() -> None:
    """As sacrebleu and rouge-score compute it."""
    text = "The shop opens at nine every day."
    assert scores("overlap", text, text) == pytest.approx({"chrf": 1, "rouge_l": 1})
    part = scores("overlap", text, "The shop opens at ten.")
    assert 0 < part["chrf"] < 1
    assert part["rouge_l"] == pytest.approx(2 * (4 / 7) * (4 / 5) / (4 / 7 + 4 / 5))
    assert scores("overlap", text, "") == {"chrf": 0, "rouge_l": 0}


@pytest.mark.parametrize(
    ("expected", "names"),
    [
        (["a b", "c d", "e f"], ["exact"]),
        (["refund", "Refund", "delay", "delay", "refund", "delay"], ["labels"]),
        (["1", "2.5", "$3"], ["numbers"]),
        (['{"a": 1}', '{"a": 2}'], ["json"]),
        (["one two three four five six seven eight nine ten"] * 2 + ["short"], ["overlap", "exact"]),
        ([], []),
    ],
)
def test_scorers_are_found_from_the_expected_answers(expected: list[str], names: list[str]) -> None:
    """The main one comes first."""
    assert [one.name for one in find_scorers([case(text) for text in expected])] == names


def test_rows_with_calls_are_scored_by_them() -> None:
    """And their texts, if there are some."""
    calling = case(expected_calls=[call("f", {})])
    assert [one.name for one in find_scorers([calling])] == ["calls"]
    assert [one.name for one in find_scorers([calling, case("text")])] == ["calls", "exact"]


def test_a_scorer_that_does_not_exist_is_answered_with_the_nearest() -> None:
    """Or with all there are."""
    with pytest.raises(ConfigError, match=r"there is no scorer 'lables'; did you mean labels\?"):
        named_scorers(["exact", "lables"])
    with pytest.raises(ConfigError, match="there are exact, labels, json, numbers, overlap, calls"):
        named_scorers(["bleu"])
    assert [one.name for one in named_scorers(["json", "exact", "json"])] == ["json", "exact"]


def test_f1_is_the_mean_over_the_expected_labels() -> None:
    """An answer that is no label costs recall alone."""
    pairs = [("a", "a"), ("a", "b"), ("b", "b"), ("b", OTHER)]
    assert macro_f1(pairs) == pytest.approx((2 * 1 / (2 + 1) + 2 * 1 / (2 + 2)) / 2)
    assert confusion(pairs) == {"a": {"a": 1, "b": 1}, "b": {"b": 1, OTHER: 1}}


def test_labels_show_which_is_taken_for_which() -> None:
    """Under their own spelling."""
    cases = [case("Refund", "refund", 1), case("Delay", "refund.", 2), case("Delay", "who knows", 3)]
    assert Labels().details(cases, ["base"]) == {
        "confusion": {"base": {"Delay": {OTHER: 1, "Refund": 1}, "Refund": {"Refund": 1}}}
    }


def test_a_function_of_the_user_scores() -> None:
    """A number, a truth value, or several by name."""

    def several(expected: str, answer: str) -> dict[str, Any]:
        return {"same": expected == answer, "half": 0.5}

    assert own_scorer(several).score(case("a"), Answered(text="a")) == {"same": 1.0, "half": 0.5}
    assert own_scorer(lambda expected, answer: expected in answer).score(case("a"), Answered(text="ba")) == {
        "<lambda>": 1.0
    }


@pytest.mark.parametrize(
    ("value", "says"),
    [(2, "Scorer bad returned 2 for row 9: it must be from 0 to 1"), ("1", "returned '1'"), (None, "returned None")],
)
def test_a_function_that_returns_something_else_is_an_error_with_the_row(value: Any, says: str) -> None:
    """Bad input changes nothing."""

    def bad(_expected: str, _answer: str) -> Any:
        return value

    with pytest.raises(ArkorError, match=says):
        own_scorer(bad).score(case("a", row=9), Answered())


def test_a_function_that_raises_is_an_error_with_the_row() -> None:
    """And with its own error as the cause."""

    def bad(_expected: str, _answer: str) -> Any:
        raise KeyError("x")

    with pytest.raises(ArkorError, match=r"Scorer bad failed on row 4: KeyError: 'x'") as raised:
        own_scorer(bad).score(case("a", row=4), Answered())
    assert isinstance(raised.value.__cause__, KeyError)
