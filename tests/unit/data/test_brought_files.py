"""The files that people bring: each is loaded, or refused with one clear message.

They are written after the public descriptions of their formats, with the names that those have.
"""

from __future__ import annotations

import datetime
import gzip
import io
import json
import logging
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from arkor.data.datasets import LocalDataset
from arkor.errors import DatasetError

QUESTION, ANSWER = {"role": "user", "content": "How much is 1 + 1?"}, {"role": "assistant", "content": "2"}
CHAT = {"messages": [QUESTION, ANSWER]}
TOOL = {"type": "function", "function": {"name": "add", "parameters": {"type": "object", "properties": {}}}}
CALL = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1, "b": 1}'}}
RESULT = {"role": "tool", "tool_call_id": "c1", "content": "2"}
OPENAI = {"messages": [QUESTION, {"role": "assistant", "tool_calls": [CALL]}, RESULT, ANSWER], "tools": [TOOL]}
SHAREGPT = {"conversations": [{"from": "human", "value": QUESTION["content"]}, {"from": "gpt", "value": "2"}]}
PAIR = {"prompt": "a", "completion": "b"}
ALPACA = {"instruction": "a", "input": "", "output": "b"}
WEIGHTS = {"messages": [QUESTION, ANSWER | {"weight": 0}, QUESTION, ANSWER | {"weight": 1}]}
QA = {"question": "a", "answer": "b"}
TRIPLE = {"prompt": "a", "chosen": "b", "rejected": "c"}
OPENAI_PREFERENCE = {
    "input": {"messages": [QUESTION], "tools": [], "parallel_tool_calls": True},
    "preferred_output": [ANSWER],
    "non_preferred_output": [{"role": "assistant", "content": "3"}],
}
CALLING = {
    "conversations": [
        {"from": "human", "value": "Add 1 and 1."},
        {"from": "function_call", "value": '{"name": "add", "arguments": {"a": 1, "b": 1}}'},
        {"from": "observation", "value": "2"},
        {"from": "gpt", "value": "It is 2."},
    ],
    "system": "You add.",
    "tools": json.dumps([TOOL["function"]]),
}
ADDED = {
    "messages": [
        {"role": "system", "content": "You add."},
        {"role": "user", "content": "Add 1 and 1."},
        {
            "role": "assistant",
            "tool_calls": [{"type": "function", "function": {"name": "add", "arguments": {"a": 1, "b": 1}}}],
        },
        {"role": "tool", "content": "2"},
        {"role": "assistant", "content": "It is 2."},
    ],
    "tools": json.dumps([TOOL["function"]]),
}


def packed(content: bytes) -> bytes:
    """Compress with gzip; the same content always gives the same bytes, and so the same names of tests."""
    return gzip.compress(content, mtime=0)


def lines(*rows: Any) -> bytes:
    """Return rows as JSONL."""
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def sent(dataset: LocalDataset, folder: Path) -> list[Any]:
    """Return the rows that would be sent, None for a blank line; the check finds the same."""
    rows = dataset.open(folder)
    try:
        content = b"".join(rows.chunks())
        assert dataset.check(folder) == rows.summary
    finally:
        rows.close()
    return [json.loads(line) if line.strip() else None for line in content.splitlines()]


def refused(dataset: LocalDataset, folder: Path) -> str:
    """Return the error of a data set, the same for a check and for a training."""
    with pytest.raises(DatasetError) as raised:
        dataset.open(folder)
    with pytest.raises(DatasetError) as again:
        dataset.check(folder)
    assert str(again.value) == str(raised.value)
    return str(raised.value)


def parquet(*rows: dict[str, Any]) -> bytes:
    """Return rows as a Parquet file."""
    pyarrow, module = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    out = io.BytesIO()
    module.write_table(pyarrow.Table.from_pylist(rows), out)
    return out.getvalue()


def arrow(*rows: dict[str, Any], streamed: bool = False) -> bytes:
    """Return rows as an Arrow file, as Feather has it, or as a stream, as Hugging Face's cache has it."""
    pyarrow = pytest.importorskip("pyarrow")
    table, out = pyarrow.Table.from_pylist(rows), io.BytesIO()
    with (pyarrow.ipc.new_stream if streamed else pyarrow.ipc.new_file)(out, table.schema) as writer:
        writer.write_table(table)
    return out.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("openai.jsonl", lines(OPENAI | {"parallel_tool_calls": False}), [OPENAI | {"parallel_tool_calls": False}]),
        ("weights.jsonl", lines(WEIGHTS), [WEIGHTS]),
        ("sharegpt.jsonl", lines(SHAREGPT, SHAREGPT), [CHAT, CHAT]),
        ("sharegpt-tools.json", json.dumps([CALLING], indent=2).encode(), [ADDED]),
        ("sharegpt-roles.jsonl", lines({"conversations": CHAT["messages"], "id": 7}), [CHAT | {"id": 7}]),
        ("sharegpt-in-messages.jsonl", lines({"messages": SHAREGPT["conversations"]}), [CHAT]),
        (
            "sharegpt.csv",
            b'conversations,id\n"[{""from"": ""human"", ""value"": ""a""}, {""from"": ""gpt"", ""value"": ""b""}]",1\n',
            [None, {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}],
        ),
        ("faq.csv", b"question,answer\na,b\n\nc,d\n", [None, PAIR, None, {"prompt": "c", "completion": "d"}]),
        ("faq-comma.csv", b'Question;Answer\r\n"a;b";1,5\r\n', [None, {"prompt": "a;b", "completion": "1,5"}]),
        ("faq-tab.csv", b"question\tanswer\na\tb\n", [None, PAIR]),
        ("faq-excel.csv", b"\xef\xbb\xbfId,Question,Answer\r\n1,a,b\r\n", [None, PAIR]),
        ("query.tsv", b"query\tresponse\na\tb\n", [None, PAIR]),
        ("io.jsonl", lines({"input": "a", "output": "b"}), [PAIR]),
        ("no-context.jsonl", lines(QA, QA | {"context": None}), [PAIR, PAIR | {"context": None}]),
        ("prompt-response.jsonl", lines({"prompt": "a", "response": "b"}), [PAIR]),
        ("instruction.jsonl", lines({"instruction": "a", "response": "b"}), [{"instruction": "a", "output": "b"}]),
        (
            "dolly.jsonl",
            lines({"instruction": "a", "context": "c", "response": "b", "category": "qa"}),
            [{"instruction": "a", "input": "c", "output": "b", "category": "qa"}],
        ),
        ("alpaca.json", b'\xef\xbb\xbf [\n{"instruction": "a", "input": "", "output": "b"}\n] ', [ALPACA]),
        ("array.json", json.dumps([PAIR, PAIR]).encode(), [PAIR, PAIR]),
        ("rows.jsonl.gz", packed(lines(PAIR)), [PAIR]),
        ("faq.csv.gz", packed(b"question,answer\na,b\n"), [None, PAIR]),
        ("array.json.gz", packed(json.dumps([QA]).encode()), [PAIR]),
        ("unnamed", packed(lines(SHAREGPT)), [CHAT]),
        ("rows.ndjson", lines(CHAT), [CHAT]),
    ],
)
def test_a_file_of_any_form_is_sent_as_rows_of_a_format(
    tmp_path: Path, name: str, content: bytes, expected: list[Any]
) -> None:
    """Each row keeps its number: its line, or its place in an array."""
    (tmp_path / name).write_bytes(content)
    assert sent(LocalDataset(name), tmp_path) == expected


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("rows.parquet", parquet),
        ("rows.arrow", arrow),
        ("rows.feather", arrow),
        ("stream.arrow", lambda *rows: arrow(*rows, streamed=True)),
        ("rows.parquet.gz", lambda *rows: packed(parquet(*rows))),
    ],
)
def test_a_file_of_columns_is_sent_as_rows_of_a_format(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str, make: Callable[..., bytes]
) -> None:
    """Keys that have no value are absent; columns that are not used may hold anything, and are named."""
    further = {"system": None, "tools": None, "when": datetime.datetime(2026, 1, 1), "raw": b"x"}
    (tmp_path / name).write_bytes(make(SHAREGPT | further, *[CALLING] * 250))
    assert sent(LocalDataset(name), tmp_path) == [CHAT, *[ADDED] * 250]
    assert {record.getMessage() for record in caplog.records} == {
        f"{name}: left away, as the format has no such columns: when, raw"
    }
    (tmp_path / name).write_bytes(make(QA, QA))
    assert sent(LocalDataset(name), tmp_path) == [PAIR, PAIR]


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        (
            "faq.csv",
            b"id,frage,antwort\n1,a,b\n2,c,d\n",
            (
                "faq.csv: its columns fit no format: "
                'pass columns={"frage": "prompt", "antwort": "completion"} '
                "(on the command line: --column frage=prompt --column antwort=completion), if that is what they hold"
                "\n  row 1: has none of messages; prompt and completion; instruction and output; text "
                "(its columns, with commas between them: id, frage, antwort)"
            ),
        ),
        (
            "rows.jsonl",
            lines(*[{"title": "a", "summary": "b"}] * 30),
            'pass columns={"title": "prompt", "summary": "completion"} (on the',
        ),
        ("rows.csv", b"id,left,right\n1,a,b\n", 'pass columns={"left": "prompt", "right": "completion"} (on the'),
        ("rows.jsonl", lines({"question": "1 + 1?", "answer": 2}), "its columns fit no format: answer must hold texts"),
        ("rows.jsonl", lines({"body": "a", "n": 3}), 'pass columns={"body": "text"} (on the'),
        ("rows.jsonl", lines({"dialog": CHAT["messages"]}), 'pass columns={"dialog": "messages"} (on the'),
        ("rows.jsonl", lines({"turns": SHAREGPT["conversations"]}), 'pass columns={"turns": "conversations"} (on the'),
        ("rows.jsonl", lines({"a": 1, "b": 2}), "its columns fit no format: rename them with columns={old: new}"),
        (
            "squad.jsonl",
            lines({"question": "a", "answers": {"text": ["b"]}}),
            "its columns fit no format: pass columns=",
        ),
        (
            "two.jsonl",
            lines({"question": "a", "answer": "b", "output": "c"}),
            "its columns fit no format: pass columns=",
        ),
        (
            "no-header.csv",
            b"When do you open?,At nine.\n",
            "the first line has to name them, such as prompt,completion; here it seems to be a row already",
        ),
        (
            "latin.csv",
            b"question,answer\nWie gro\xdf?,Sehr\nKurz?,Ja\n",
            "1 row cannot be trained on; save the file as UTF-8, which spreadsheets call CSV UTF-8",
        ),
        ("latin.csv", b"gr\xf6\xdfe,text\n1,a\n", "the first line cannot be used; save the file as UTF-8"),
        ("pipes.csv", b"question|answer\na|b\n", "write commas, semicolons or tabs"),
        (
            "late.jsonl",
            lines(QA, QA | {"context": "c"}),
            "row 2: has context, which no row before it has: say what it is",
        ),
        ("rows.csv", b"conversations\nhello\n", "row 2: conversations is not JSON"),
        (
            "sharegpt.jsonl",
            lines({"conversations": [{"from": "bing", "value": "a"}]}),
            (
                "row 1: conversations, turn 1: from must be one of human, user, gpt, chatgpt, assistant, system, tool, "
                "observation, function_call, not 'bing'"
            ),
        ),
        ("no-value.jsonl", lines({"conversations": [{"from": "human"}]}), "turn 1: has from, but no value"),
        ("no-list.jsonl", lines({"conversations": {"from": "human"}}), "conversations must be a list of turns"),
        (
            "no-answer.jsonl",
            lines({"conversations": [{"from": "human", "value": "a"}]}),
            "messages has no assistant turn",
        ),
        (
            "call.jsonl",
            lines({"conversations": [{"from": "function_call", "value": "add(1)"}]}),
            "turn 1: the value of function_call is a text that is not JSON",
        ),
        (
            "call.jsonl",
            lines({"conversations": [{"from": "function_call", "value": '{"name": "add"}'}]}),
            "turn 1: the value of function_call needs name and arguments",
        ),
        (
            "system.jsonl",
            lines({"conversations": [{"from": "system", "value": "a"}], "system": "b"}),
            "system stands beside conversations, whose first turn is a system message too",
        ),
        ("system.jsonl", lines(SHAREGPT | {"system": 3}), "system must be a text"),
        (
            "openai.jsonl",
            lines(OPENAI | {"tools": {"add": 1}}),
            "row 1: tools must be a list of functions, not an object",
        ),
        ("openai.jsonl", lines(OPENAI | {"tools": "add"}), "row 1: tools is a text that is not JSON"),
        (
            "openai.jsonl",
            lines(OPENAI | {"tools": [TOOL, {"type": "x"}]}),
            "tools, tool 2: needs a function with a name",
        ),
        (
            "openai.jsonl",
            lines(OPENAI | {"parallel_tool_calls": 1}),
            "parallel_tool_calls must be true or false, not a",
        ),
        (
            "openai.jsonl",
            lines(
                {
                    "messages": [QUESTION, {"role": "assistant", "tool_calls": [CALL, CALL]}],
                    "parallel_tool_calls": False,
                }
            ),
            "row 1: messages, message 2: has several tool calls, but parallel_tool_calls is false",
        ),
        ("old.jsonl", lines({"messages": [QUESTION, {"role": "function", "content": "2"}]}), "are the old form: write"),
        (
            "pretty.json",
            json.dumps(CHAT, indent=2).encode(),
            "has one JSON value over several lines, where each line must",
        ),
        ("array.json", b'[{"text": "a"}, {"text": }]', "row 2: is not JSON: Expecting value (character 10 of the row)"),
        ("array.json", b'[{"text": "a"} {"text": "b"}]', "is not JSON: '{' stands where ',' is due"),
        ("array.json", b'[{"text": "a"}', "is not JSON: the file ends where ',' is due"),
        ("array.json", b'[{"text": "a"}] 3', "is not JSON: '3' stands where the end of the file is due"),
        ("array.json", b'[{"text": "\xff"}]', "row 1: is not UTF-8"),
        ("array.json", b'[{"text": "a"}, 3]', "row 2: is a number, not an object"),
        ("array.json", b'[{"text": NaN}]', "row 1: is not JSON: NaN is no number of JSON"),
        ("array.json", b"[]", "has no rows"),
        ("cut.jsonl.gz", packed(lines(PAIR) * 50)[:-9], "is compressed with gzip, and cut or damaged"),
        ("twice.gz", packed(packed(lines(PAIR))), "is compressed twice: unpack it first"),
        ("book.csv", b"PK\x03\x04rest", "is a zip file, as a workbook is"),
        ("old.feather", b"FEA1rest", "is Feather version 1: save it as version 2, or as Parquet"),
    ],
)
def test_a_file_that_cannot_be_trained_on_is_refused_with_one_message(
    tmp_path: Path, name: str, content: bytes, says: str
) -> None:
    """It says what was seen and what to do, once for the whole file."""
    (tmp_path / name).write_bytes(content)
    error = refused(LocalDataset(name), tmp_path)
    assert says in error
    assert len(error.splitlines()) <= 2


@pytest.mark.parametrize("content", [b"PAR1 and rubbish", b"ARROW1 and rubbish", b"\xff\xff\xff\xff rubbish"])
def test_a_damaged_file_of_columns_is_refused(tmp_path: Path, content: bytes) -> None:
    """With the format that its first bytes promise."""
    pytest.importorskip("pyarrow")
    (tmp_path / "rows").write_bytes(content)
    assert "rows: cannot be read as " in refused(LocalDataset("rows"), tmp_path)


def test_a_file_of_columns_needs_pyarrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The core comes without it; the error names the extra that brings it."""
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    (tmp_path / "rows.parquet").write_bytes(b"PAR1")
    assert refused(LocalDataset("rows.parquet"), tmp_path) == (
        "rows.parquet: is Parquet, which needs pyarrow: pip install 'arkor[local]', or pyarrow alone"
    )


# Columns


def test_columns_have_the_names_that_are_given(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """In every kind of file, and nothing is said of it."""
    columns = {"frage": "prompt", "antwort": "completion"}
    (tmp_path / "rows.csv").write_text("frage,antwort\na,b\n")
    (tmp_path / "rows.jsonl").write_bytes(lines({"frage": "a", "antwort": "b"}))
    (tmp_path / "rows.json").write_text('[{"antwort": "b", "frage": "a"}]')
    for name in ("rows.csv", "rows.jsonl", "rows.json"):
        assert [row for row in sent(LocalDataset(name, columns=columns), tmp_path) if row] == [PAIR]
    assert not caplog.records
    (tmp_path / "rows.csv").write_text("turns\n" + '"[{""from"": ""human"", ""value"": ""a""}]"\n')
    error = refused(LocalDataset("rows.csv", columns={"turns": "conversations"}), tmp_path)
    assert "row 2: messages has no assistant turn" in error


@pytest.mark.parametrize(
    ("content", "columns", "says"),
    [
        (b"a,b\n1,2\n", {"c": "text"}, "rows.csv: has no column c, so columns= cannot be done (its columns: a, b)"),
        (b"a,text\n1,2\n", {"a": "text"}, "rows.csv: has a column text already, so columns= cannot be done"),
    ],
)
def test_columns_that_cannot_be_renamed_are_told(
    tmp_path: Path, content: bytes, columns: dict[str, str], says: str
) -> None:
    """Once for the file."""
    (tmp_path / "rows.csv").write_bytes(content)
    assert says in refused(LocalDataset("rows.csv", columns=columns), tmp_path)


def test_a_row_with_both_names_of_a_column_is_told(tmp_path: Path) -> None:
    """One of the two would be lost."""
    (tmp_path / "rows.jsonl").write_bytes(lines({"a": "x"}, {"a": "x", "text": "y"}))
    error = refused(LocalDataset("rows.jsonl", columns={"a": "text"}), tmp_path)
    assert "row 2: has a column beside the one that gets its name: text" in error


def test_columns_that_are_recognised_are_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """By a check as by a training."""
    (tmp_path / "rows.csv").write_text("Question,Answer\na,b\nc,d\n")
    (tmp_path / "rows.jsonl").write_bytes(lines(*[{"Question": "a", "Answer": "b"}] * 3))
    for name in ("rows.csv", "rows.jsonl"):
        for use in (LocalDataset.check, LocalDataset.open):
            caplog.clear()
            with caplog.at_level(logging.WARNING, "arkor"):
                use(LocalDataset(name), tmp_path)
            assert [record.getMessage() for record in caplog.records] == [
                f"{name}: columns are taken as follows: Question as prompt, Answer as completion. columns= changes that"
            ]


# Preferences


@pytest.mark.parametrize(
    "rows",
    [
        [TRIPLE],
        [{"prompt": [QUESTION], "chosen": [ANSWER], "rejected": [{"role": "assistant", "content": "3"}]}],
        [{"chosen": [QUESTION, ANSWER], "rejected": [QUESTION, {"role": "assistant", "content": "3"}]}],
        [OPENAI_PREFERENCE],
    ],
)
def test_preferences_are_checked_and_not_trained_on_yet(tmp_path: Path, rows: list[Any]) -> None:
    """A check sums them up; a training says one sentence."""
    for name, content in (("rows.jsonl", lines(*rows)), ("rows.json", json.dumps(rows).encode())):
        (tmp_path / name).write_bytes(content)
        summary = LocalDataset(name).check(tmp_path)
        assert (summary.format, summary.rows, summary.unused) == ("preference", 1, ())
        with pytest.raises(DatasetError, match="which arkor checks but cannot train on yet") as raised:
            LocalDataset(name).open(tmp_path)
        assert len(str(raised.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("row", "says"),
    [
        (TRIPLE | {"chosen": " "}, "chosen must be a text that is not empty"),
        (TRIPLE | {"rejected": []}, "rejected must be a list with at least one message"),
        (TRIPLE | {"rejected": [ANSWER]}, "chosen and rejected must both be texts, or both lists of messages"),
        (TRIPLE | {"rejected": "b"}, "chosen and rejected are the same, so neither is better"),
        (TRIPLE | {"prompt": 3}, "prompt must be a text or a list of messages"),
        (TRIPLE | {"prompt": ["a"]}, "prompt, message 1: is a text, not an object"),
        (OPENAI_PREFERENCE | {"input": "a"}, "input must be an object with messages"),
        (OPENAI_PREFERENCE | {"input": {"messages": []}}, "input.messages must be a list with at least one message"),
        (OPENAI_PREFERENCE | {"preferred_output": "a"}, "preferred_output must be a list with at least one message"),
        (OPENAI_PREFERENCE | {"input": {"messages": [QUESTION], "tools": 3}}, "tools must be a list of functions"),
        (CHAT, "is chatml, but the rows before it are preference"),
    ],
)
def test_a_bad_row_of_preferences_is_told(tmp_path: Path, row: Any, says: str) -> None:
    """With its number, as any bad row."""
    good = OPENAI_PREFERENCE if "input" in row else TRIPLE
    (tmp_path / "rows.jsonl").write_bytes(lines(good, row))
    with pytest.raises(DatasetError) as raised:
        LocalDataset("rows.jsonl").check(tmp_path)
    ((number, reason),) = raised.value.problems
    assert number == 2
    assert reason.startswith(says)


# Several files


def test_several_files_are_counted_on_from_one_to_the_next(tmp_path: Path) -> None:
    """A list, a folder or a pattern; each file keeps its own form."""
    data = tmp_path / "data"
    (data / "more").mkdir(parents=True)
    (data / "a.jsonl").write_bytes(b"\n" + lines(PAIR))
    (data / "b.csv").write_text("question,answer\na,b\n")
    (data / "c.json.gz").write_bytes(packed(json.dumps([PAIR]).encode()))
    (data / "README.md").write_text("hello")
    (data / ".hidden.jsonl").write_text("hello")
    (data / "more" / "d.jsonl").write_bytes(lines(PAIR))
    three = [None, PAIR, None, PAIR, PAIR]
    assert sent(LocalDataset("data"), tmp_path) == three
    assert sent(LocalDataset(["data/a.jsonl", "data/b.csv", "data/c.json.gz"]), tmp_path) == three
    assert sent(LocalDataset("data/*.*[lvz]"), tmp_path) == three
    assert sent(LocalDataset(str(data / "**" / "*.jsonl")), tmp_path) == [None, PAIR, PAIR]
    assert LocalDataset("data").check(tmp_path).files == {"data/a.jsonl": 1, "data/b.csv": 3, "data/c.json.gz": 5}
    assert sent(LocalDataset("data/more"), tmp_path) == [PAIR]


def test_a_bad_row_of_several_files_names_its_file(tmp_path: Path) -> None:
    """And its number there, beside its number among all."""
    (tmp_path / "a.jsonl").write_bytes(lines(PAIR, PAIR))
    (tmp_path / "b.jsonl").write_bytes(lines(PAIR, {"prompt": "", "completion": "b"}) + b"{\n")
    assert refused(LocalDataset(["a.jsonl", "b.jsonl"]), tmp_path) == (
        "a.jsonl, b.jsonl: 2 rows cannot be trained on\n"
        "  row 4: b.jsonl, row 2: prompt must be a text that is not empty\n"
        "  row 5: b.jsonl, row 3: is not JSON: Expecting property name enclosed in double quotes (column 2)"
    )
    (tmp_path / "b.jsonl").write_bytes(b"")
    assert refused(LocalDataset(["a.jsonl", "b.jsonl"]), tmp_path) == "b.jsonl: is empty"


@pytest.mark.parametrize(
    ("path", "says"),
    [
        (
            "empty",
            "empty: is a folder without files of rows (.arrow, .csv, .feather, .json, .jsonl, .ndjson, .parquet, ",
        ),
        ("*.jsonl", "*.jsonl: no file matches *.jsonl in "),
        (["no.jsonl", "a.jsonl"], "no.jsonl: cannot be read: No such file or directory ("),
    ],
)
def test_files_that_are_not_there_are_told(tmp_path: Path, path: Any, says: str) -> None:
    """With where they were looked for."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "a.csv").write_text("text\na\n")
    assert refused(LocalDataset(path), tmp_path).startswith(says)


@pytest.mark.parametrize("name", ["rows.json", "rows.jsonl.gz"])
def test_memory_stays_flat_however_large_a_file_is(tmp_path: Path, name: str) -> None:
    """An array is read element by element."""
    row = b'{"text": "%s"}' % (b"x" * 4_000)
    content = b"[" + b",".join([row] * 4_000) + b"]" if name == "rows.json" else packed((row + b"\n") * 4_000)
    (tmp_path / name).write_bytes(content)
    del content
    tracemalloc.start()
    try:
        summary = LocalDataset(name).check(tmp_path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert summary.size_bytes > 16_000_000
    assert peak < 5_000_000
