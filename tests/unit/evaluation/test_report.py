"""Reports: made of answers, sent and read again, and shown."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import attrs
import pytest

from arkor.errors import ArkorError, ConfigError
from arkor.evaluation.building import build_report
from arkor.evaluation.cases import Answered, Case
from arkor.evaluation.parts import LeftOut, RowsAsked, ServedCheck, SharedRow
from arkor.evaluation.report import EvaluationReport
from arkor.evaluation.retention import RetentionQuestion

EVIL = "<script>alert(1)</script>\x1b[2J"
SAME = ServedCheck(rows=8, tokens=80, served=0.41, trained=0.4, dtype="bfloat16", tolerance=0.02, is_same=True)


def case(row: int, base: str, adapter: str) -> Case:
    """Return a row that expects "yes" and two candidates answered."""
    answers = {"base": Answered(text=base, finish_reason="length"), "adapter": Answered(text=adapter)}
    return Case(row=row, messages=[{"role": "user", "content": f"q{row}"}], expected="yes", answers=answers)


def report(wins: int = 10, losses: int = 1, ties: int = 9, **more: Any) -> EvaluationReport:
    """Return the report of some rows."""
    kinds = [("no", "yes")] * wins + [("yes", "no")] * losses + [("yes", "yes")] * ties
    cases = [case(row, *answers) for row, answers in enumerate(kinds, start=1)]
    facts = {"id": "eval_1", "job_id": "job_1", "model": "m", "candidates": ["base", "adapter"], "scorers": ["exact"]}
    rows = RowsAsked(source="rows.jsonl", is_held_out=True, available=30, asked=len(cases))
    return build_report(**{"cases": cases, "rows": rows, **facts, **more})


def test_a_gain_is_said_in_words_first() -> None:
    """With the interval, and the rows won and lost."""
    made = report()
    assert made.verdict.startswith("better: +45 points exactly right, 95 % interval ")
    assert made.is_better
    lines = str(made).splitlines()
    assert lines[0] == made.verdict
    assert lines[1] == "20 of 30 held-out rows of rows.jsonl"
    assert lines[2].startswith("  exactly right  base 50 %  adapter 95 %  +45 (")
    assert lines[2].endswith(") better, 10 up, 1 down")
    assert ([one.row for one in made.wins()], [one.row for one in made.losses()]) == (list(range(1, 11)), [11])


@pytest.mark.parametrize(
    ("wins", "losses", "ties", "says"),
    [
        (0, 10, 10, "worse: -50 points exactly right, 95 % interval -7"),
        (4, 4, 42, "no difference seen on 50 rows: +0 points, 95 % interval "),
        (3, 0, 0, "no difference seen on 3 rows: 3 of them differ"),
        (0, 0, 1, "no difference seen on 1 row: none of them differ"),
    ],
)
def test_the_verdict_in_words(wins: int, losses: int, ties: int, says: str) -> None:
    """Few rows that differ are no verdict."""
    assert report(wins, losses, ties).verdict.startswith(says)


def test_leaked_rows_are_named() -> None:
    """With the rows of the training that are the same."""
    rows = RowsAsked(
        source="rows.jsonl",
        available=9,
        asked=7,
        leaked=[SharedRow(3, 17)],
        same_question=[SharedRow(4, 18)],
        left_out=[LeftOut(5, "is plain text")],
    )
    assert str(rows).splitlines() == [
        "7 of 9 rows of rows.jsonl",
        "  left out, because the job trained on them: row 3 (row 17 of the training)",
        "  asked, though the job trained on the question with another answer: row 4 (row 18 of the training)",
        "  left out: row 5 is plain text",
    ]


def test_it_travels_whole() -> None:
    """To JSON and back, with all its parts; what a newer backend adds is passed over."""
    asked = [(RetentionQuestion("one", "1 + 1?", ["2"], "number"), {"base": Answered(text="2"), "adapter": Answered()})]
    cause = attrs.evolve(SAME, is_same=False, cause="another template")
    made = report(retention_cases=asked, check=cause, scorers=["exact", "labels"], max_tokens=16)
    body = json.loads(json.dumps(made.to_wire()))
    assert EvaluationReport.from_wire(body).to_wire() == made.to_wire()
    newer = {**body, "news": 1, "scores": [{**body["scores"][0], "news": 1}], "rows": {**body["rows"], "asked": "x"}}
    read = EvaluationReport.from_wire(newer)
    assert (read.verdict, read.rows and read.rows.asked) == (made.verdict, 0)
    assert EvaluationReport.from_wire({}).to_wire()["table"] == []


def test_what_was_forgotten_and_what_is_served_is_said() -> None:
    """A line each."""
    answers = {"base": Answered(text="It is Paris."), "adapter": Answered(text="Parish")}
    asked = [(RetentionQuestion(str(number), "Capital?", ["Paris"]), answers) for number in range(10)]
    lines = str(report(retention_cases=asked, check=SAME)).splitlines()
    assert lines[-2].startswith("did it forget? 100 % before, 0 % now: worse: -100 points, 95 % interval -100 to ")
    assert lines[-1] == "served is trained: loss 0.4100 served, 0.4000 trained (80 tokens)"
    other = attrs.evolve(SAME, served=0.9, is_same=False, cause="the template has changed")
    assert str(report(check=other)).splitlines()[-1] == (
        "the served adapter is not the trained one: loss 0.9000 served, 0.4000 trained (80 tokens); "
        "the template has changed"
    )


def test_functions_of_the_user_are_added() -> None:
    """Also in the table; the verdict stays that of the first score."""

    def short(_expected: str, answer: str) -> bool:
        return len(answer) < 3

    made = report()
    more = made.with_scorers(short)
    assert [score.name for score in more.scores] == ["exact_match", "short"]
    assert more.scores[1].values == {"base": 0.5, "adapter": 0.05}
    assert more.table[0].scores["short"] == {"base": 1.0, "adapter": 0.0}
    assert more.verdict == made.verdict
    assert [score.name for score in made.scores] == ["exact_match"]


def test_a_metric_that_a_function_returns_for_some_answers_counts_where_all_have_it() -> None:
    """One that no row has for all candidates is no score."""

    def found(_expected: str, answer: str) -> dict[str, float]:
        return {"said": 1.0, "yes" if answer == "yes" else "no": 1.0}

    more = report(wins=2, losses=0, ties=3).with_scorers(found)
    assert [(score.name, score.values) for score in more.scores[1:]] == [
        ("said", {"base": 1.0, "adapter": 1.0}),
        ("yes", {"base": 1.0, "adapter": 1.0}),
    ]
    assert more.scores[2].comparisons[0].ties == 3
    assert more.to_html()


@pytest.mark.parametrize("functions", [[lambda _e, _a: 1, lambda _e, _a: 0], [lambda _e, _a: {"exact_match": 1}]])
def test_two_scores_of_one_name_are_refused(functions: list[Any]) -> None:
    """Also one that a built-in scorer has."""
    with pytest.raises(ConfigError, match=r"a score of the report is called '.*' already: give the function another"):
        report().with_scorers(*functions)


def test_what_is_better_is_what_was_measured() -> None:
    """Words of the verdict do not count."""
    made = attrs.evolve(report(0, 10, 10), verdict="better: it is not")
    assert not made.is_better
    assert 'class="verdict worse"' in made.to_html()
    assert not attrs.evolve(made, scores=[]).is_better


def test_the_page_shows_answers_as_text_and_needs_nothing_else() -> None:
    """What a model writes is no HTML, and no control character reaches a terminal."""
    cases = [attrs.evolve(case(1, EVIL, "yes"), messages=[{"role": "user", "content": EVIL}])]
    made = report(cases=cases, scorers=["exact", "labels"], check=attrs.evolve(SAME, is_same=False, cause=EVIL))
    page = made.to_html()
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "default-src &#x27;none&#x27;" in page or "default-src 'none'" in page
    assert not any(mark in page for mark in ("http://", "https://", "src="))
    assert "<script" not in made._repr_html_()
    assert "\x1b" not in str(made)


def test_it_says_what_computed_the_answers() -> None:
    """In its lines and on its page; a report of an older backend does not, and what is no text is passed over."""
    made = report(answered_by=["llama.cpp-bf16", "transformers-bfloat16"])
    assert str(made).splitlines()[-1] == "computed by llama.cpp-bf16, transformers-bfloat16"
    assert "computed by llama.cpp-bf16, transformers-bfloat16" in made.to_html()
    assert EvaluationReport.from_wire(made.to_wire()).answered_by == made.answered_by
    assert "computed by" not in str(report())
    assert EvaluationReport.from_wire({**made.to_wire(), "answeredBy": ["a", 3]}).answered_by == ["a"]
    assert EvaluationReport.from_wire({**made.to_wire(), "answeredBy": "a"}).answered_by == []


def test_it_is_saved_as_a_page_or_as_json(tmp_path: Path) -> None:
    """By the ending of the name."""
    made = report()
    assert made.save(tmp_path / "report.html").read_text().startswith("<!doctype html>")
    assert json.loads(made.save(str(tmp_path / "report.json")).read_bytes()) == made.to_wire()
    with pytest.raises(ConfigError, match=r"must end with \.html or \.json"):
        made.save("report.txt")
    (tmp_path / "file").touch()
    with pytest.raises(ArkorError, match="cannot be written"):
        made.save(tmp_path / "file" / "report.json")


def test_a_candidate_that_did_not_answer_is_none() -> None:
    """The error names those that did."""
    with pytest.raises(ConfigError, match="must be one of base, adapter, not 'adaptor'"):
        report().wins("adaptor")


@pytest.mark.parametrize(
    ("match", "answers", "right", "wrong"),
    [
        ("word", ["Paris"], ["Paris", "It is paris.", "PARIS!"], ["Parisian", "London", ""]),
        ("number", ["12"], ["12", "7 + 5 = 12.", "12.0"], ["12 of 13", "twelve", "120"]),
        ("exact", ["yes"], ["Yes.", " yes"], ["yes, they do", "no"]),
    ],
)
def test_an_accepted_answer_is_found_in_words(
    match: str, answers: list[str], right: list[str], wrong: list[str]
) -> None:
    """A part of a word is none."""
    question = RetentionQuestion("id", "?", answers, match)
    assert [text for text in (*right, *wrong) if question.is_right(text)] == right
