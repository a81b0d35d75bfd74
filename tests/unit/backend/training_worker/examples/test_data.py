"""How many of a job's rows are learnt, and that nothing of them is lost in silence."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs
import pytest

from arkor.backend.training_worker.examples.data import Data, prepare_data
from arkor.backend.training_worker.limits.lengths import Lengths
from arkor.backend.training_worker.spec import WorkerSpec
from arkor.errors import DatasetError
from arkor.protocol.config import JobConfig
from arkor.protocol.receipt import NumberedCount, Receipt
from tests.support.attempts import UPLOADED, attempt
from tests.support.characters import Tokenizer, plain


def written(file: Path, rows: Sequence[dict[str, Any]]) -> Path:
    """Write rows."""
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def spec(
    folder: Path, rows: Sequence[dict[str, Any]], held_out: Sequence[dict[str, Any]] | None = None, **settings: Any
) -> WorkerSpec:
    """Return an attempt at a job with those rows, and held-out rows of a source of their own, where there are any."""
    if held_out is not None:
        settings["eval_dataset_source"] = UPLOADED
    eval_path = None if held_out is None else written(folder / "held-out.jsonl", held_out)
    config = JobConfig(model="m", dataset_source=UPLOADED, **settings)
    return attempt(config, folder, written(folder / "rows.jsonl", rows), eval_dataset_path=eval_path)


def pairs(rows: Sequence[str], *keys: str) -> list[dict[str, Any]]:
    """Return rows of a question and an answer, ``q:a``."""
    return [dict(zip(keys, row.split(":"), strict=True)) for row in rows]


def prepared(
    folder: Path,
    rows: Sequence[str],
    most: Lengths | None = None,
    held_out: Sequence[str] | None = None,
    **settings: Any,
) -> Data:
    """Prepare rows of a question and an answer, of one token a character; held-out ones are of another format."""
    own = None if held_out is None else pairs(held_out, "instruction", "output")
    attempt = spec(folder, pairs(rows, "prompt", "completion"), own, **settings)
    return prepare_data(attempt, Tokenizer(plain), most or Lengths())


SHORT = "q:a"  # <u:q>, a line break, <a:a> and the same: 12 tokens, the last one not counted
LONG = f"q:{'a' * 20}"
ASKS_MUCH = f"{'q' * 40}:a"


def test_the_receipt_says_what_is_learnt(tmp_path: Path) -> None:
    """Of rows that all fit; a repeated row is named, also one that is held out and trained on."""
    data = prepared(tmp_path, [SHORT, LONG, SHORT, SHORT], dataset_split={"evalFraction": 0.25})
    assert data.receipt == Receipt(
        rows=3,
        held_out_rows=1,
        examples=3,
        answers=3,
        tokens=12 + 31 + 12,
        counted_tokens=2 + 21 + 2,
        max_length=31,
        max_length_reason="the longest row",
        duplicates=NumberedCount(1, (3,)),
        held_out_duplicates=NumberedCount(1, (4,), 1),
    )
    assert (data.train_rows, data.eval_rows) == (3, 1)


def test_a_receipt_travels(tmp_path: Path) -> None:
    """As JSON, and back; a reader that does not know a field, or does not get one, goes on."""
    receipt = attrs.evolve(
        prepared(tmp_path, [SHORT]).receipt,
        left_out={"tools": NumberedCount(2, (1, 3))},
        unseen_keys={"id": NumberedCount(1, (3,))},
        more_unseen_keys=1,
        recognised_columns="question as prompt",
    )
    body = json.loads(json.dumps(receipt.to_wire()))
    assert Receipt.from_wire({**body, "new": 1}) == receipt
    assert Receipt.from_wire({"rows": 3}) == Receipt(rows=3)
    assert Receipt.from_wire("none") is None
    assert receipt.warnings() == [
        "2 rows of which the chat template left out the tools (rows 1, 3)",
        "columns are taken as follows: question as prompt. columns= changes that",
        "the model does not see id (1 row) and 1 further key",
    ]


def test_keys_that_the_model_does_not_see_are_named_once(tmp_path: Path) -> None:
    """Each with its rows, and those of a wide table not all."""
    rows = [{"prompt": "q", "completion": str(number), "id": number} for number in range(4)]
    receipt = prepare_data(spec(tmp_path, [*rows[:3], {**rows[3], "url": "u"}]), Tokenizer(plain), Lengths()).receipt
    assert receipt.unseen_keys == {"id": NumberedCount(4, (1, 2, 3, 4)), "url": NumberedCount(1, (4,))}
    assert receipt.warnings() == ["the model does not see id (4 rows), url (1 row)"]
    wide = {f"column{number}": 1 for number in range(23)} | {"\x1b[31m": 1}
    receipt = prepare_data(spec(tmp_path, [rows[0] | wide]), Tokenizer(plain), Lengths()).receipt
    assert list(receipt.unseen_keys) == ["id", *list(wide)[:19]]
    assert receipt.warnings()[0].endswith("column18 (1 row) and 5 further keys")
    receipt = prepare_data(spec(tmp_path, [rows[0] | {"\x1b[31m": 1}]), Tokenizer(plain), Lengths()).receipt
    assert list(receipt.unseen_keys) == ["id", r"'\x1b[31m'"]


def test_what_training_cannot_honour_is_named(tmp_path: Path) -> None:
    """A row may say that calls come one at a time; no template shows it to the model."""
    talk = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
    rows = [{"messages": talk, "parallel_tool_calls": False}]
    receipt = prepare_data(spec(tmp_path, rows), Tokenizer(plain), Lengths()).receipt
    assert receipt.warnings() == ["the model does not see parallel_tool_calls (1 row)"]


def test_columns_that_were_recognised_are_in_the_receipt(tmp_path: Path) -> None:
    """Also those of held-out rows alone."""
    known, common = [{"prompt": "q", "completion": "a"}], [{"question": "q", "answer": "a"}]
    for train, held_out in ((common, None), (known, common)):
        receipt = prepare_data(spec(tmp_path, train, held_out), Tokenizer(plain), Lengths()).receipt
        assert receipt.recognised_columns == "question as prompt, answer as completion"


def test_rows_with_a_special_token_in_their_text_are_named(tmp_path: Path) -> None:
    """Held-out ones too."""
    receipt = prepared(tmp_path, [SHORT, "q>:a", "q:<a"], dataset_split={"evalFraction": 0.3}).receipt
    assert receipt.special_text.count == 2
    [warning] = receipt.warnings()
    assert warning.startswith("2 rows with a special token in the text: escape_special_tokens=True keeps it text")


def test_held_out_rows_of_another_source_have_numbers_of_their_own(tmp_path: Path) -> None:
    """The same number means two rows; a row of both sets is named, whatever its format is there."""
    data = prepared(tmp_path, [SHORT, LONG], held_out=[LONG, "other:a", SHORT], max_length=20)
    assert (data.format, data.train_rows, data.eval_rows) == ("prompt_completion", 2, 3)
    receipt = data.receipt
    assert (receipt.truncated, receipt.without_end) == (NumberedCount(2, (2, 1), 1), NumberedCount(1, (2,)))
    assert receipt.held_out_duplicates == NumberedCount(2, (1, 3), 2)
    assert Receipt.from_wire(json.loads(json.dumps(receipt.to_wire()))) == receipt
    assert receipt.warnings() == [
        "2 rows cut to max_length (row 2; held-out row 1)",
        "1 row without a learnt end: the model does not learn there to stop (row 2)",
        "2 rows held out and trained on alike: their loss says nothing about new rows (held-out rows 1, 3)",
    ]


def test_an_old_receipt_has_one_list_of_numbers() -> None:
    """An old backend does not say which of them are held out; a new one's list is the same for an old client."""
    assert NumberedCount.from_wire({"count": 3, "rows": [7, 9, 7]}).numbers() == "rows 7, 9, 7"
    assert NumberedCount.of([7, 9], [7]).to_wire() == {"count": 3, "rows": [7, 9, 7], "heldOut": 1}
    assert NumberedCount.of([7]).to_wire() == {"count": 1, "rows": [7]}
    many = NumberedCount.of(range(1, 31), [4])
    assert many.numbers() == f"rows {', '.join(map(str, range(1, 21)))}, …; held-out row 4"
    assert NumberedCount.of([], range(1, 31)).numbers() == f"held-out rows {', '.join(map(str, range(1, 21)))}, …"
    assert NumberedCount.from_wire({"count": 1, "rows": [2], "heldOut": 9}) == NumberedCount(1, (2,), 1)


def test_a_row_that_is_cut_is_named(tmp_path: Path) -> None:
    """It has an answer without an end."""
    receipt = prepared(tmp_path, [SHORT, LONG], max_length=20).receipt
    assert (receipt.truncated, receipt.without_end) == (NumberedCount(1, (2,)), NumberedCount(1, (2,)))
    assert (receipt.answers, receipt.unlearnt_answers, receipt.dropped.count) == (2, 1, 0)
    assert (receipt.max_length, receipt.max_length_reason) == (20, "set by the job")


def test_without_a_length_the_model_and_the_machine_set_it(tmp_path: Path) -> None:
    """Whichever is the least; a row beyond is dropped, one in a hundred."""
    rows = [*[SHORT] * 99, LONG]
    receipt = prepared(tmp_path, rows, Lengths(context=30, device=64)).receipt
    assert (receipt.max_length, receipt.max_length_reason) == (30, "the model's context")
    assert (receipt.dropped, receipt.unlearnt_answers) == (NumberedCount(1, (100,)), 1)
    receipt = prepared(tmp_path, rows, Lengths(context=64, device=28)).receipt
    assert (receipt.max_length, receipt.max_length_reason) == (28, "the most on a CPU")


def test_a_job_that_would_lose_more_than_one_row_in_a_hundred_fails(tmp_path: Path) -> None:
    """It says how many, which, and what to do; unless that is what was asked for."""
    rows = [SHORT, *[ASKS_MUCH] * 9]
    with pytest.raises(DatasetError) as caught:
        prepared(tmp_path, rows, max_length=20)
    assert "9 of 10 rows would be lost: within max_length=20 tokens" in str(caught.value)
    assert "rows 2, 3, 4, 5, 6, 7, 8, 9, 10; raise max_length, or set" in str(caught.value)
    with pytest.raises(DatasetError, match="set a max_length that they fit into"):
        prepared(tmp_path, rows, Lengths(context=20))
    assert prepared(tmp_path, rows, max_length=20, excess_length="drop").train_rows == 1


def test_a_job_that_would_lose_all_held_out_rows_fails(tmp_path: Path) -> None:
    """The evaluation that was asked for would never run."""
    split = {"evalFraction": 0.1}
    with pytest.raises(DatasetError, match="no held-out row is left to evaluate"):
        prepared(tmp_path, [*[SHORT] * 9, LONG], max_length=20, excess_length="drop", dataset_split=split)
    with pytest.raises(DatasetError, match=r"eval_dataset: no held-out row .* to learn of held-out row 1; raise"):
        prepared(tmp_path, [SHORT], held_out=[LONG], max_length=20, excess_length="drop")


def test_a_job_can_insist_on_every_row(tmp_path: Path) -> None:
    """One in two hundred is too many then."""
    with pytest.raises(DatasetError, match="1 of 200 rows would be lost"):
        prepared(tmp_path, [*[SHORT] * 199, LONG], max_length=20, excess_length="error")


def test_a_job_without_any_row_left_fails(tmp_path: Path) -> None:
    """Whatever may be dropped."""
    with pytest.raises(DatasetError, match="no row is left to train on"):
        prepared(tmp_path, [ASKS_MUCH], max_length=20, excess_length="drop")


def test_a_resumed_attempt_has_the_limits_of_the_first(tmp_path: Path) -> None:
    """A GPU may have less free memory by then, and other rows would be dropped."""
    file = tmp_path / "lengths.json"
    first = Lengths(8192, 1472, "the most in this GPU's memory with batch_size=4, by an estimate")
    assert Lengths.remembered(file, lambda: first) == first
    assert Lengths.remembered(file, lambda: Lengths(8192, 64)) == first
