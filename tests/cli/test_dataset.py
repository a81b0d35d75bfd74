"""``arkor dataset check`` as its users meet it."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.commands import TIMEOUT_S, Command, run

GOOD = [
    {"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]},
    {"messages": [{"role": "user", "content": "größer?"}, {"role": "assistant", "content": "ja" * 700}] * 2},
]


def write(name: str, *lines: str) -> None:
    """Write a file of the project."""
    Path(name).write_text("".join(f"{line}\n" for line in lines))


def piped(content: bytes, *arguments: str) -> tuple[int, str, str]:
    """Check what comes on stdin; return the exit code, stdout and stderr."""
    command = [sys.executable, "-m", "arkor.cli", "dataset", "check", "-", *arguments]
    environment = {**os.environ, "PYTHONWARNINGS": "error"}
    ended = subprocess.run(command, input=content, capture_output=True, timeout=TIMEOUT_S, env=environment, check=False)
    return ended.returncode, ended.stdout.decode(), ended.stderr.decode()


def test_a_good_file_is_summed_up() -> None:
    """For people, in a few lines."""
    write("rows.jsonl", *map(json.dumps, GOOD))
    ended = run("dataset", "check", "rows.jsonl")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out == (
        "rows.jsonl: 2 rows of chatml, all good\n"
        "  turns    6: 3.0 a row, at most 4\n"
        "  longest  row 2: 2,814 characters\n"
        "  size     3.0 KiB as JSONL\n"
    )


def test_a_good_file_of_plain_texts_has_no_turns() -> None:
    """Nor are there two rows where there is one."""
    write("rows.csv", "text", "a")
    ended = run("dataset", "check", "rows.csv")
    assert (ended.code, ended.out) == (
        0,
        "rows.csv: 1 row of text, all good\n  longest  row 2: 1 character\n  size     14 bytes as JSONL\n",
    )


def test_a_good_file_is_told_to_programs() -> None:
    """One JSON object, in the names of the wire."""
    write("rows.csv", "instruction,output,id", "a,bc,1", "d,e,2")
    ended = run("dataset", "check", "rows.csv", "--json")
    assert ended.code == 0
    assert json.loads(ended.out) == {
        "rows": 2,
        "format": "alpaca",
        "turns": 4,
        "meanTurns": 2.0,
        "maxTurns": 2,
        "longestRow": 2,
        "longestCharacters": 3,
        "sizeBytes": 68,
    }
    assert ended.err == "Warning: rows.csv: left away, as the format has no such columns: id\n"


def test_bad_rows_are_listed_with_exit_code_2() -> None:
    """Each with its line and the reason; the first twenty, and how many more."""
    write("rows.jsonl", '{"text": "a"}', *['{"text": ""}'] * 25)
    ended = run("dataset", "check", "rows.jsonl")
    assert (ended.code, ended.out) == (2, "")
    lines = ended.err.splitlines()
    assert lines[0] == "Error: rows.jsonl: 25 rows cannot be trained on"
    assert lines[1:21] == [f"  row {number}: text must not be empty" for number in range(2, 22)]
    assert lines[21:] == ["  and 5 more"]


def test_bad_rows_are_told_to_programs() -> None:
    """Also on stdout, with the same exit code."""
    write("rows.jsonl", '{"text": "a"}', "{broken", *['{"text": ""}'] * 20)
    ended = run("dataset", "check", "rows.jsonl", "--json")
    assert (ended.code, ended.err) == (2, "")
    told = json.loads(ended.out)
    assert told["error"] == "rows.jsonl: 21 rows cannot be trained on"
    assert told["rows"][0] == {
        "row": 2,
        "reason": "is not JSON: Expecting property name enclosed in double quotes (column 2)",
    }
    assert (len(told["rows"]), told["more"]) == (20, 1)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "cannot be read: No such file or directory ("),
        (b"", "is empty"),
        (b"\n\n", "has no rows"),
        (gzip.compress(b"", mtime=0), "is empty"),
        (b'{"prompt": "a", "chosen": "b", "rejected": "c"}', "has rows of preferences (two answers, one of them bett"),
    ],
    ids=["missing", "empty", "blank", "compressed", "preferences"],
)
def test_a_file_that_is_none_is_told(content: bytes | None, says: str) -> None:
    """One line, exit code 2."""
    if content is not None:
        Path("rows.jsonl").write_bytes(content)
    ended = run("dataset", "check", "rows.jsonl")
    assert ended.code == 2
    assert ended.err.startswith(f"Error: rows.jsonl: {says}")
    assert ended.err.count("\n") == 1


@pytest.mark.parametrize(
    ("content", "arguments", "first_line"),
    [
        (b'{"text": "a"}\n', (), "stdin: 1 row of text, all good"),
        (b"text\na\nb\n", ("--format", "csv"), "stdin: 2 rows of text, all good"),
        (b"prompt\tcompletion\na\tb\n", ("--format", "tsv"), "stdin: 1 row of prompt_completion, all good"),
    ],
)
def test_what_comes_on_stdin_is_checked(content: bytes, arguments: tuple[str, ...], first_line: str) -> None:
    """A dash stands for it; JSONL unless told otherwise."""
    code, out, err = piped(content, *arguments)
    assert (code, out.splitlines()[0], err) == (0, first_line, "")


def test_bad_rows_on_stdin_are_listed() -> None:
    """By the same words."""
    assert piped(b'{"text": ""}\n')[::2] == (
        2,
        "Error: stdin: 1 row cannot be trained on\n  row 1: text must not be empty\n",
    )


def test_a_format_that_is_named_wins_over_the_files_name() -> None:
    """A file may be called anything."""
    write("rows.txt", "text", "a")
    assert run("dataset", "check", "rows.txt", "--format", "csv").code == 0
    assert run("dataset", "check", "rows.txt").code == 2


def test_columns_are_renamed() -> None:
    """By pairs; common ones are recognised, and a warning says so."""
    write("rows.csv", "id,frage,antwort", "1,a,b")
    ended = run("dataset", "check", "rows.csv")
    assert ended.code == 2
    assert 'pass columns={"frage": "prompt", "antwort": "completion"}' in ended.err
    ended = run("dataset", "check", "rows.csv", "--column", "frage=prompt", "--column", "antwort=completion")
    assert (ended.code, ended.out.splitlines()[0]) == (0, "rows.csv: 1 row of prompt_completion, all good")
    assert ended.err == "Warning: rows.csv: left away, as the format has no such columns: id\n"
    write("rows.jsonl", '{"question": "a", "answer": "b", "id": 1}')
    ended = run("dataset", "check", "rows.jsonl")
    assert ended.code == 0
    assert "columns are taken as follows: question as prompt, answer as completion" in ended.err
    assert ended.out.endswith("  unused   id: no model sees them\n")
    ended = run("dataset", "check", "rows.jsonl", "--json")
    assert json.loads(ended.out)["unused"] == ["id"]


@pytest.mark.parametrize(
    ("pairs", "says"),
    [
        (("question",), "'question' is not OLD=NEW, once for each column."),
        (("=prompt",), "'=prompt' is not OLD=NEW"),
        (("a=prompt", "a=completion"), "'a=completion' is not OLD=NEW, once for each column."),
        (("a=promt",), "belongs to no format; did you mean prompt?"),
    ],
)
def test_columns_that_cannot_be_are_refused(pairs: tuple[str, ...], says: str) -> None:
    """With exit code 2."""
    write("rows.csv", "text", "a")
    ended = run("dataset", "check", "rows.csv", *[item for pair in pairs for item in ("--column", pair)])
    assert ended.code == 2
    assert says in ended.err


def test_several_files_are_summed_up_with_their_rows() -> None:
    """So that a number can be found."""
    write("a.jsonl", '{"text": "a"}', '{"text": "b"}')
    write("b.csv", "text", "c")
    ended = run("dataset", "check", "*.*")
    assert ended.out == (
        "*.*: 3 rows of text, all good\n"
        "  longest  row 1: 1 character\n"
        "  size     40 bytes as JSONL\n"
        "  file     a.jsonl: from row 1\n"
        "  file     b.csv: from row 3\n"
    )


def test_ctrl_c_ends_the_check() -> None:
    """Exit code 130, and no traceback."""
    os.mkfifo("rows.jsonl")
    command = Command("dataset", "check", "rows.jsonl")
    with Path("rows.jsonl").open("wb") as out:  # returns when the command has opened the other end
        out.write(b'{"text": "a"}\n' * 100_000)  # more than a pipe holds: the command has read most of it
        ended = command.interrupt()
    assert (ended.code, ended.out) == (130, "")
