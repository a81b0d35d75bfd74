"""Examples in a file."""

from __future__ import annotations

import contextlib
from array import array
from pathlib import Path

import pytest

from arkor.backend.training_worker.examples.arrow_files import ExampleFile, lengths_of, open_examples
from arkor.backend.training_worker.examples.chunks import Chunk
from arkor.errors import DatasetError


def test_examples_are_read_as_the_trainer_takes_them(tmp_path: Path) -> None:
    """In order; the file may be gone by then, and there may be no example."""
    chunks = [
        Chunk([], array("i", [2, 1]), array("i", [5, 6, 7]), array("i", [-100, 6, 7])),
        Chunk([], array("i"), array("i"), array("i")),
        Chunk([], array("i", [1]), array("i", [8]), array("i", [-100])),
    ]
    for given in (chunks, []):
        with contextlib.closing(ExampleFile(tmp_path / "x.arrow", "rows")) as file:
            for chunk in given:
                file.add(chunk)
        examples = open_examples(tmp_path / "x.arrow")
        (tmp_path / "x.arrow").unlink()
        assert list(lengths_of(examples)) == [len(row["input_ids"]) for row in examples]
        assert [(row["input_ids"], row["labels"]) for row in examples] == [
            pair for chunk in given for pair in chunk.examples()
        ]


def test_a_disk_that_takes_no_examples_is_named(tmp_path: Path) -> None:
    """With the reason."""
    with pytest.raises(DatasetError, match=r"rows: the examples cannot be kept on the backend's disk: .*No such file"):
        ExampleFile(tmp_path / "missing" / "x.arrow", "rows")
