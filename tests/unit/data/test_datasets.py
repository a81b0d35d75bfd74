"""Where rows come from."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from arkor.data import previews
from arkor.data.datasets import BlobDataset, HuggingFaceDataset, LocalDataset, UploadedDataset, opened, parse_dataset
from arkor.data.frames import dataset_from
from arkor.errors import ArkorError, ConfigError, DatasetError


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
        (
            {"type": "huggingface", "name": "a/b", "columns": {"my_answer": "completion"}},
            HuggingFaceDataset("a/b", columns={"my_answer": "completion"}),
            {"type": "huggingface", "name": "a/b", "columns": {"my_answer": "completion"}},
        ),
        (
            {"type": "blob", "url": "https://x", "columns": {}},
            BlobDataset("https://x"),
            {"type": "blob", "url": "https://x"},
        ),
    ],
)
def test_a_data_set_and_its_mapping_form_are_the_same(value: Any, dataset: Any, source: dict[str, Any]) -> None:
    """Both give the ``datasetSource`` of the contract."""
    assert dataset.to_wire() == source
    assert parse_dataset(value) == dataset
    assert parse_dataset(dataset) is dataset


def test_a_file_is_a_path() -> None:
    """Text and Path give the same."""
    for value in ({"type": "local", "path": "rows.jsonl"}, "rows.jsonl", Path("rows.jsonl")):
        assert parse_dataset(value) == LocalDataset(Path("rows.jsonl"))
    several = parse_dataset({"type": "local", "path": ["a.jsonl", Path("b.csv")], "columns": {"q": "text"}})
    assert several == LocalDataset([Path("a.jsonl"), "b.csv"], columns={"q": "text"})
    assert hash(several) == hash(LocalDataset(("a.jsonl", "b.csv")))


def test_a_name_of_the_hub_is_not_a_file(project: Path) -> None:
    """The error says which class it is for, and says so of no path that looks otherwise."""
    for path, hint in (
        ("a/b", "; for a data set of the Hugging Face hub, use HuggingFaceDataset('a/b')"),
        ("b.csv", ""),
    ):
        with pytest.raises(DatasetError) as raised:
            LocalDataset(path).check()
        assert str(raised.value) == f"{path}: cannot be read: No such file or directory ({project}/{path}){hint}"


def test_rows_in_memory_are_a_data_set_once_they_were_checked() -> None:
    """What ``dataset_from`` returns is taken as it is."""
    dataset = dataset_from([{"text": "a"}])
    assert parse_dataset(dataset) is dataset


@pytest.mark.parametrize("rows", [[{"text": "a"}] * 10_000, iter([{"text": "a"}])])
def test_rows_in_memory_are_not_taken_unchecked(rows: Any) -> None:
    """The error says how to make a data set of them, and does not show them all."""
    with pytest.raises(ConfigError, match=r"Of rows in memory arkor\.dataset_from\(rows\) makes one") as raised:
        parse_dataset(rows)
    assert len(str(raised.value)) < 300


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (3, "must be a data set, a path, or a mapping with a type, not 3"),
        (None, "must be a data set, a path, or a mapping with a type"),
        ("", "path must be a text or a Path, not ''"),
        ({"type": "blob", "url": "https://x", "columns": ["a"]}, "columns must be old names with their new ones"),
        ({"type": "local", "path": "a.csv", "columns": {"a": 3}}, "columns must be old names with their new ones"),
        ({"type": "huggingface", "name": "a/b", "columns": {"q": "promt"}}, "no format; did you mean prompt?"),
        ({"type": "local", "path": "a", "columns": {"a": "text", "b": "text"}}, "columns has two old names for text"),
        ({"type": "local", "path": []}, "needs path"),
        ({"type": "local", "path": ["a", 3]}, "path must be a text or a Path, not 3"),
        ({"type": "dataset", "id": "ab", "columns": {"a": "text"}}, "has no setting columns"),
        ({}, "type must be one of huggingface, blob, local, dataset, not None"),
        ({"type": "s3"}, "not 's3'"),
        ({"type": ["blob"]}, "type must be one of"),
        ({"type": "huggingface"}, "a data set of type 'huggingface' needs name"),
        ({"type": "huggingface", "name": ""}, "needs name"),
        ({"type": "huggingface", "name": "a/b", "splits": "x"}, "has no setting splits"),
        ({"type": "local"}, "needs path"),
        ({"type": "local", "path": 3}, "path must be a text or a Path, not 3"),
        ({"type": "local", "path": "a\0b"}, r"path must be a text or a Path, not 'a\x00b'"),
        ({"type": "huggingface", "name": 3}, "name must be a text that is not empty, not 3"),
        ({"type": "huggingface", "name": "imdb"}, "not 'imdb': its full name is stanfordnlp/imdb"),
        ({"type": "huggingface", "name": "mine"}, "https://huggingface.co/datasets/mine shows its owner"),
        ({"type": "blob", "url": "https://x", "token": 3}, "token must be a text"),
    ],
)
def test_a_mapping_that_is_no_data_set_is_refused(value: Any, says: str) -> None:
    """The setting is named, and what it must be."""
    for setting in ("dataset", "eval_dataset"):
        with pytest.raises(ConfigError) as raised:
            parse_dataset(value, setting)
        assert raised.value.field == setting
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


# Files


def test_a_file_is_checked_where_it_is(project: Path, tmp_path: Path) -> None:
    """From the working directory, or from a folder that is named; the errors call it as it was given."""
    (tmp_path / "rows.csv").write_text("text\na\nbc\n")
    summary = LocalDataset("rows.csv").check(tmp_path)
    assert (summary.rows, summary.longest_row) == (2, 3)
    with pytest.raises(DatasetError) as raised:
        LocalDataset("rows.csv").check()
    assert str(raised.value) == f"rows.csv: cannot be read: No such file or directory ({project}/rows.csv)"


def test_a_file_is_open_only_while_it_is_needed(tmp_path: Path) -> None:
    """Rows in memory stay as they are."""
    (tmp_path / "rows.jsonl").write_text('{"text": "a"}\n')
    with opened(LocalDataset("rows.jsonl"), tmp_path) as rows:
        assert list(rows.chunks()) == [b'{"text": "a"}\n']
    with pytest.raises(ValueError, match="closed file"):
        list(rows.chunks())
    dataset = dataset_from([{"text": "a"}])
    for _ in range(2):
        with opened(dataset) as same:
            assert same is dataset
            assert list(same.chunks()) == [b'{"text":"a"}\n']


def test_a_data_set_asks_a_backend_once_the_client_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The public names load it; without it, the error says what to do."""
    monkeypatch.setattr(previews, "_passed_in", [])
    for dataset in (LocalDataset("rows.jsonl"), HuggingFaceDataset("owner/rows")):
        with pytest.raises(ArkorError, match=r"take their classes from arkor, as in arkor\.LocalDataset"):
            dataset.preview(model="m")
    code = "import arkor; arkor.LocalDataset; from arkor.data.previews import asking; asking()"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=30)
