"""The file of general questions: whole, each with answers that its question does not give away."""

from __future__ import annotations

import importlib.resources
import json
import re
from typing import Any

import pytest

FIELDS = {"id", "question", "answers", "match"}
# Their questions have to name the answer: it is read from a sentence, chosen from some, or repeated.
WITH_ANSWER = ("reading-", "choice-", "format-")


def read_lines() -> list[dict[str, Any]]:
    """Return the lines of the file."""
    text = importlib.resources.files("arkor.evaluation").joinpath("retention.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def words(text: str) -> str:
    """Return the words of a text, each with a space on either side."""
    return " ".join(["", *re.findall(r"\w+", text.casefold()), ""])


LINES = read_lines()
by_id = pytest.mark.parametrize("line", LINES, ids=lambda line: line["id"])


def test_there_are_forty_questions_of_different_ids() -> None:
    """No id and no question occurs twice, whatever its case and its punctuation."""
    assert len(LINES) == 40
    assert len({line["id"] for line in LINES}) == 40
    assert len({words(line["question"]) for line in LINES}) == 40


@by_id
def test_a_question_has_four_fields_of_the_right_type(line: dict[str, Any]) -> None:
    """The id is in lower case; no text has white space around it; no accepted answer occurs twice."""
    assert set(line) == FIELDS
    assert re.fullmatch(r"[a-z]+(-[a-z]+)+", line["id"])
    texts = [line["question"], *line["answers"]]
    assert all(isinstance(text, str) and text and text == text.strip() for text in texts)
    assert line["answers"]
    assert len({answer.casefold() for answer in line["answers"]}) == len(line["answers"])


@by_id
def test_the_accepted_answers_are_of_the_kind_that_match_compares(line: dict[str, Any]) -> None:
    """Numbers are in digits; words and exact answers are words, with no mark that the comparison would ignore."""
    assert line["match"] in {"word", "number", "exact"}
    form = r"\d+" if line["match"] == "number" else r"[\w ]*[^\W\d][\w ]*"
    assert all(re.fullmatch(form, answer) for answer in line["answers"])


@by_id
def test_a_question_gives_no_answer_away(line: dict[str, Any]) -> None:
    """One that names its answer, as its id says, is exact: a model that repeats the question is not right."""
    named = any(words(answer) in words(line["question"]) for answer in line["answers"])
    assert named == line["id"].startswith(WITH_ANSWER)
    assert not named or line["match"] == "exact"


def test_each_kind_of_match_is_used() -> None:
    """Numbers, words and exact answers each have at least five questions."""
    kinds = [line["match"] for line in LINES]
    assert all(kinds.count(kind) >= 5 for kind in ("word", "number", "exact"))
