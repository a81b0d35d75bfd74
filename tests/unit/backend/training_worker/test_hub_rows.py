"""A hub data set can only ever mean the hub; no network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from arkor.backend.training_worker.hub_rows import load_hub_rows
from arkor.errors import ConfigError, DatasetError


@pytest.fixture
def secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder ``owner/name`` in the working directory, with rows that nobody may train on."""
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    file = tmp_path / "owner" / "name" / "rows.jsonl"
    file.parent.mkdir(parents=True)
    file.write_text('{"text": "secret"}\n')
    monkeypatch.chdir(tmp_path)
    return file


@pytest.mark.parametrize("name", ["text", "json", "imdb", "owner", "./owner/name", "/etc"])
def test_a_name_that_an_older_backend_queued_is_refused(name: str, secret: Path) -> None:
    """With the same text as for a new job, before anything is read."""
    with pytest.raises(ConfigError, match="must be a data set of the Hugging Face hub"):
        load_hub_rows({"type": "huggingface", "name": name}, {})
    with pytest.raises(ConfigError, match="must be a data set of the Hugging Face hub"):
        load_hub_rows({"type": "huggingface", "name": str(secret.parent)}, {})


@pytest.mark.usefixtures("secret")
def test_a_folder_of_that_name_in_the_working_directory_is_not_read() -> None:
    """Which the library prefers to the hub."""
    with pytest.raises(DatasetError, match="outside the Hugging Face hub"):
        load_hub_rows({"type": "huggingface", "name": "owner/name"}, {})


@pytest.mark.parametrize("hop", ["", "hf://datasets/owner/name@0/x.zip::"])
def test_a_description_on_the_hub_cannot_name_files_of_this_machine(
    hop: str, secret: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The library takes an absolute path in a data set's README for what it says."""
    import datasets

    builder = datasets.load_dataset_builder("json", data_files=str(secret))
    builder.config.data_files = {"train": [f"{hop}{secret}"]}
    monkeypatch.setattr(datasets, "load_dataset_builder", lambda *_: builder)
    with pytest.raises(DatasetError, match="outside the Hugging Face hub"):
        load_hub_rows({"type": "huggingface", "name": "owner/other"}, {})


def test_files_of_the_hub_are_loaded(secret: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Splits by their names, nulls left out."""
    import datasets

    secret.write_text('{"text": "a", "extra": null}\n{"text": "b", "extra": 1}\n')

    make = datasets.load_dataset_builder

    def local(name: str, subset: str | None) -> Any:
        assert (name, subset) == ("owner/other", "en")
        builder = make("json", data_files={"test": str(secret)})
        files, builder.config.data_files = builder.config.data_files, {"test": ["hf://datasets/owner/other@0/x.jsonl"]}
        prepare = builder.download_and_prepare

        def download() -> None:
            builder.config.data_files = files
            prepare()

        builder.download_and_prepare = download
        return builder

    monkeypatch.setattr(datasets, "load_dataset_builder", local)
    rows = load_hub_rows({"type": "huggingface", "name": "owner/other", "subset": "en", "split": "test"}, {})
    assert rows == ([{"text": "a"}, {"text": "b", "extra": 1}], [])
