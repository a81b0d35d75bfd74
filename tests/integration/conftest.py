from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.small_model import write_rows, write_small_model


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of a few thousand random weights, with a tokenizer of whole words."""
    return write_small_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="session")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rows that can be read in two formats, some of them longer than 8 tokens."""
    return write_rows(tmp_path_factory.mktemp("rows") / "rows.jsonl")
