"""CSV: which columns make which rows, and what is told of records that are none."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import logging
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from arkor.data.conversion import Converter
from arkor.data.csv_rows import read_csv
from arkor.errors import DatasetError

MESSAGES = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]


def found(content: str | bytes, suffix: str = ".csv") -> list[tuple[int, Mapping[str, Any] | None, str | None]]:
    """Read a file of this content to its end."""
    raw: Any = io.BytesIO(content if isinstance(content, bytes) else content.encode())
    file = io.BufferedReader(raw)
    rows = list(read_csv(file, suffix, Converter("rows.csv", None)))
    assert not file.closed
    return rows


def problem(content: str | bytes, suffix: str = ".csv") -> tuple[int, str]:
    """Return the one problem of the first line."""
    with pytest.raises(
        DatasetError, match=r"rows\.csv: (the first line cannot be used|its columns fit no format)"
    ) as raised:
        found(content, suffix)
    (one,) = raised.value.problems
    return one


def written(*records: list[str], **form: Any) -> str:
    """Return records as CSV."""
    out = io.StringIO(newline="")
    csv.writer(out, **form).writerows(records)
    return out.getvalue()


@pytest.mark.parametrize(
    ("content", "row"),
    [
        (written(["prompt", "completion"], ["a", "b"]), {"prompt": "a", "completion": "b"}),
        (written(["completion", "prompt"], ["b", "a"]), {"prompt": "a", "completion": "b"}),
        (
            written(["instruction", "input", "output"], ["a", "b", "c"]),
            {"instruction": "a", "input": "b", "output": "c"},
        ),
        (written(["instruction", "input", "output"], ["a", " ", "c"]), {"instruction": "a", "output": "c"}),
        (written(["instruction", "output"], ["a", "c"]), {"instruction": "a", "output": "c"}),
        (written(["text"], ['größer, "so"\nja']), {"text": 'größer, "so"\nja'}),
        (written(["messages"], [json.dumps(MESSAGES)]), {"messages": MESSAGES}),
        (written(["messages", "tools"], [json.dumps(MESSAGES), ""]), {"messages": MESSAGES}),
        (written(["messages", "tools"], [json.dumps(MESSAGES), "[1]"]), {"messages": MESSAGES, "tools": [1]}),
        ("\ufeff" + written([" text "], ["a"]), {"text": "a"}),
        (written(["text"], ["a"], lineterminator="\n"), {"text": "a"}),
        (written(["text"], ["a"], lineterminator="\r"), {"text": "a"}),
        ("text\na", {"text": "a"}),
    ],
)
def test_the_columns_decide_the_format(content: str, row: dict[str, Any]) -> None:
    """In any order; an empty optional cell is absent; with or without a byte order mark."""
    assert [item[1:] for item in found(content)] == [(row, None)]


def test_tabs_may_stand_between_columns() -> None:
    """A comma is then a character like any other."""
    assert found("prompt\tcompletion\na, b\tc\n", "\t") == [(2, {"prompt": "a, b", "completion": "c"}, None)]


def test_the_number_of_a_row_is_the_line_it_begins_in() -> None:
    """Also behind blank lines and texts of several lines."""
    content = '\ntext\n"a\nb\n\nc"\n\nd\n"e\r\nf"\ng\n'
    assert [(line, row) for line, row, _ in found(content)] == [
        (3, {"text": "a\nb\n\nc"}),
        (8, {"text": "d"}),
        (9, {"text": "e\r\nf"}),
        (11, {"text": "g"}),
    ]


def test_further_columns_are_left_away_with_one_warning(caplog: pytest.LogCaptureFixture) -> None:
    """They are named, and not sent."""
    with caplog.at_level(logging.WARNING, "arkor"):
        rows = found(written(["id", "text", "secret"], *[[str(number), "a", "s"] for number in range(5)]))
    assert [row for _, row, _ in rows] == [{"text": "a"}] * 5
    assert [record.getMessage() for record in caplog.records] == [
        "rows.csv: left away, as the format has no such columns: id, secret"
    ]


@pytest.mark.parametrize(
    ("content", "line", "reason"),
    [
        ("", 1, "is missing: it has to name the columns"),
        ("\n\n", 1, "is missing: it has to name the columns"),
        ("prompt,reply\na,b\n", 1, "has none of messages; prompt and completion; instruction and output; text"),
        ("prompt;reply\na;b\n", 1, "(its columns, with semicolons between them: prompt, reply)"),
        ("\nid,name\n", 2, "(its columns, with commas between them: id, name)"),
        ("text,\na,\n", 1, "column 2 has no name"),
        ("text, \na,\n", 1, "column 2 has no name"),
        ("text,text\na,b\n", 1, "two columns are named text"),
        ("text, text\na,b\n", 1, "two columns are named text"),
        ('"text', 1, "is not CSV: a quote is opened and never closed"),
        (b"te\xffxt\na\n", 1, "is not UTF-8 (byte 0xff)"),
        ("te\0xt\na\n", 1, "holds a NUL byte"),
    ],
)
def test_a_first_line_that_names_no_format_is_told(content: str | bytes, line: int, reason: str) -> None:
    """With the columns it does name."""
    number, said = problem(content)
    assert number == line
    assert reason in said


def test_the_separator_is_told_where_no_format_is_named() -> None:
    """A file with commas may have been named .tsv."""
    assert problem("prompt,completion\na,b\n", ".tsv")[1].endswith(
        "(its columns, with tabs between them: prompt,completion)"
    )


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (b"a", "has 1 field, where the first line names 2"),
        (b"a,b,c", "has 3 fields, where the first line names 2"),
        (b"a,b\0", "holds a NUL byte"),
        (b'a,"b\0"', "holds a NUL byte"),
        (b"a,caf\xe9", "is not UTF-8 (byte 0xe9)"),
    ],
)
def test_a_record_that_is_no_row_is_told_and_the_next_ones_are_read(record: bytes, reason: str) -> None:
    """With the line it begins in."""
    first, bad, last = found(b'prompt,completion\n"x\ny",z\n' + record + b"\na,b\n")
    assert first == (2, {"prompt": "x\ny", "completion": "z"}, None)
    assert bad[:2] == (4, None)
    assert reason in (bad[2] or "")
    assert last == (5, {"prompt": "a", "completion": "b"}, None)


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ('"a"b', "is not CSV: ',' expected after '\"'"),
        ('"a\nb\n', "is not CSV: a quote is opened and never closed"),
        ("x" * 131_073, "has a field of more than 131072 characters"),
        ('"' + "x\n" * 70_000, "is a quote never closed? Else use JSONL, or raise csv.field_size_limit()"),
    ],
    ids=["quote", "open quote", "long field", "quote that swallows the rest"],
)
def test_reading_ends_where_the_next_record_cannot_be_found(record: str, reason: str) -> None:
    """Guessing would make rows of what are none."""
    good, bad = found(f"text\na\n{record}\n")
    assert good == (2, {"text": "a"}, None)
    assert bad[:2] == (3, None)
    assert reason in (bad[2] or "")


@pytest.mark.parametrize("cell", ["", "hello", '[{"role": "user"', "[" * 100_000])
def test_messages_that_are_no_json_are_told(cell: str) -> None:
    """With what is wrong in them."""
    ((line, row, reason),) = found(written(["messages"], [cell], quoting=csv.QUOTE_ALL))
    assert (line, row) == (2, None)
    assert (reason or "").startswith("messages is not JSON: ")


CELLS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1).filter(str.strip)


@settings(max_examples=100)
@given(
    st.lists(st.tuples(CELLS, CELLS)),
    st.sampled_from([{}, {"lineterminator": "\n", "quoting": csv.QUOTE_ALL}, {"delimiter": "\t"}, {"delimiter": ";"}]),
    st.booleans(),
)
def test_what_was_written_as_csv_is_read_as_it_was(rows: list[tuple[str, str]], form: Any, marked: bool) -> None:
    """Quotes, separators and line ends included, whatever Python's own writer makes of them."""
    content = "\ufeff" * marked + written(["prompt", "completion"], *map(list, rows), **form)
    read = found(content)
    if form.get("delimiter") == "\t":
        assert found(content, ".tsv") == read
    assert [row for _, row, _ in read] == [{"prompt": prompt, "completion": answer} for prompt, answer in rows]
    lines = [line for line, _, _ in read]
    assert lines == sorted(set(lines))


@settings(max_examples=100)
@given(st.binary(max_size=60), st.sampled_from([b"", b"text\n", b"prompt,completion\n", b"messages\n", b'"text"\r\n']))
def test_no_bytes_make_reading_raise_anything_else(content: bytes, header: bytes) -> None:
    """A row or a reason for every record, or a first line that cannot be used."""
    with contextlib.suppress(DatasetError):
        assert all((row is None) != (reason is None) for _, row, reason in found(header + content))
