"""Batches that the memory suffices for, found before the model is loaded.

The kernel ends a process whose memory runs out, and perhaps another one than the worker. So on a CPU a job that would
take too much divides its optimizer steps into smaller batches from the start: it learns the same.
"""

from __future__ import annotations

import heapq
import os
from array import array
from collections.abc import Callable
from pathlib import Path

import attrs

from arkor.backend.models import hardware
from arkor.backend.models.cpu_memory import Batch, TrainingMemory, refusal
from arkor.backend.models.sizes import ModelSizes
from arkor.backend.processes import memory_limit
from arkor.backend.training_worker.examples.arrow_files import counted_of, lengths_of
from arkor.backend.training_worker.examples.data import Data
from arkor.backend.training_worker.settings import eval_batch_size
from arkor.errors import ArkorError
from arkor.protocol.batches import Batches
from arkor.protocol.config import JobConfig
from arkor.text import many

_LIKE = 0.9  # of the longest row: rows that are as long on average are of like length
_AMPLE = 0.5  # of the memory: other programs may take some more


@attrs.frozen
class Examples:
    """How large some examples are.

    Attributes:
        tokens: of each.
        counted: how many of them the loss counts.
    """

    tokens: array[int]
    counted: array[int]

    def largest_batch(self, config: JobConfig, rows: int) -> Batch | None:
        """Return a batch that is as large as any of so many rows; None if there are no examples."""
        if not self.tokens:
            return None
        size = min(rows, len(self.tokens))
        longest = min(max(self.tokens), config.max_length or max(self.tokens))
        counted = min(sum(heapq.nlargest(size, self.counted)), size * longest)
        varies = sum(self.tokens) < _LIKE * longest * len(self.tokens)
        return Batch(rows=size, tokens=longest, counted=counted, varies=varies)


def estimator(sizes: ModelSizes, data: Data, here: int | None = None) -> Callable[[JobConfig], TrainingMemory]:
    """Return what estimates the memory of a job on some rows, with the settings that it is given.

    Args:
        sizes: of the base model.
        data: the rows as the model sees them.
        here: how many of the job's processes are on this machine; None for all.
    """
    train, held_out = (Examples(lengths_of(part), counted_of(part)) for part in (data.train, data.eval))

    def estimate(config: JobConfig) -> TrainingMemory:
        batch = train.largest_batch(config, config.value("batch_size"))
        assert batch is not None  # there is an example to train on
        evaluated = held_out.largest_batch(config, eval_batch_size(config))
        return TrainingMemory.of(sizes, config, batch, evaluated, here)

    return estimate


@attrs.frozen
class Fitted:
    """A job's settings, with batches that the memory suffices for.

    Attributes:
        config: the settings.
        note: a sentence without its full stop about smaller batches, or about batches that are kept although memory may
            not suffice for them; None if there is nothing to say.
        is_ample: whether there is so much memory that nothing needs to be tried.
    """

    config: JobConfig
    note: str | None = None
    is_ample: bool = False


def fitted(config: JobConfig, data: Data, model_path: str, here: int | None = None) -> Fitted:
    """Find batches that the memory suffices for.

    With full determinism the batches stay as they are, and a note says if memory may not suffice.

    If other programs have taken so much that no batch fits now, the smallest one has to do: they may give it back.

    Args:
        config: the job's settings.
        data: the rows as the model sees them.
        model_path: where the model is; one that is not on this machine yet is not looked at.
        here: see ``estimator``.

    Raises:
        ArkorError: not even batches of one row would fit into all of the memory, or with full determinism those of the
            job.
    """
    sizes = ModelSizes.of_folder(Path(model_path))
    if sizes is None:
        return Fitted(config)
    estimate = estimator(sizes, data, here)
    available = hardware.available_bytes() + memory_limit.held_bytes(os.getpid())
    asked = config.to_wire()
    keeps = config.value("full_determinism")  # in smaller batches, gradients are rounded otherwise
    batches = Batches.of(asked)
    smaller = None if keeps else batches.smaller()
    found, needed = config, estimate(config).total
    while needed > available and smaller is not None:
        batches, smaller = smaller, smaller.smaller()
        found = JobConfig.from_wire(batches.applied_to(asked))
        needed = estimate(found).total
    total = hardware.total_bytes()
    if needed > available and needed > total:
        raise ArkorError(refusal(found, estimate, total, found.value("batch_size")))
    is_as_asked = found == config and not (keeps and needed > available)
    note = None if is_as_asked else _note(config, batches, estimate(config).total, available)
    return Fitted(found, note, is_ample=needed <= _AMPLE * available)


def _note(config: JobConfig, batches: Batches, needed: int, available: int) -> str:
    asked = Batches.of(config.to_wire())
    found = (
        f"with {many(asked.size, 'row')} in a batch the training would take about {needed / 2**30:.1f} GiB of memory, "
        f"and {available / 2**30:.1f} GiB are available"
    )
    if batches == asked:
        return f"{found}: full_determinism keeps the batches as they are, so the job fails if memory runs out"
    rows = many(batches.size, "row")
    return f"{found}: an optimizer step takes {batches.count} batches of {rows} instead, and learns the same"
