"""What a backend says of rows, as it travels and as people read it."""

from __future__ import annotations

import json

import attrs

from arkor.protocol.previews import (
    Example,
    LengthBucket,
    LongerRows,
    RowLength,
    RowPlace,
    RowPreview,
    Token,
    TokenSummary,
)
from arkor.protocol.receipt import NumberedCount, Receipt

SUMMARY = TokenSummary(
    format="chatml",
    p50=1200,
    p90=1300,
    p99=1400,
    longest=1500,
    longest_rows=(RowLength(3, 1500), RowLength(1, 1400)),
    longer_rows=(LongerRows(1024, 1), LongerRows(2048, 0)),
    histogram=(LengthBucket(1400, 1450, 1), LengthBucket(1450, 1500, 0), LengthBucket(1500, 1550, 1)),
    receipt=Receipt(rows=2, answers=2, tokens=2900, max_length=1500, duplicates=NumberedCount(1, (3,))),
    problem="too few",
)
EXAMPLE = Example(
    (
        Token(5, "<u>", False),
        Token(6, "", False),
        Token(7, "ä\n", False),
        Token(8, "b", True),
        Token(9, "\x1b</a>", True),
    )
)
ROW = RowPreview(
    row=3,
    format="chatml",
    is_held_out=True,
    examples=(EXAMPLE, EXAMPLE),
    max_length=8,
    max_length_reason="set by the job",
    cut_tokens=1,
    left_out=("tools",),
    previous=RowPlace(2, True),
    next=RowPlace(5),
)


def test_a_summary_travels() -> None:
    """As JSON, and back; a reader that does not know a field, or does not get one, goes on."""
    body = json.loads(json.dumps(SUMMARY.to_wire()))
    assert body["longestRows"][0] == {"row": 3, "tokens": 1500}
    assert body["histogram"][0] == {"atLeast": 1400, "below": 1450, "examples": 1}
    assert TokenSummary.from_wire({**body, "new": 1}) == SUMMARY
    assert TokenSummary.from_wire({"longestRows": None, "longerRows": [1], "receipt": []}) == TokenSummary()
    assert "problem" not in attrs.evolve(SUMMARY, problem=None).to_wire()


def test_a_row_travels() -> None:
    """As JSON, and back."""
    body = json.loads(json.dumps(ROW.to_wire()))
    assert body["examples"][0]["tokens"][3] == {"id": 8, "text": "b", "counted": True}
    assert body["previous"] == {"row": 2, "isHeldOut": True}
    assert RowPreview.from_wire({**body, "new": 1}) == ROW
    assert RowPreview.from_wire({"examples": [{"tokens": 1}], "leftOut": 1}) == RowPreview(examples=(Example(),))


def test_a_summary_is_a_few_lines() -> None:
    """In a notebook, too."""
    assert str(SUMMARY).splitlines() == [
        "tokens   p50 1,200, p90 1,300, p99 1,400, longest 1,500",
        "longest  row 3 (1,500), row 1 (1,400)",
        "longer   than 1,024: 1 row; than 2,048: 0 rows",
        "2 rows to train on: 2 answers, 2,900 tokens of which 0 count; max_length 1,500",
        "Warning: 1 row with the messages of an earlier row (row 3)",
        "A job would fail: too few",
    ]
    assert repr(SUMMARY) == str(SUMMARY)


def test_a_row_is_shown_example_by_example() -> None:
    """What counts is between marks; no terminal obeys what a row says."""
    assert str(ROW).splitlines() == [
        "row 3 of chatml, held out: 2 examples",
        "  example 1: 5 tokens, 2 counted",
        "  example 2: 5 tokens, 2 counted",
        "  too long for max_length 8 (set by the job): 1 token left out",
        "  left out by the chat template: tools",
        "",
        "<u>ä",
        "⟦b </a>⟧",
        "",
        "<u>ä",
        "⟦b </a>⟧",
    ]
    assert repr(EXAMPLE) == "<u>ä\n⟦b </a>⟧"
    assert EXAMPLE.parts() == [("<u>ä\n", False), ("b\x1b</a>", True)]
