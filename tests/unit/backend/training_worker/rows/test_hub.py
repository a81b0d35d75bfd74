"""A hub data set can only ever mean the hub; no network."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from arkor.backend.training_worker.rows.hub import load_hub_rows
from arkor.errors import ConfigError, DatasetError
from tests.support.blobs import BlobHost


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
        load_hub_rows({"type": "huggingface", "name": name})
    with pytest.raises(ConfigError, match="must be a data set of the Hugging Face hub"):
        load_hub_rows({"type": "huggingface", "name": str(secret.parent)})


@pytest.mark.usefixtures("secret")
def test_a_folder_of_that_name_in_the_working_directory_is_not_read() -> None:
    """Which the library prefers to the hub."""
    with pytest.raises(DatasetError, match="outside the Hugging Face hub"):
        load_hub_rows({"type": "huggingface", "name": "owner/name"})


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
        load_hub_rows({"type": "huggingface", "name": "owner/other"})


@pytest.fixture
def on_the_hub(secret: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Put lines of JSON, and what a description says of their columns, on the hub as ``owner/other``."""
    import datasets

    make = datasets.load_dataset_builder

    def local(name: str, subset: str | None, features: Any) -> Any:
        assert (name, subset) == ("owner/other", "en")
        builder = make("json", data_files={"test": str(secret)}, features=features)
        files, builder.config.data_files = builder.config.data_files, {"test": ["hf://datasets/owner/other@0/x.jsonl"]}
        prepare = builder.download_and_prepare

        def download() -> None:
            builder.config.data_files = files
            prepare()

        builder.download_and_prepare = download
        return builder

    def put(*lines: str, features: Any = None) -> None:
        secret.write_text("".join(f"{line}\n" for line in lines))
        monkeypatch.setattr(datasets, "load_dataset_builder", functools.partial(local, features=features))

    return put


SOURCE = {"type": "huggingface", "name": "owner/other", "subset": "en", "split": "test"}


def test_files_of_the_hub_are_loaded(on_the_hub: Callable[..., None]) -> None:
    """Splits by their names, nulls left out."""
    on_the_hub('{"text": "a", "extra": null}', '{"text": "b", "extra": 1}')
    assert list(load_hub_rows(SOURCE)) == [{"text": "a"}, {"text": "b", "extra": 1}]


@pytest.mark.parametrize("kind", ["Image", "Audio", "Video", "Pdf"])
@pytest.mark.parametrize("shape", ["plain", "list", "mapping"])
def test_a_file_or_url_that_a_row_names_is_not_opened(kind: str, shape: str, on_the_hub: Callable[..., None]) -> None:
    """A column that the description calls images, say: a URL there could be one of the backend's network."""
    import datasets

    media = getattr(datasets, kind)()
    column = {"plain": media, "list": datasets.List(media), "mapping": {"inner": media}}[shape]
    with BlobHost() as host:
        value = {"plain": host.url(), "list": [host.url()], "mapping": {"inner": host.url()}}[shape]
        features = datasets.Features({"text": datasets.Value("string"), "extra": column})
        on_the_hub(json.dumps({"text": "a", "extra": value}), features=features)
        assert list(load_hub_rows(SOURCE)) == [{"text": "a"}]
        assert host.heads == []


def test_columns_of_json_stay(on_the_hub: Callable[..., None]) -> None:
    """Tools have arguments of any shape."""
    import datasets

    features = datasets.Features({"text": datasets.Value("string"), "extra": datasets.List(datasets.Json())})
    on_the_hub('{"text": "a", "extra": [{"x": 1}, {"y": "z"}]}', features=features)
    assert list(load_hub_rows(SOURCE)) == [{"text": "a", "extra": [{"x": 1}, {"y": "z"}]}]
