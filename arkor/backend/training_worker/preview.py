"""``python -m arkor.backend.training_worker.preview``: show the rows of a job as its training would see them.

Standard input is one line, the task, and its end is the end of this process. The task is ``{"config", "modelPath",
"datasetPath", "evalDatasetPath", "folder", "allowPrivateUrls", "row"}``: the job's settings with the blobs' tokens;
what transformers loads the tokenizer from; the uploaded rows or null, also of the held-out rows; a folder for what is
fetched; and, to show one row, its number, 0 for the first one, or null for a summary of all. Standard output is the
answer, see docs/protocol.md, "Previews".
"""

from __future__ import annotations

import heapq
import logging
import math
import os
import resource
import sys
import threading
from array import array
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from arkor.backend.inference.detokenizer import Detokenizer
from arkor.backend.inference.pipes import Pipes
from arkor.backend.training_worker.chunks import Chunk
from arkor.backend.training_worker.data import FittedRows, check_loss, fit_rows
from arkor.backend.training_worker.device import choose_device, prepare_environment
from arkor.backend.training_worker.failures import explain
from arkor.backend.training_worker.lengths import Lengths
from arkor.backend.training_worker.rows import Rows, load_rows
from arkor.backend.training_worker.spec import RowsSpec
from arkor.backend.training_worker.tokenize import IGNORED
from arkor.errors import ArkorError, DatasetError
from arkor.protocol import previews
from arkor.protocol.config import JobConfig
from arkor.protocol.previews import MOST_LONGEST, LongerRows, RowLength, RowPreview, TokenSummary
from arkor.system.limits import limit

LIMITS = (64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768, 65536, 131072)
MOST_LIMITS = 5
_MEMORY_GIB = 4
_NICENESS = 5  # below trainings, and still quick enough for a person who waits
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
    from arkor.backend.training_worker.model import load_config, load_tokenizer

    spec = RowsSpec(
        config=JobConfig.from_wire(task["config"]),
        dataset_path=task["datasetPath"],
        eval_dataset_path=task["evalDatasetPath"],
        job_dir=folder,
        allow_private_urls=task["allowPrivateUrls"],
    )
    rows, row, path = load_rows(spec), task["row"], task["modelPath"]
    tokenizer, most = load_tokenizer(path), Lengths.of(load_config(path), spec.config, choose_device(1))
    if row is None:
        return {"summary": summary(rows, tokenizer, spec.config, most).to_wire()}
    return {"preview": preview(rows, row, tokenizer, spec.config, most).to_wire()}


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
        receipt=fitted.receipt,
        problem=_problem(fitted, config),
    )


def preview(rows: Rows, number: int, tokenizer: Any, config: JobConfig, most_tokens: Lengths) -> RowPreview:
    """Show one row as the model sees it.

    Args:
        rows: the rows.
        number: the row's number, from 1; 0 for the first row.
        tokenizer: the model's, of transformers.
        config: the job's settings.
        most_tokens: how long an example may be if the job does not say.

    Raises:
        DatasetError: there is no such row, or it cannot be tokenised.
    """
    chunks: list[Chunk] = []
    fitted = fit_rows(
        _only(rows, number), tokenizer, config, most_tokens, take=lambda _part, chunk: chunks.append(chunk)
    )
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
    )


def _only(rows: Rows, number: int) -> Rows:
    """Return one of the rows; of held-out rows with a source of their own only if no row to train on has the number.

    Raises:
        DatasetError: there is none of that number.
    """
    parts = (rows.train, rows.eval)
    numbers = [array("Q", (item.number for item in part.rows)) for part in parts]
    ends = sorted(end for part in numbers for end in (*part[:1], *part[-1:]))
    wanted = number or ends[0]
    places = [[part.index(wanted)] if wanted in part else [] for part in numbers]
    if not any(places):
        raise DatasetError(rows.train.source, f"has no row {number}: its rows are {ends[0]} to {ends[-1]}")
    if all(places):
        places[1] = []
    return Rows(
        *(attrs.evolve(part, rows=part.rows.select(chosen)) for part, chosen in zip(parts, places, strict=True))
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
    os.nice(_NICENESS)
    limit(resource.RLIMIT_CORE, 0)
    limit(resource.RLIMIT_DATA, _MEMORY_GIB * 1024**3)
    pipes = Pipes.claim()
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("urllib3").setLevel(logging.ERROR)  # its warnings have whole URLs, with their signatures
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
