"""``python -m arkor.backend.training_worker.preview``: show the rows of a job as its training would see them.

Standard input is one line, the task, and its end is the end of this process. The task is ``{"config", "modelPath",
"datasetPath", "evalDatasetPath", "folder", "allowPrivateUrls"}``: the job's settings with the blobs' tokens; what
transformers loads the tokenizer from; the uploaded rows or null, also of the held-out rows; and a folder for what is
fetched. It may also have a question: ``row``, ``isHeldOut`` and ``around``, or ``search``, with all of their fields;
without one, all rows are summed up. Standard output is the answer. For both see docs/protocol.md, "Previews".
"""

from __future__ import annotations

import contextlib
import heapq
import itertools
import logging
import math
import os
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from arkor.backend.inference import side_process
from arkor.backend.inference.detokenizer import Detokenizer
from arkor.backend.training_worker.examples.chunks import Chunk
from arkor.backend.training_worker.examples.data import FittedRows, check_loss, fit_rows
from arkor.backend.training_worker.examples.tokenize import IGNORED
from arkor.backend.training_worker.failures import explain
from arkor.backend.training_worker.limits.device import choose_device, prepare_environment
from arkor.backend.training_worker.limits.lengths import Lengths
from arkor.backend.training_worker.rows.load import Rows, load_rows
from arkor.backend.training_worker.rows.order import RowOrder
from arkor.backend.training_worker.rows.spec import RowsSpec
from arkor.errors import ArkorError, DatasetError
from arkor.protocol import previews, wire
from arkor.protocol.config import JobConfig
from arkor.protocol.previews import (
    MOST_BUCKETS,
    MOST_LONGEST,
    LengthBucket,
    LongerRows,
    RowLength,
    RowPreview,
    TokenSummary,
)

LIMITS = (64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768, 65536, 131072)
MOST_LIMITS = 5
MOST_TOKENS_AROUND = 50_000
_ROUND = (1, 2, 5)  # times a power of ten: sizes of ranges that people read easily
_MEMORY_GIB = 4
_TOO_MUCH_MEMORY = f"The rows take more than {_MEMORY_GIB} GiB of memory to be shown: check a part of them."

log = logging.getLogger("arkor.preview")


def answer(task: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is asked, or the error that explains why it cannot be had.

    Args:
        task: see above.
    """
    folder = Path(task["folder"])
    try:
        return _answer(task, folder)
    except DatasetError as exc:
        rows = [{"row": row, "reason": reason} for row, reason in exc.problems]
        return {"status": 422, "error": exc.message, "source": exc.source, "rows": rows}
    except MemoryError:
        return {"status": 422, "error": _TOO_MUCH_MEMORY}
    except Exception as exc:  # libraries raise anything; the server's log has all of it
        log.exception("The rows cannot be shown")
        return {"status": 422 if isinstance(exc, ArkorError) else 500, "error": explain(exc, folder)}


def _answer(task: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    spec = RowsSpec(
        config=JobConfig.from_wire(task["config"]),
        dataset_path=task["datasetPath"],
        eval_dataset_path=task["evalDatasetPath"],
        job_dir=folder,
        allow_private_urls=task["allowPrivateUrls"],
    )
    rows, path = load_rows(spec), task["modelPath"]
    if "search" in task:
        asked = task["search"]
        return search(RowOrder(rows), asked["text"], asked["isHeldOut"], asked["offset"], asked["limit"])
    from arkor.backend.training_worker.model import load_config, load_tokenizer

    tokenizer, most = load_tokenizer(path), Lengths.of(load_config(path), spec.config, choose_device(1))
    if "row" not in task:
        return {"summary": summary(rows, tokenizer, spec.config, most).to_wire()}
    order = RowOrder(rows)
    position = order.position(task["row"], task["isHeldOut"])

    def show(place: int) -> RowPreview:
        return preview(order, place, tokenizer, spec.config, most)

    others = around(order, position, task["around"], show)
    return {"preview": show(position).to_wire(), "around": [other.to_wire() for other in others]}


def summary(rows: Rows, tokenizer: Any, config: JobConfig, most_tokens: Lengths) -> TokenSummary:
    """Sum up what a job would learn of rows.

    Args:
        rows: the rows.
        tokenizer: the model's, of transformers.
        config: the job's settings.
        most_tokens: how long an example may be if the job does not say.

    Raises:
        DatasetError: a row cannot be tokenised.
    """
    fitted = fit_rows(rows, tokenizer, config, most_tokens)
    every = (fitted.train, fitted.eval)
    lengths = sorted(length for part in every for length in part.lengths)
    by_row = [(-longest, number) for part in every for number, longest in zip(part.numbers, part.longest, strict=True)]
    limits = _limits(config.max_length, lengths[-1] if lengths else 0)
    return TokenSummary(
        format=rows.train.format,
        p50=_quantile(lengths, 0.5),
        p90=_quantile(lengths, 0.9),
        p99=_quantile(lengths, 0.99),
        longest=_quantile(lengths, 1),
        longest_rows=[RowLength(number, -longest) for longest, number in heapq.nsmallest(MOST_LONGEST, by_row)],
        longer_rows=[LongerRows(tokens, sum(-longest > tokens for longest, _ in by_row)) for tokens in limits],
        histogram=histogram(lengths),
        receipt=fitted.receipt,
        problem=_problem(fitted, config),
    )


def histogram(lengths: Sequence[int]) -> list[LengthBucket]:
    """Count lengths in ranges of the same size, the empty ones between them included.

    Args:
        lengths: in tokens, ascending.
    """
    if not lengths:
        return []
    powers = (10**exponent for exponent in itertools.count())
    sizes = (factor * power for power in powers for factor in _ROUND)
    size = next(size for size in sizes if lengths[-1] // size - lengths[0] // size < MOST_BUCKETS)
    counts = Counter(length // size for length in lengths)
    return [
        LengthBucket(place * size, (place + 1) * size, counts[place]) for place in range(min(counts), max(counts) + 1)
    ]


def search(order: RowOrder, text: str, is_held_out: bool | None, offset: int, limit: int) -> dict[str, Any]:
    """Find the rows that have a text.

    Args:
        order: the rows.
        text: see ``RowOrder.search``.
        is_held_out: which rows to look at; None for all.
        offset: how many of the rows found to leave out, 0 or more.
        limit: how many to return, 1 or more.

    Returns:
        The answer: ``hits``, and ``total``, the number of all rows found.
    """
    hits, total = [], 0
    for hit in order.search(text, is_held_out):
        if offset <= total < offset + limit:
            hits.append(wire.to_wire(hit))
        total += 1
    return {"hits": hits, "total": total}


def around(order: RowOrder, position: int, count: int, show: Callable[[int], RowPreview]) -> Iterator[RowPreview]:
    """Yield the rows before and after one, the nearest first, until they have 50,000 tokens.

    Args:
        order: the rows.
        position: the position of the one.
        count: how many rows on each side, 0 or more.
        show: shows the row of a position; a row for which it raises DatasetError is left out.
    """
    tokens = 0
    for distance in range(1, count + 1):
        for other in (position + distance, position - distance):
            if order.place(other) is None or tokens > MOST_TOKENS_AROUND:
                continue
            with contextlib.suppress(DatasetError):  # who asks for that row is told
                shown = show(other)
                tokens += sum(len(example.tokens) for example in shown.examples)
                yield shown


def preview(order: RowOrder, position: int, tokenizer: Any, config: JobConfig, most_tokens: Lengths) -> RowPreview:
    """Show one row as the model sees it.

    Args:
        order: the rows.
        position: the row's position.
        tokenizer: the model's, of transformers.
        config: the job's settings.
        most_tokens: how long an example may be if the job does not say.

    Raises:
        DatasetError: it cannot be tokenised.
    """
    chunks: list[Chunk] = []
    rows = order.only(position)
    fitted = fit_rows(rows, tokenizer, config, most_tokens, take=lambda _part, chunk: chunks.append(chunk))
    (chunk,) = chunks
    (note,) = chunk.notes
    is_held_out = len(fitted.eval) > 0
    return RowPreview(
        row=note.number,
        format=(rows.eval if is_held_out else rows.train).format,
        is_held_out=is_held_out,
        examples=[_shown(ids, labels, tokenizer) for ids, labels in chunk.examples()],
        max_length=fitted.receipt.max_length,
        max_length_reason=fitted.receipt.max_length_reason,
        cut_tokens=sum(note.lengths) - sum(chunk.lengths),
        left_out=sorted(fitted.receipt.left_out),
        previous=order.place(position - 1),
        next=order.place(position + 1),
    )


def _shown(ids: Sequence[int], labels: Sequence[int], tokenizer: Any) -> previews.Example:
    texts = Detokenizer(tokenizer, with_special=True)
    pairs = zip(ids, labels, strict=True)
    return previews.Example([previews.Token(token, texts.add(token), label != IGNORED) for token, label in pairs])


def _quantile(ordered: Sequence[int], share: float) -> int:
    """Return the least of some lengths that so great a share of them does not exceed; 0 of none."""
    return ordered[math.ceil(share * len(ordered)) - 1] if ordered else 0


def _limits(given: int | None, longest: int) -> list[int]:
    """Return values of ``max_length`` to compare: the greatest that would cut something, and the given one."""
    cutting = [tokens for tokens in LIMITS if tokens < longest]
    return sorted({*cutting[-MOST_LIMITS:], *([given] if given else [])})


def _problem(rows: FittedRows, config: JobConfig) -> str | None:
    try:
        check_loss(rows, config)
    except DatasetError as exc:
        return exc.message
    return None


def main() -> None:
    """Read the task, and print the answer."""
    pipes = side_process.begin(_MEMORY_GIB)
    lines = iter(pipes)
    task = next(lines)
    threading.Thread(target=_leave_with_the_server, args=(lines,), daemon=True).start()
    prepare_environment(1)
    pipes.say(**answer(task))


def _leave_with_the_server(lines: Any) -> None:
    next(lines, None)
    os._exit(1)


if __name__ == "__main__":
    main()
    sys.stderr.flush()
    os._exit(0)  # taking the libraries down in order lasts 1.5 s
