"""Rows as a job would see them, before there is a job: the same receipt, the same tokens, the same refusals."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from arkor.backend.training_worker import preview as module
from arkor.backend.training_worker.data import prepare_data
from arkor.backend.training_worker.lengths import Lengths
from arkor.backend.training_worker.preview import answer, preview, summary
from arkor.backend.training_worker.rows import load_rows
from arkor.backend.training_worker.spec import RowsSpec
from arkor.backend.training_worker.tokenize import IGNORED
from arkor.errors import DatasetError
from arkor.protocol.config import JobConfig
from arkor.protocol.previews import LongerRows, RowLength, RowPreview, TokenSummary
from tests.support import chat_templates
from tests.support.characters import Tokenizer, plain

SHORT = "q:a"  # <u:q>, a line break, <a:a> and the same: 12 tokens
LONG = f"q:{'a' * 100}"  # 111 tokens
TWO_ANSWERS = [
    {"role": "user", "content": "größer 日本"},
    {"role": "assistant", "content": "ja 👩‍🚀"},
    {"role": "user", "content": "und?"},
    {"role": "assistant", "content": "nein"},
]


def spec_of(folder: Path, rows: Sequence[Any], **settings: Any) -> RowsSpec:
    """Write rows; a text ``q:a`` is a question and an answer."""
    pairs = [
        dict(zip(("prompt", "completion"), row.split(":"), strict=True)) if isinstance(row, str) else row
        for row in rows
    ]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in pairs))
    config = JobConfig(model="m", dataset_source={"type": "dataset", "id": "0" * 64}, **settings)
    return RowsSpec(config=config, dataset_path=folder / "rows.jsonl", job_dir=folder)


def summed_up(folder: Path, rows: Sequence[Any], most: Lengths | None = None, **settings: Any) -> TokenSummary:
    """Sum up rows with the tokenizer of one token a character."""
    spec = spec_of(folder, rows, **settings)
    return summary(load_rows(spec), Tokenizer(plain), spec.config, most or Lengths())


def shown(folder: Path, rows: Sequence[Any], number: int = 0, tokenizer: Any = None, **settings: Any) -> RowPreview:
    """Show a row."""
    spec = spec_of(folder, rows, **settings)
    return preview(load_rows(spec), number, tokenizer or Tokenizer(plain), spec.config, Lengths())


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"max_length": 100},
        {"max_length": 100, "excess_length": "drop", "dataset_split": {"evalFraction": 0.4}},
        {"train_on_responses_only": False, "dataset_split": {"evalFraction": 0.4, "seed": 1}},
    ],
    ids=range(4),
)
def test_the_receipt_is_that_of_the_job(tmp_path: Path, settings: dict[str, Any]) -> None:
    """Word for word, whatever the settings."""
    rows = [SHORT, LONG, "other:b", SHORT, "more:c"]
    said, spec = summed_up(tmp_path, rows, **settings), spec_of(tmp_path, rows, **settings)
    assert said.receipt == prepare_data(spec, Tokenizer(plain), Lengths()).receipt
    assert said.problem is None


def test_lengths_are_those_before_anything_is_cut(tmp_path: Path) -> None:
    """Held-out rows count; the longest rows are named, and what some lengths would cut."""
    rows = [*[SHORT] * 95, *[f"{'q' * 50}:a"] * 4, LONG]
    said = summed_up(tmp_path, rows, max_length=30, dataset_split={"evalFraction": 0.5}, excess_length="drop")
    assert (said.format, said.p50, said.p90, said.p99, said.longest) == ("prompt_completion", 12, 12, 61, 111)
    assert said.longest_rows == [RowLength(100, 111), *(RowLength(row, 61) for row in range(96, 100))]
    assert said.longer_rows == [LongerRows(30, 5), LongerRows(64, 1)]


def test_a_job_that_would_fail_is_foreseen(tmp_path: Path) -> None:
    """With its error; the figures are there all the same."""
    said = summed_up(tmp_path, [SHORT, *[f"{'q' * 50}:a"] * 9], max_length=30)
    assert said.problem is not None
    assert said.problem.startswith("9 of 10 rows would be lost: within max_length=30 tokens")
    assert (said.longest, said.receipt.dropped.count) == (61, 9)


def test_a_row_is_shown_with_what_counts(tmp_path: Path) -> None:
    """The whole text, with special tokens; a held-out row says so."""
    row = shown(tmp_path, [SHORT, "two:b"], 2, dataset_split={"evalFraction": 0.5})
    (example,) = row.examples
    assert (row.row, row.format, row.is_held_out, row.cut_tokens) == (2, "prompt_completion", True, 0)
    assert example.parts() == [("<u:two>\n<a:", False), ("b>", True), ("\n", False)]
    assert (len(example.tokens), example.counted) == (14, 2)


def test_without_a_number_the_first_row_is_shown(tmp_path: Path) -> None:
    """A file may begin with blank lines."""
    spec = spec_of(tmp_path, [SHORT])
    (tmp_path / "rows.jsonl").write_bytes(b"\n\n" + (tmp_path / "rows.jsonl").read_bytes())
    assert preview(load_rows(spec), 0, Tokenizer(plain), spec.config, Lengths()).row == 3


def test_a_row_that_is_too_long_is_shown_as_it_is_cut(tmp_path: Path) -> None:
    """Or not at all; how much is lost, and by which limit."""
    cut, dropped = (shown(tmp_path, [LONG], max_length=30, excess_length=way) for way in ("truncate", "drop"))
    assert (len(cut.examples[0].tokens), cut.cut_tokens) == (30, 81)
    assert (dropped.examples, dropped.cut_tokens) == ([], 111)
    assert (dropped.max_length, dropped.max_length_reason) == (30, "set by the job")


def test_a_row_that_is_not_there_is_refused(tmp_path: Path) -> None:
    """With the numbers that there are."""
    with pytest.raises(DatasetError, match=r"dataset: has no row 3: its rows are 1 to 2"):
        shown(tmp_path, [SHORT, SHORT], 3)


@pytest.mark.filterwarnings("default")  # the libraries' own
@pytest.mark.parametrize("name", ["qwen3", "llama3", "gptoss"])
def test_each_example_of_a_row_is_shown_whole(tmp_path: Path, name: str) -> None:
    """Templates that show an answer differently later give one example for each; no character of a text is lost."""
    tokenizer, row = chat_templates.tokenizer(name), {"messages": TWO_ANSWERS}
    spec = spec_of(tmp_path, [row])
    examples = prepare_data(spec, tokenizer, Lengths()).train
    found = shown(tmp_path, [row], tokenizer=tokenizer).examples
    assert [[token.id for token in example.tokens] for example in found] == [one["input_ids"] for one in examples]
    for example, one in zip(found, examples, strict=True):
        assert "".join(text for text, _ in example.parts()) == tokenizer.decode(one["input_ids"])
        assert [token.counted for token in example.tokens] == [label != IGNORED for label in one["labels"]]
    answers = "".join(text for example in found for text, counted in example.parts() if counted)
    assert "ja 👩‍🚀" in answers
    assert "nein" in answers


def test_fields_that_the_template_leaves_out_are_named(tmp_path: Path) -> None:
    """Where that is allowed."""
    asked, said = {"role": "user", "content": "q"}, {"role": "assistant", "content": "a", "reasoning_content": "why"}
    row = shown(tmp_path, [{"messages": [asked, said]}], allow_dropped_fields=["reasoning_content"])
    assert row.left_out == ["reasoning_content"]


def task(folder: Path, content: bytes) -> dict[str, Any]:
    """Return a task for a model that is not there."""
    (folder / "rows.jsonl").write_bytes(content)
    config = {"model": "m", "datasetSource": {"type": "dataset", "id": "0" * 64}}
    rows, model = str(folder / "rows.jsonl"), str(folder / "nowhere")
    files = {
        "modelPath": model,
        "datasetPath": rows,
        "evalDatasetPath": None,
        "folder": str(folder),
        "allowPrivateUrls": False,
    }
    return {"config": config, **files, "row": None}


def test_bad_rows_are_in_the_answer(tmp_path: Path) -> None:
    """As they are in a job's error, for the client to put its own name to them."""
    assert answer(task(tmp_path, b'{"text": ""}\n')) == {
        "status": 422,
        "error": "a row cannot be trained on",
        "source": "dataset",
        "rows": [{"row": 1, "reason": "text must not be empty"}],
    }


def test_other_failures_are_in_the_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Too little memory for so many rows, and a tokenizer that cannot be loaded."""
    assert answer(task(tmp_path, b'{"text": "a"}\n'))["status"] == 500

    def load(_: Any) -> None:
        raise MemoryError

    monkeypatch.setattr(module, "load_rows", load)
    said = answer(task(tmp_path, b'{"text": "a"}\n'))
    assert said == {
        "status": 422,
        "error": "The rows take more than 4 GiB of memory to be shown: check a part of them.",
    }
