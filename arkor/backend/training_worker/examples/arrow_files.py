"""Examples in Arrow files on disk, as the trainer of transformers takes them."""

from __future__ import annotations

import itertools
from array import array
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from arkor.backend.training_worker.examples.chunks import Chunk
from arkor.backend.training_worker.examples.tokenize import IGNORED
from arkor.data.disk_faults import kept_on_disk


class ExampleFile:
    """Writes examples to a file, in order.

    Args:
        path: the file, which is made.
        source: what to call the rows in an error.

    Raises:
        DatasetError: the file cannot be made.
    """

    def __init__(self, path: Path, source: str) -> None:
        import pyarrow as pa

        ids = pa.list_(pa.int32())
        self._source = source
        self._schema = pa.schema({"input_ids": ids, "labels": ids})
        with self._on_disk():
            self._writer = pa.ipc.new_stream(str(path), self._schema)

    def add(self, chunk: Chunk) -> None:
        """Write the examples of some rows.

        Raises:
            DatasetError: the disk is full.
        """
        import pyarrow as pa

        offsets = pa.array([0, *itertools.accumulate(chunk.lengths)], pa.int32())
        columns = [
            pa.ListArray.from_arrays(
                offsets, pa.Array.from_buffers(pa.int32(), len(values), [None, pa.py_buffer(values)])
            )
            for values in (chunk.input_ids, chunk.labels)
        ]
        with self._on_disk():
            self._writer.write_batch(pa.record_batch(columns, schema=self._schema))

    def close(self) -> None:
        """Write the end of the file.

        Raises:
            DatasetError: the disk is full.
        """
        with self._on_disk():
            self._writer.close()

    def _on_disk(self) -> AbstractContextManager[None]:
        return kept_on_disk(self._source, "the examples cannot be kept on the backend's disk")


def open_examples(path: Path) -> Any:
    """Return the examples of a file as a ``datasets.Dataset``, which reads each as it is asked for.

    Args:
        path: the file; once it is open, it may be removed.

    Raises:
        OSError, ValueError: there is no such file, or it is cut.
    """
    from datasets import Dataset

    return Dataset.from_file(str(path))


def counted_of(examples: Any) -> array[int]:
    """Return how many tokens of each of the examples of a file the loss counts."""
    import numpy as np
    import pyarrow.compute as pc

    found = array("i")
    for labels in examples.data.column("labels").chunks:
        counted = np.concatenate([[0], np.cumsum(pc.list_flatten(labels).to_numpy() != IGNORED)])
        ends = np.concatenate([[0], np.cumsum(pc.list_value_length(labels).to_numpy())])
        found.extend(np.diff(counted[ends]).tolist())
    return found


def lengths_of(examples: Any) -> array[int]:
    """Return how many tokens each of the examples of a file has."""
    import pyarrow.compute as pc

    return array("i", pc.list_value_length(examples.data.column("input_ids")).to_numpy().tobytes())
