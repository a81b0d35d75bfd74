"""JSONL: which lines are rows, what is told of those that are none, and what is in a whole file."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, strategies as st

from arkor.data.jsonl import MAX_ROW_BYTES, DatasetSummary, check_rows, read_lines, read_rows, row_line
from arkor.errors import DatasetError

USER, ASSISTANT = {"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}
HALF = "holds half a character (a lone surrogate)"


def lines(*rows: Any) -> list[bytes]:
    """Return rows as the lines of a file."""
    return [json.dumps(row).encode() + b"\n" for row in rows]


# Lines


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"text": "caf\xe9"}', "is not UTF-8 (byte 14)"),
        (b'{"text": "\xed\xa0\xbd"}', "is not UTF-8 (byte 11)"),
        ('{"text": "a"}'.encode("utf-16-le"), "is not JSON: "),
        (b'{"text": "a",}', "is not JSON: "),
        (b'{"text": "a"} {"text": "b"}', "is not JSON: Extra data (column 15)"),
        (b"{'text': 'a'}", "is not JSON: Expecting property name enclosed in double quotes (column 2)"),
        (b"text", "is not JSON: Expecting value (column 1)"),
        (b'{"text": "a", "score": NaN}', "is not JSON: NaN is no number of JSON"),
        (b'{"text": "a", "score": [-Infinity]}', "is not JSON: -Infinity is no number of JSON"),
        (b"[" * 200_000, "is not JSON: nested too deeply"),
        (b'{"text": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "is not JSON: nested too deeply"),
        (b"\x00\x00", "is not JSON: "),
        (b'{"a": ' + b"1" * 10_000 + b"}", "is not JSON: Exceeds the limit"),
        (b'{"text": "\\ud83d"}', HALF),
        (b'{"text": "\\uDE00"}', HALF),
        (b'{"text": "\\ud83d\\ud83d\\ude00"}', HALF),
        (b'{"text": "\\ud83d\\ude00\\ude00"}', HALF),
        (b'{"text": "\\\\ud83d\\ude00"}', HALF),
        (b'{"text": "a", "\\udfff": 1}', HALF),
        (b'{"text": "a", "more": [{"b": "\\ud83d"}]}', HALF),
    ],
)
def test_a_line_that_is_no_row_is_told(line: bytes, reason: str) -> None:
    """With what is wrong and where; the lines after it are still read."""
    (bad, good) = list(read_rows([line + b"\n", b'{"text": "a"}\n']))
    assert bad[:2] == (1, None)
    assert (bad[2] or "").startswith(reason)
    assert good == (2, {"text": "a"}, None)


class Endless(io.BufferedIOBase):
    """A row that never ends; it counts what was read of it."""

    def __init__(self) -> None:
        self.bytes_read = 0

    def readline(self, size: int | None = -1, /) -> bytes:
        assert size is not None
        assert size > 0
        self.bytes_read += size
        return b"x" * size


def test_a_row_that_is_too_long_is_the_last_one(tmp_path: Path) -> None:
    """Its beginning is enough to tell; it is refused by its number, and not read to its end."""
    endless = Endless()
    (found,) = read_rows(read_lines(endless))  # type: ignore[arg-type]
    assert found == (1, None, "is longer than 16 MiB, the most that a row may have")
    assert endless.bytes_read == MAX_ROW_BYTES + 1
    (tmp_path / "rows").write_bytes(b'{"text": "a"}\n' + b" " * MAX_ROW_BYTES + b'x\n{"text": "b"}\n')
    with (tmp_path / "rows").open("rb") as file, pytest.raises(DatasetError, match="row 2: is longer than 16 MiB"):
        check_rows("rows", read_lines(file))


def test_the_longest_row_is_good() -> None:
    """The limit is that of the line with its end; a byte more is refused, whoever wrote the row."""
    text = "x" * (MAX_ROW_BYTES - len(row_line({"text": ""})[0]))
    line, reason = row_line({"text": text})
    assert (len(line), reason) == (MAX_ROW_BYTES, None)
    assert [row is None for _, row, _ in read_rows([line, b" " + line])] == [False, True]
    assert row_line({"text": text + "x"}) == (b"", "is longer than 16 MiB, the most that a row may have")


@pytest.mark.parametrize("text", ["😀", "\\ud83d", "\\😀", "\ud55c\uae00", "\ud7ff\ue000", "\\\\ud83d\\ude00", '"\\u'])
@pytest.mark.parametrize("escaped", [True, False])
def test_whole_characters_are_good_however_they_are_written(text: str, escaped: bool) -> None:
    """As themselves or escaped, and beside backslashes."""
    line = json.dumps({"text": text}, ensure_ascii=escaped).encode()
    assert list(read_rows([line])) == [(1, {"text": text}, None)]


@given(st.text(st.characters(exclude_categories=[]) | st.sampled_from("\\u\ud83d\ude00d8"), max_size=12))
def test_half_a_character_is_found_wherever_it_is(text: str) -> None:
    """Exactly those rows are refused that UTF-8 cannot hold."""
    ((_, row, reason),) = list(read_rows([json.dumps({"text": "a", "more": text}).encode()]))
    try:
        text.encode()
    except UnicodeEncodeError:
        assert (row, reason) == (None, HALF)
    else:
        assert (row, reason) == ({"text": "a", "more": text}, None)


@pytest.mark.parametrize(
    "content",
    [
        b'\xef\xbb\xbf{"text": "a"}\n{"text": "b"}\n',
        b'{"text": "a"}\n\xef\xbb\xbf{"text": "b"}\n',
        b'\xef\xbb\xbf {"text": "a"}\r\n{"text": "b"}\r\n',
        b'{"text": "a"}\n\n\n{"text": "b"}',
        '{"text": "a\u2028\u0085"}\n{"text": "ü"}\n'.encode(),
    ],
    ids=["byte order mark", "two files in one", "CRLF", "blank lines", "Unicode line ends"],
)
def test_files_of_every_make_are_read(content: bytes) -> None:
    """Editors differ; rows end at newlines only."""
    summary = check_rows("rows.jsonl", content.splitlines(keepends=True))
    assert (summary.rows, summary.size_bytes) == (2, len(content))


def test_a_large_file_is_read_row_by_row() -> None:
    """Lines are taken one at a time, as a file gives them."""
    taken = []

    def file() -> Any:
        for number in range(3):
            taken.append(number)
            yield b'{"text": "a"}\n'

    rows = read_rows(file())
    next(rows)
    assert taken == [0]


@given(st.lists(st.binary(max_size=30)))
@example([b"\xef\xbb\xbf"])
def test_no_line_makes_reading_raise(content: list[bytes]) -> None:
    """Whatever the bytes are: a row or a reason for every line that is not blank, as a byte order mark alone is."""
    found = list(read_rows(content))
    assert len(found) == sum(1 for line in content if line.strip() not in {b"", b"\xef\xbb\xbf"})
    assert all((row is None) != (reason is None) for _, row, reason in found)


@given(st.dictionaries(st.text(max_size=3), st.none() | st.integers() | st.floats() | st.text(max_size=5)))
def test_a_row_is_the_same_after_it_was_written(row: dict[str, Any]) -> None:
    """Key for key, in their order; or there is a reason it cannot be written."""
    line, reason = row_line({"text": "a", **row})
    if reason is None:
        assert line.endswith(b"\n")
        assert list(json.loads(line).items()) == list({"text": "a", **row}.items())
    else:
        assert line == b""


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"a": "\ud800"}, HALF),
        ({"\udfff": 1}, HALF),
        ({"a": float("inf")}, "holds a number that JSON cannot hold: "),
        ({"a": [float("nan")]}, "holds a number that JSON cannot hold: "),
        ({"a": 10**5000}, "holds a number that JSON cannot hold: "),
    ],
)
def test_a_row_that_cannot_be_written_is_told(row: dict[str, Any], reason: str) -> None:
    """With what stands in the way."""
    line, said = row_line(row)
    assert line == b""
    assert (said or "").startswith(reason)


# Whole files


def test_what_is_in_a_file_is_summed_up() -> None:
    """In one pass over its lines."""
    longest = {"messages": [{"role": "system", "content": "x" * 9}, USER, ASSISTANT, USER, ASSISTANT]}
    content = [b"\n", *lines({"messages": [USER, ASSISTANT]}, longest, {"messages": [USER, ASSISTANT]})]
    summary = check_rows("rows.jsonl", content)
    assert summary == DatasetSummary(
        rows=3,
        format="chatml",
        turns=9,
        max_turns=5,
        longest_row=3,
        longest_characters=23,
        size_bytes=len(b"".join(content)),
    )
    assert summary.mean_turns == 3.0
    assert summary.to_wire() == {
        "rows": 3,
        "format": "chatml",
        "turns": 9,
        "maxTurns": 5,
        "meanTurns": 3.0,
        "longestRow": 3,
        "longestCharacters": 23,
        "sizeBytes": len(b"".join(content)),
    }


def test_a_bad_row_is_listed_with_its_number() -> None:
    """The number is the line in the file, from 1."""
    with pytest.raises(DatasetError) as raised:
        check_rows("rows.jsonl", [b"\n", *lines({"text": "good"}, {"text": ""})])
    assert raised.value.problems == ((3, "text must not be empty"),)
    assert str(raised.value) == "rows.jsonl: 1 row cannot be trained on\n  row 3: text must not be empty"


def test_rows_of_another_format_than_the_first_are_bad() -> None:
    """One training, one format."""
    alpaca = {"instruction": "a", "output": "b"}
    with pytest.raises(DatasetError, match="row 2: is text, but the rows before it are alpaca") as raised:
        check_rows("rows.jsonl", lines(alpaca, {"text": "a"}, alpaca))
    assert len(raised.value.problems) == 1


def test_the_first_twenty_bad_rows_are_listed_and_the_rest_counted() -> None:
    """A hopeless file does not flood the terminal."""
    with pytest.raises(DatasetError) as raised:
        check_rows("rows.jsonl", lines(*[{"text": ""}] * 25, {"text": "good"}))
    assert [row for row, _ in raised.value.problems] == list(range(1, 21))
    assert raised.value.more == 5
    text = str(raised.value)
    assert text.startswith("rows.jsonl: 25 rows cannot be trained on\n  row 1: ")
    assert text.endswith("\n  and 5 more")


@pytest.mark.parametrize("content", [b"", b"\n\n", b" \r\n\t\n", b"\xef\xbb\xbf", b"\xef\xbb\xbf\n"])
def test_a_file_without_rows_is_an_error(content: bytes) -> None:
    """There is nothing to train on."""
    with pytest.raises(DatasetError, match=r"rows\.jsonl: has no rows") as raised:
        check_rows("rows.jsonl", content.splitlines(keepends=True))
    assert raised.value.problems == ()
