"""Where rows come from, and why a row cannot be trained on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arkor.datasets import (
    BlobDataset,
    HuggingFaceDataset,
    LocalDataset,
    UploadedDataset,
    check_rows,
    parse_dataset,
    read_rows,
    row_format,
    row_problem,
)
from arkor.errors import ConfigError, DatasetError

USER, ASSISTANT = {"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}
CALL = {"role": "assistant", "tool_calls": [{"function": {"name": "look_up", "arguments": {}}}]}
GOOD: dict[str, list[dict[str, Any]]] = {
    "chatml": [
        {"messages": [USER, ASSISTANT]},
        {"messages": [{"role": "system", "content": "be kind"}, USER, ASSISTANT, USER, ASSISTANT]},
        {"messages": [USER, CALL, {"role": "tool", "content": "found"}, ASSISTANT]},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}]}, ASSISTANT], "tools": []},
    ],
    "prompt_completion": [{"prompt": "a", "completion": "b"}, {"prompt": [USER], "completion": [ASSISTANT]}],
    "alpaca": [{"instruction": "a", "output": "b"}, {"instruction": "a", "input": "", "output": "b"}],
    "text": [{"text": "a", "source": "elsewhere"}],
}
BAD: list[tuple[Any, str]] = [
    (None, "is null, not an object"),
    (["text"], "is a list, not an object"),
    ("text", "is a text, not an object"),
    (3, "is a number, not an object"),
    (True, "is true or false, not an object"),
    ({}, "has none of messages; prompt and completion; instruction and output; text (its keys: none)"),
    ({"prompt": "a", "b": 1}, "text (its keys: b, prompt)"),
    ({"text": ""}, "text must not be empty"),
    ({"text": " \n"}, "text must not be empty"),
    ({"text": 3}, "text must not be empty"),
    ({"prompt": "", "completion": "b"}, "prompt must be a text that is not empty"),
    ({"prompt": "a", "completion": None}, "completion must be a text that is not empty"),
    ({"prompt": "a", "completion": [ASSISTANT]}, "prompt must be a list with at least one message"),
    ({"prompt": [USER], "completion": [USER]}, "completion has no assistant turn, so there is nothing to learn"),
    ({"prompt": [USER, 3], "completion": [ASSISTANT]}, "prompt, message 2: is a number, not an object with role"),
    ({"instruction": "", "output": "b"}, "instruction must be a text that is not empty"),
    ({"instruction": "a", "output": ["b"]}, "output must be a text that is not empty"),
    ({"instruction": "a", "input": 3, "output": "b"}, "input must be a text"),
    ({"messages": []}, "messages must be a list with at least one message"),
    ({"messages": {"0": USER}}, "messages must be a list with at least one message"),
    ({"messages": [USER]}, "messages has no assistant turn, so there is nothing to learn"),
    ({"messages": ["hi"]}, "messages, message 1: is a text, not an object with role and content"),
    ({"messages": [USER, {"role": "bot", "content": "hi"}]}, "messages, message 2: role must be one of assistant,"),
    ({"messages": [{"content": "hi"}]}, "role must be one of"),
    ({"messages": [{"role": ["user"], "content": "hi"}]}, "role must be one of"),
    ({"messages": [USER, {"role": "assistant"}]}, "messages, message 2: content is empty"),
    ({"messages": [USER, {"role": "assistant", "content": " "}]}, "content is empty"),
    ({"messages": [USER, {"role": "assistant", "content": 3}]}, "content is empty"),
    ({"messages": [{"role": "user", "content": []}, ASSISTANT]}, "content must be text, or a list of text parts"),
    ({"messages": [{"role": "user", "content": [{"type": "image"}]}, ASSISTANT]}, "or a list of text parts"),
    ({"messages": [{**CALL, "role": "user"}]}, "tool_calls belong to the assistant, not to user"),
    ({"messages": [{**CALL, "tool_calls": []}]}, "tool_calls must be a list with at least one call"),
    ({"messages": [{**CALL, "tool_calls": ["x"]}]}, "needs a function with name and arguments"),
    ({"messages": [{**CALL, "tool_calls": [{"function": {"name": "x"}}]}]}, "needs a function with name and arguments"),
]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["messages", "role", "content", "text", "prompt", "completion"]), inner)
    ),
    max_leaves=10,
)


def lines(*rows: Any) -> list[bytes]:
    """Return rows as the lines of a file."""
    return [json.dumps(row).encode() + b"\n" for row in rows]


# Rows


@pytest.mark.parametrize(("kind", "row"), [(kind, row) for kind, rows in GOOD.items() for row in rows])
def test_a_good_row_has_a_format_and_no_problem(kind: str, row: dict[str, Any]) -> None:
    """Detected by its keys; further keys do not matter."""
    assert row_format(row) == kind
    assert row_problem(row) is None


@pytest.mark.parametrize(("row", "reason"), BAD)
def test_a_bad_row_is_listed_with_its_number_and_reason(row: Any, reason: str) -> None:
    """The number is the line in the file, from 1."""
    with pytest.raises(DatasetError) as raised:
        check_rows("rows.jsonl", [b"\n", *lines({"text": "good"}, row)])
    ((number, said),) = raised.value.problems
    assert number == 3
    assert reason in said
    assert f"row 3: {said}" in str(raised.value)


@given(JSON)
def test_no_row_makes_the_check_raise(row: Any) -> None:
    """A row is good, or there is a reason; never an accident."""
    assert isinstance(row_problem(row), str | None)


def test_rows_of_another_format_than_the_first_are_bad() -> None:
    """One training, one format."""
    with pytest.raises(DatasetError, match="row 2: is text, but the rows before it are alpaca"):
        check_rows("rows.jsonl", lines(GOOD["alpaca"][0], {"text": "a"}, GOOD["alpaca"][1]))


def test_the_first_twenty_bad_rows_are_listed_and_the_rest_counted() -> None:
    """A hopeless file does not flood the terminal."""
    with pytest.raises(DatasetError) as raised:
        check_rows("rows.jsonl", lines(*[{"text": ""}] * 25, {"text": "good"}))
    assert [row for row, _ in raised.value.problems] == list(range(1, 21))
    assert raised.value.more == 5
    text = str(raised.value)
    assert text.startswith("rows.jsonl: 25 rows cannot be trained on; nothing was sent\n  row 1: ")
    assert text.endswith("\n  and 5 more")


@pytest.mark.parametrize("content", [b"", b"\n\n", b" \r\n\t\n", b"\xef\xbb\xbf"])
def test_a_file_without_rows_is_an_error(content: bytes) -> None:
    """There is nothing to train on."""
    with pytest.raises(DatasetError, match=r"rows\.jsonl: has no rows") as raised:
        check_rows("rows.jsonl", content.splitlines(keepends=True))
    assert raised.value.problems == ()


@pytest.mark.parametrize(
    "content",
    [
        b'\xef\xbb\xbf{"text": "a"}\n{"text": "b"}\n',
        b'{"text": "a"}\r\n{"text": "b"}\r\n',
        b'{"text": "a"}\n\n\n{"text": "b"}',
        '{"text": "a\u2028\u0085"}\n{"text": "ü"}\n'.encode(),
    ],
    ids=["byte order mark", "CRLF", "blank lines", "Unicode line ends"],
)
def test_files_of_every_make_are_read(content: bytes) -> None:
    """Editors differ; rows end at newlines only."""
    assert check_rows("rows.jsonl", content.splitlines(keepends=True)) == 2


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"text": "caf\xe9"}', "is not UTF-8 (byte 14)"),
        (b'{"text": "a",}', "is not JSON: "),
        (b'{"text": "a"} {"text": "b"}', "is not JSON: Extra data (column 15)"),
        (b"[" * 200_000, "is not JSON: "),
        (b'{"text": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "is not JSON: "),
        (b"\x00\x00", "is not JSON: "),
        (b'{"a": ' + b"1" * 10_000 + b"}", "is not JSON: "),
    ],
    ids=["not UTF-8", "comma", "two rows", "unclosed nesting", "huge nesting", "NUL", "huge number"],
)
def test_a_line_that_is_no_json_is_listed(line: bytes, reason: str) -> None:
    """With what is wrong and where; the lines after it are still read."""
    (bad, good) = list(read_rows([line + b"\n", b'{"text": "a"}\n']))
    assert bad[:2] == (1, None)
    assert (bad[2] or "").startswith(reason)
    assert good == (2, {"text": "a"}, None)


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


# Data sets


@pytest.mark.parametrize(
    ("value", "dataset", "source"),
    [
        ({"type": "huggingface", "name": "a/b"}, HuggingFaceDataset("a/b"), {"type": "huggingface", "name": "a/b"}),
        (
            {"type": "huggingface", "name": "a/b", "split": "train", "subset": "en"},
            HuggingFaceDataset("a/b", split="train", subset="en"),
            {"type": "huggingface", "name": "a/b", "split": "train", "subset": "en"},
        ),
        ({"type": "blob", "url": "https://x"}, BlobDataset("https://x"), {"type": "blob", "url": "https://x"}),
        (
            {"type": "blob", "url": "https://x", "token": "t"},
            BlobDataset("https://x", token="t"),
            {"type": "blob", "url": "https://x", "token": "t"},
        ),
        ({"type": "dataset", "id": "ab"}, UploadedDataset("ab"), {"type": "dataset", "id": "ab"}),
    ],
)
def test_a_data_set_and_its_mapping_form_are_the_same(value: Any, dataset: Any, source: dict[str, str]) -> None:
    """Both give the ``datasetSource`` of the contract."""
    assert dataset.to_wire() == source
    assert parse_dataset(value) == dataset
    assert parse_dataset(dataset) is dataset


def test_a_file_is_a_path() -> None:
    """Text and Path give the same."""
    assert parse_dataset({"type": "local", "path": "rows.jsonl"}) == LocalDataset(Path("rows.jsonl"))


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("a/b", "must be a data set or a mapping with a type, not 'a/b'"),
        (None, "must be a data set or a mapping with a type"),
        ({}, "type must be one of huggingface, blob, local, dataset, not None"),
        ({"type": "s3"}, "not 's3'"),
        ({"type": ["blob"]}, "type must be one of"),
        ({"type": "huggingface"}, "a data set of type 'huggingface' needs name"),
        ({"type": "huggingface", "name": ""}, "needs name"),
        ({"type": "huggingface", "name": "a/b", "splits": "x"}, "has no setting splits"),
        ({"type": "local"}, "needs path"),
        ({"type": "local", "path": 3}, "path must be a text or a Path, not 3"),
        ({"type": "huggingface", "name": 3}, "name must be a text that is not empty, not 3"),
        ({"type": "blob", "url": "https://x", "token": 3}, "token must be a text"),
    ],
)
def test_a_mapping_that_is_no_data_set_is_refused(value: Any, says: str) -> None:
    """The setting is named, and what it must be."""
    with pytest.raises(ConfigError) as raised:
        parse_dataset(value)
    assert raised.value.field == "dataset"
    assert says in str(raised.value)


@pytest.mark.parametrize("make", [HuggingFaceDataset, BlobDataset, UploadedDataset, LocalDataset])
@pytest.mark.parametrize("value", ["", 3, None])
def test_a_data_set_needs_its_name(make: Any, value: Any) -> None:
    """Also where it is made directly."""
    with pytest.raises(ConfigError):
        make(value)


def test_the_token_of_a_blob_is_not_shown() -> None:
    """Not in its repr, so not in a traceback."""
    assert "secret" not in repr(BlobDataset("https://x", token="secret"))
