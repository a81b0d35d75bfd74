"""From a source to checked rows, and which of them are held out."""

from __future__ import annotations

import hashlib
import json
import tempfile
import traceback
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import attrs
import pytest

from arkor.backend.training_worker.rows import download, load as rows
from arkor.backend.training_worker.rows.blob_body import Limits
from arkor.backend.training_worker.rows.load import fetch_rows, load_rows
from arkor.backend.training_worker.rows.spool import NumberedRow
from arkor.backend.training_worker.spec import WorkerSpec
from arkor.errors import DatasetError
from arkor.protocol.config import JobConfig
from tests.support.attempts import UPLOADED, attempt
from tests.support.blobs import BlobHost, whole


def write(path: Path, content: list[Any] | bytes) -> Path:
    lines = content if isinstance(content, bytes) else b"".join(json.dumps(row).encode() + b"\n" for row in content)
    path.write_bytes(lines)
    return path


def spec(
    folder: Path, content: list[Any] | bytes, held_out: list[Any] | bytes | None = None, **config: Any
) -> WorkerSpec:
    """Return a job on rows that were uploaded, and on held-out rows of their own, where there are any."""
    path = write(folder / "rows.jsonl", content)
    eval_path = None if held_out is None else write(folder / "held-out.jsonl", held_out)
    if eval_path is not None:
        config = {"evalDatasetSource": UPLOADED, **config}
    fields = {"model": "m", "datasetSource": UPLOADED, **config}
    return attempt(JobConfig.from_wire(fields), folder, path, eval_dataset_path=eval_path)


TEXTS = [{"text": f"row {number}"} for number in range(20)]


def test_the_format_is_detected_and_other_columns_are_left_out(tmp_path: Path) -> None:
    """Those that say something are named. Rows keep their line numbers, blank lines counted."""
    loaded = load_rows(spec(tmp_path, b'\n{"prompt": "a", "completion": "b", "id": 5, "tag": " ", "url": null}\n'))
    assert loaded.train.format == "prompt_completion"
    assert list(loaded.train.rows) == [NumberedRow(2, {"prompt": "a", "completion": "b"}, ("id",))]
    assert list(loaded.eval.rows) == []


def test_a_key_that_asks_for_what_is_not_done_is_no_other_column(tmp_path: Path) -> None:
    """A weight of a whole row is refused wherever the rows come from."""
    talk = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
    with pytest.raises(DatasetError) as caught:
        load_rows(spec(tmp_path, json.dumps({"messages": talk, "weight": 0.5}).encode()))
    assert "weight of a whole row is not understood" in str(caught.value)


def test_the_format_given_wins_over_the_one_detected(tmp_path: Path) -> None:
    """A row with several sets of keys is read as the config says."""
    row = {"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}], "text": "z"}
    loaded = load_rows(spec(tmp_path, [row], datasetFormat={"type": "text"}))
    assert (loaded.train.format, loaded.train.rows[0].row) == ("text", {"text": "z"})


@pytest.mark.parametrize(
    ("content", "config", "row", "says"),
    [
        (b'{"text": "a"}\n{"text": ""}\n', {}, 2, "must not be empty"),
        (b'{"text": "a"}\n{"prompt": "a", "completion": "b"}\n', {}, 2, "has no text"),
        (b'{"text": "a"}\n', {"datasetFormat": {"type": "alpaca"}}, 1, "has no instruction and no output"),
        (b"{", {}, 1, "not JSON"),
    ],
)
def test_a_bad_row_is_named(tmp_path: Path, content: bytes, config: dict[str, Any], row: int, says: str) -> None:
    """With its line and the reason."""
    with pytest.raises(DatasetError, match=says) as caught:
        load_rows(spec(tmp_path, content, **config))
    assert caught.value.problems[0][0] == row


def test_a_file_without_rows_is_an_error(tmp_path: Path) -> None:
    """As is one that cannot be read."""
    with pytest.raises(DatasetError, match="has no rows"):
        load_rows(spec(tmp_path, b"\n"))
    missing = spec(tmp_path, TEXTS)
    (tmp_path / "rows.jsonl").unlink()
    with pytest.raises(DatasetError, match="cannot be read"):
        load_rows(missing)


def test_a_disk_that_takes_no_rows_is_named(tmp_path: Path) -> None:
    """With the reason."""
    job = attrs.evolve(spec(tmp_path, TEXTS), job_dir=str(tmp_path / "missing"))
    with pytest.raises(DatasetError, match="dataset: the rows cannot be kept on the backend's disk: No such file"):
        load_rows(job)


def test_rows_are_held_out_the_same_way_each_time(tmp_path: Path) -> None:
    """By fraction and seed; another seed holds out others."""
    first, again, other = (
        load_rows(spec(tmp_path, TEXTS, datasetSplit={"evalFraction": 0.15, "seed": seed})) for seed in (1, 1, 2)
    )
    assert (len(first.train.rows), len(first.eval.rows)) == (17, 3)
    assert [*first.train.rows, *first.eval.rows] == [*again.train.rows, *again.eval.rows]
    assert list(first.eval.rows) != list(other.eval.rows)


def test_one_row_cannot_be_divided(tmp_path: Path) -> None:
    """The error says what to leave away."""
    with pytest.raises(DatasetError, match="evalFraction"):
        load_rows(spec(tmp_path, TEXTS[:1], datasetSplit={"evalFraction": 0.5}))


def test_a_dry_run_takes_a_few_rows(tmp_path: Path) -> None:
    """8 to train on, 4 held out."""
    loaded = load_rows(spec(tmp_path, TEXTS, dryRun=True, datasetSplit={"evalFraction": 0.4}))
    assert (len(loaded.train.rows), len(loaded.eval.rows)) == (rows.DRY_RUN_TRAIN_ROWS, rows.DRY_RUN_EVAL_ROWS)


def test_without_a_seed_the_last_rows_are_held_out(tmp_path: Path) -> None:
    """So that the author of a file decides which rows these are."""
    loaded = load_rows(spec(tmp_path, TEXTS, datasetSplit={"evalFraction": 0.15}))
    assert [row.number for row in loaded.train.rows] == list(range(1, 18))
    assert [row.number for row in loaded.eval.rows] == [18, 19, 20]


def test_held_out_rows_can_have_a_source_of_their_own(tmp_path: Path) -> None:
    """With numbers and a format of their own; a dry run takes four of them."""
    answers = [{"instruction": "a", "output": str(number)} for number in range(9)]
    loaded = load_rows(spec(tmp_path, TEXTS, answers))
    assert (loaded.train.source, loaded.train.format, len(loaded.train.rows)) == ("dataset", "text", 20)
    assert (loaded.eval.source, loaded.eval.format) == ("eval_dataset", "alpaca")
    assert [row.number for row in loaded.eval.rows] == list(range(1, 10))
    few = load_rows(spec(tmp_path, TEXTS, answers, dryRun=True))
    assert (len(few.train.rows), len(few.eval.rows)) == (rows.DRY_RUN_TRAIN_ROWS, rows.DRY_RUN_EVAL_ROWS)
    with pytest.raises(DatasetError, match="has no text, which text rows need") as caught:
        load_rows(spec(tmp_path, TEXTS, answers, datasetFormat={"type": "text"}))
    assert caught.value.source == "eval_dataset"


def test_a_bad_held_out_row_is_named_with_its_source(tmp_path: Path) -> None:
    """Also where both sets have the same address; so is a set without rows."""
    with pytest.raises(DatasetError, match="row 2: text must not be empty") as caught:
        load_rows(spec(tmp_path, TEXTS, b'{"text": "a"}\n{"text": ""}\n'))
    assert caught.value.source == "eval_dataset"
    with pytest.raises(DatasetError, match="eval_dataset: has no rows"):
        load_rows(spec(tmp_path, TEXTS, []))
    with BlobHost([whole(b'{"text": "a"}\n'), whole(b'{"text": ""}\n')]) as host:
        blob = {"type": "blob", "url": host.url()}
        job = attrs.evolve(spec(tmp_path, TEXTS, datasetSource=blob, evalDatasetSource=blob), allow_private_urls=True)
        with pytest.raises(DatasetError, match="row 1: text must not be empty") as caught:
            load_rows(job)
        assert caught.value.source == f"{host.url()} (held-out rows)"
        with pytest.raises(DatasetError, match="row 1"):  # a later attempt sees the same rows
            load_rows(job)
        assert len(host.heads) == 2


def test_named_splits_are_two_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each with numbers of its own; the one to evaluate may be one of another data set."""
    asked: list[tuple[str, str]] = []

    def load(source: dict[str, Any]) -> list[Any]:
        asked.append((source["name"], source.get("split", "train")))
        return [{"text": "a"}, {"text": ""}] if asked[-1][1] == "test" else [{"text": "a"}]

    monkeypatch.setattr(rows, "load_hub_rows", load)
    hub, other = ({"type": "huggingface", "name": name} for name in ("owner/rows", "owner/other"))
    with pytest.raises(DatasetError, match="row 2: text must not be empty") as caught:
        load_rows(spec(tmp_path, [], datasetSource=hub, datasetSplit={"train": "first", "eval": "test"}))
    assert caught.value.source == "owner/rows (held-out rows)"
    loaded = load_rows(spec(tmp_path, [], datasetSource=hub, evalDatasetSource={**other, "split": "dev"}))
    assert (len(loaded.train.rows), loaded.eval.source) == (1, "owner/other (held-out rows)")
    assert asked == [("owner/rows", "first"), ("owner/rows", "test"), ("owner/rows", "train"), ("owner/other", "dev")]


def test_sources_are_described_with_a_hash_and_without_their_secrets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rows of a URL or of the hub may change under the same name; the id of uploaded rows is a hash already."""
    monkeypatch.setattr(rows, "load_hub_rows", lambda _: SimpleNamespace(fingerprint="abc"))
    hub = {"type": "huggingface", "name": "owner/rows", "split": "dev", "subset": None}
    columns = {"frage": "prompt"}
    body = b'{"text": "a"}\n'
    with BlobHost([whole(body)]) as host:
        url = f"{host.url('me:SECRET@127.0.0.1')}?sig=SECRET#SECRET"
        blob = {"type": "blob", "url": url, "token": "SECRET", "columns": columns}
        job = attrs.evolve(spec(tmp_path, [], datasetSource=blob, evalDatasetSource=hub), allow_private_urls=True)
        assert fetch_rows(job).described() == {
            "rows": {
                "type": "blob",
                "url": host.url(),
                "columns": columns,
                "sha256": hashlib.sha256(body).hexdigest(),
            },
            "held_out_rows": {"type": "huggingface", "name": "owner/rows", "split": "dev", "fingerprint": "abc"},
        }
    assert fetch_rows(spec(tmp_path, TEXTS)).described() == {"rows": UPLOADED}


def test_rows_that_the_backend_fetches_are_converted_as_a_client_converts_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By ``columns``, by common names, and from ShareGPT; a row keeps its number."""
    turns = [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]
    talk = {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}
    pair = {"prompt": "a", "completion": "b"}
    for brought, columns, row, unseen in (
        ({"frage": "a", "antwort": "b", "id": 3}, {"frage": "prompt", "antwort": "completion"}, pair, ("id",)),
        ({"question": "a", "answer": "b"}, None, pair, ()),
        ({"conversations": turns, "id": 3}, None, talk, ("id",)),
        ({"turns": turns}, {"turns": "conversations"}, talk, ()),
    ):
        monkeypatch.setattr(rows, "load_hub_rows", lambda _, brought=brought: [brought])
        hub = {"type": "huggingface", "name": "owner/rows", "columns": columns}
        with BlobHost([whole(b"\n" + json.dumps(brought).encode())]) as host:
            blob = {"type": "blob", "url": host.url(), "columns": columns}
            folder = Path(tempfile.mkdtemp(dir=tmp_path))
            loaded = load_rows(
                attrs.evolve(spec(folder, [], datasetSource=hub, evalDatasetSource=blob), allow_private_urls=True)
            )
        assert list(loaded.train.rows) == [NumberedRow(1, row, unseen)]
        assert list(loaded.eval.rows) == [NumberedRow(2, row, unseen)]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ([{"frage": "a", "antwort": "b"}], 'pass columns={"frage": "prompt", "antwort": "completion"}'),
        ([{"prompt": "a", "chosen": "b", "rejected": "c"}], "rows of preferences"),
        ([{"conversations": [{"from": "bing", "value": "a"}]}], "from must be one of human, "),
    ],
)
def test_rows_that_fit_no_format_are_told(tmp_path: Path, content: list[Any], says: str) -> None:
    """In the words of a client."""
    with pytest.raises(DatasetError) as caught:
        load_rows(spec(tmp_path, content))
    assert says in str(caught.value)


def test_a_blob_that_cannot_be_fetched_is_named_without_its_query(tmp_path: Path) -> None:
    """Signatures in a URL are secrets, in the worker's log too; nothing half fetched stays."""
    with pytest.raises(DatasetError, match="cannot be fetched") as caught:
        download.download_blob(
            {"type": "blob", "url": "http://127.0.0.1:9/rows.jsonl?sig=secret"},
            tmp_path,
            allow_private_urls=True,
            limits=Limits(tries=1),
        )
    assert "secret" not in "".join(traceback.format_exception(caught.value))
    assert list(tmp_path.iterdir()) == []
