"""Rows as a job would see them, before there is a job: the same receipt, the same tokens, the same refusals."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import given, strategies as st

from arkor.backend.training_worker import preview as module
from arkor.backend.training_worker.examples.data import prepare_data
from arkor.backend.training_worker.examples.tokenize import IGNORED
from arkor.backend.training_worker.limits.lengths import Lengths
from arkor.backend.training_worker.preview import (
    MOST_TOKENS_AROUND,
    answer,
    around,
    histogram,
    preview,
    search,
    summary,
)
from arkor.backend.training_worker.rows.load import load_rows
from arkor.backend.training_worker.rows.order import RowOrder
from arkor.backend.training_worker.rows.spec import RowsSpec
from arkor.errors import DatasetError
from arkor.protocol.config import JobConfig
from arkor.protocol.previews import (
    MOST_BUCKETS,
    Example,
    LengthBucket,
    LongerRows,
    RowLength,
    RowPlace,
    RowPreview,
    Token,
    TokenSummary,
)
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
    folder.mkdir(exist_ok=True)
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
    order = RowOrder(load_rows(spec))
    return preview(order, order.position(number, None), tokenizer or Tokenizer(plain), spec.config, Lengths())


def ordered(folder: Path, rows: Sequence[Any], *, held_out: Sequence[Any] = (), **settings: Any) -> RowOrder:
    """Return the order of rows; held-out rows may have a file of their own."""
    spec = spec_of(folder, rows, **settings)
    if held_out:
        other = spec_of(folder / "eval", held_out)
        config = attrs.evolve(spec.config, eval_dataset_source=other.config.dataset_source)
        spec = attrs.evolve(spec, config=config, eval_dataset_path=other.dataset_path)
    return RowOrder(load_rows(spec))


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
    assert RowOrder(load_rows(spec)).place(0) == RowPlace(3)


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


SPLIT: dict[str, Any] = {"dataset_split": {"evalFraction": 0.5, "seed": 3}}


def test_rows_come_in_the_order_of_their_source(tmp_path: Path) -> None:
    """Held-out rows between the others, as in the file; each row names the ones beside it."""
    order = ordered(tmp_path, [SHORT] * 4, **SPLIT)
    places = [order.place(position) for position in range(-1, 5)]
    held_out = {place.row for place in places if place is not None and place.is_held_out}
    assert places == [None, *(RowPlace(row, row in held_out) for row in range(1, 5)), None]
    assert len(held_out) == 2
    row = shown(tmp_path, [SHORT] * 4, 2, **SPLIT)
    assert (row.previous, row.is_held_out, row.next) == (places[1], 2 in held_out, places[3])


def test_held_out_rows_of_their_own_source_come_last(tmp_path: Path) -> None:
    """Their numbers are their own: the mark of a held-out row says which one is meant."""
    order = ordered(tmp_path, [SHORT, SHORT], held_out=["other:b"])
    assert [order.place(position) for position in range(3)] == [RowPlace(1), RowPlace(2), RowPlace(1, True)]
    asked = [(0, None), (1, None), (1, True), (0, True)]
    assert [order.position(number, mark) for number, mark in asked] == [0, 0, 2, 2]
    shown = preview(order, 2, Tokenizer(plain), JobConfig(model="m", dataset_source={}), Lengths())
    assert (shown.is_held_out, shown.examples[0].parts()[0][0]) == (True, "<u:other>\n<a:")
    with pytest.raises(DatasetError, match=r"dataset: has no row 2 held out: its rows are 1 to 2"):
        order.position(2, True)


def test_rows_around_are_the_nearest_within_bounds(tmp_path: Path) -> None:
    """A row that cannot be shown is left out: who asks for it is told."""
    order = ordered(tmp_path, [SHORT] * 6)

    def show(position: int, tokens: int = 1) -> RowPreview:
        if position == 3:
            raise DatasetError("dataset", "cannot be tokenized")
        return RowPreview(row=position + 1, examples=[Example([Token(1, "", False)] * tokens)])

    assert [row.row for row in around(order, 1, 0, show)] == []
    assert [row.row for row in around(order, 1, 3, show)] == [3, 1, 5]
    assert [row.row for row in around(order, 1, 3, lambda at: show(at, MOST_TOKENS_AROUND + 1))] == [3]


def test_a_search_finds_text_whatever_its_case(tmp_path: Path) -> None:
    """In every text of a row that the model may see; with the text around, and the number of all rows found."""
    said = {"role": "assistant", "content": f"{'x' * 50} (STRASSE) {'y' * 200}"}
    call = {"type": "function", "function": {"name": "find", "arguments": {"query": "strasse 4"}}}
    rows = [
        {"messages": [{"role": "user", "content": "a"}, said]},
        {"messages": [{"role": "user", "content": "b"}, {"role": "assistant", "tool_calls": [call]}]},
        {"messages": [{"role": "user", "content": "c"}, {"role": "assistant", "content": "d"}], "note": "strasse"},
    ]
    order = ordered(tmp_path, rows)
    found = search(order, "(strasse", None, 0, 10)
    (hit,) = found["hits"]
    assert (found["total"], hit["row"], hit["isHeldOut"], hit["match"]) == (1, 1, False, "(STRASSE")
    assert hit["before"] == f"…{'x' * 39} "
    assert hit["after"] == f") {'y' * 118}…"
    assert [hit["row"] for hit in search(order, "strasse", None, 0, 10)["hits"]] == [1, 2]
    assert search(order, "user", None, 0, 10) == {"hits": [], "total": 0}


def test_hits_come_in_pages(tmp_path: Path) -> None:
    """Of the rows of one kind only, where that is asked; the empty text is in every row, which its end tells apart."""
    order = ordered(tmp_path, [f"same:{number}" for number in range(1, 9)], **SPLIT)
    pages = [search(order, "same", None, offset, 3) for offset in (0, 3, 6, 9)]
    assert [[hit["row"] for hit in page["hits"]] for page in pages] == [[1, 2, 3], [4, 5, 6], [7, 8], []]
    assert {page["total"] for page in pages} == {8}
    kinds = [search(order, "", kind, 0, 9) for kind in (True, False)]
    assert [page["total"] for page in kinds] == [4, 4]
    assert all(hit["isHeldOut"] and hit["after"] == str(hit["row"]) for hit in kinds[0]["hits"])


def test_a_histogram_counts_every_example(tmp_path: Path) -> None:
    """Held-out ones, too, and before anything is cut."""
    rows = [*[SHORT] * 3, LONG]
    said = summed_up(tmp_path, rows, max_length=30, **SPLIT)
    assert (said.histogram[0], said.histogram[-1]) == (LengthBucket(10, 15, 3), LengthBucket(110, 115, 1))
    assert sum(bucket.examples for bucket in said.histogram) == 4


@given(st.lists(st.integers(0, 200_000), max_size=60))
def test_a_histogram_has_few_ranges_that_join(lengths: list[int]) -> None:
    """Each length is in one of them."""
    lengths = sorted(lengths)
    found = histogram(lengths)
    assert len(found) <= MOST_BUCKETS
    assert [one.below for one in found[:-1]] == [one.at_least for one in found[1:]]
    assert len({one.below - one.at_least for one in found}) <= 1
    for one in found:
        assert one.examples == sum(one.at_least <= length < one.below for length in lengths)
    assert sum(one.examples for one in found) == len(lengths)


def test_a_search_needs_no_tokenizer(tmp_path: Path) -> None:
    """So it is quick, and the model may be anywhere."""
    asked = {"text": "A", "isHeldOut": None, "offset": 0, "limit": 5}
    said = answer({**task(tmp_path, b'{"text": "a"}\n'), "search": asked})
    assert said == {"hits": [{"row": 1, "isHeldOut": False, "before": "", "match": "a", "after": ""}], "total": 1}


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
    return {"config": config, **files}


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
