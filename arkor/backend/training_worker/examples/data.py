"""From a job's source to the examples that the trainer is fed."""

from __future__ import annotations

import contextlib
import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs

from arkor.backend.training_worker.examples.arrow_files import ExampleFile, lengths_of, open_examples
from arkor.backend.training_worker.examples.cache import ExampleCache
from arkor.backend.training_worker.examples.chunks import Chunk, ChunkEncoder
from arkor.backend.training_worker.examples.parallel import ChunkPool, processes_for
from arkor.backend.training_worker.examples.tally import Tally, receipt_of
from arkor.backend.training_worker.examples.tokenize import RowEncoder
from arkor.backend.training_worker.limits.lengths import Lengths, choose_length
from arkor.backend.training_worker.rows.load import Rows, Sources, fetch_rows, load_rows
from arkor.backend.training_worker.rows.phases import TOKENIZING, Tell, tell_nobody
from arkor.backend.training_worker.rows.spec import RowsSpec
from arkor.errors import DatasetError
from arkor.protocol.config import JobConfig
from arkor.protocol.receipt import Receipt

MOST_DROPPED = 0.01  # of the rows, where nobody said that they may be
_KNOWN = "known.json"
_PARTS = ("train", "eval")


@attrs.frozen(kw_only=True)
class Data:
    """The rows of a job as the model sees them.

    Attributes:
        format: the format of the rows to train on.
        train: examples to train on, at least one; of ``datasets``, on disk.
        eval: examples held out, longest first: batches of like length are quicker.
        longest: tokens of the longest example.
        train_rows: how many rows the examples to train on come from.
        eval_rows: how many rows the examples held out come from.
        receipt: what became of the rows.
        prompt_form: how they were rendered, see ``RowEncoder``.
    """

    format: str
    train_rows: int
    eval_rows: int
    train: Any
    eval: Any
    longest: int
    receipt: Receipt
    prompt_form: str


def prepare_data(
    spec: RowsSpec,
    tokenizer: Any,
    most_tokens: Lengths,
    tell: Tell = tell_nobody,
    *,
    threads: int = 1,
    cache: ExampleCache | None = None,
    sources: Sources | None = None,
    share: Callable[[Path], object] = lambda _: None,
) -> Data:
    """Load and tokenise a job's rows, or take the examples of an earlier job that had the same rows and settings.

    Args:
        spec: the rows and the settings.
        tokenizer: the model's, of transformers.
        most_tokens: how long an example may be if the job does not say.
        tell: takes how far it is.
        threads: how many processes may tokenise, at least 1.
        cache: keeps the examples for later jobs, or None.
        sources: the rows, if they were fetched already.
        share: takes the folder of the examples, which may go afterwards, and keeps it for others that open it.

    Raises:
        DatasetError: the rows cannot be had, one of them is bad, or too many of them are lost; or the disk is full.
    """
    sources = sources or fetch_rows(spec)
    entry = cache and cache.entry(spec.config, sources.contents(), tokenizer, most_tokens)

    def opened(folder: Path) -> Data:
        share(folder)
        return open_data(folder)

    found = entry and entry.load(opened)
    if found:
        return found
    rows = load_rows(spec, tell, sources)
    with tempfile.TemporaryDirectory(dir=spec.job_dir, prefix=".examples.") as work:
        folder = Path(work) / "examples"
        folder.mkdir(mode=0o700)
        with contextlib.ExitStack() as written:
            files = [
                written.enter_context(contextlib.closing(ExampleFile(folder / f"{name}.arrow", part.source)))
                for name, part in zip(_PARTS, (rows.train, rows.eval), strict=True)
            ]
            fitted = fit_rows(
                rows,
                tokenizer,
                spec.config,
                most_tokens,
                take=lambda part, chunk: files[part].add(chunk),
                tell=tell,
                threads=threads,
            )
        check_loss(fitted, spec.config)
        _describe(fitted, folder)
        data = opened(folder)  # the files may go from now on
        if entry:
            entry.keep(folder)
    return data


def _describe(rows: FittedRows, folder: Path) -> None:
    """Write what is known of examples beside them."""
    known = {
        "format": rows.rows.train.format,
        "train_rows": rows.train.kept,
        "eval_rows": rows.eval.kept,
        "prompt_form": rows.prompt_form,
        "receipt": rows.receipt.to_wire(),
        "bytes": _bytes(folder),
    }
    (folder / _KNOWN).write_text(json.dumps(known), encoding="utf-8")


def _bytes(folder: Path) -> list[int]:
    return [(folder / f"{name}.arrow").stat().st_size for name in _PARTS]


def open_data(folder: Path) -> Data:
    """Return the data of a folder, which may go afterwards.

    Raises:
        OSError, ValueError, KeyError, TypeError: the folder lacks something, or was changed.
    """
    known = json.loads((folder / _KNOWN).read_text(encoding="utf-8"))
    if known.pop("bytes") != _bytes(folder):  # Arrow takes a file that was cut between two chunks for whole
        raise ValueError("a file of examples is not whole")
    train, held_out = (open_examples(folder / f"{name}.arrow") for name in _PARTS)
    lengths, eval_lengths = map(lengths_of, (train, held_out))
    return Data(
        **{**known, "receipt": Receipt.from_wire(known["receipt"])},
        train=train,
        eval=held_out.select(sorted(range(len(held_out)), key=lambda place: -eval_lengths[place])),
        longest=max(max(part, default=0) for part in (lengths, eval_lengths)),
    )


@attrs.frozen(kw_only=True)
class FittedRows:
    """The rows of a job, each brought to a length.

    Attributes:
        rows: the rows as they are.
        prompt_form: how they were rendered, see ``RowEncoder``.
        train: what became of those to train on.
        eval: what became of those held out.
        receipt: the same for people.
    """

    rows: Rows
    prompt_form: str
    train: Tally
    eval: Tally
    receipt: Receipt


def fit_rows(
    rows: Rows,
    tokenizer: Any,
    config: JobConfig,
    most_tokens: Lengths,
    *,
    take: Callable[[int, Chunk], object] | None = None,
    tell: Tell = tell_nobody,
    threads: int = 1,
) -> FittedRows:
    """Tokenise rows, choose the length of a job's examples, bring its rows to it, and note what becomes of them.

    Args:
        rows: the rows.
        tokenizer: the model's, of transformers.
        config: the job's settings.
        most_tokens: how long an example may be if the job does not say.
        take: takes the examples, in order: first those to train on, with a 0, then those held out, with a 1.
        tell: takes how far it is.
        threads: how many processes may tokenise, at least 1.

    Raises:
        DatasetError: a row cannot be tokenised.
    """
    encoders = {kind: RowEncoder(tokenizer, kind, config) for kind in {rows.train.format, rows.eval.format}}
    limit = choose_length(config, [sys.maxsize], most_tokens)  # the longest row may make it less, and cuts nothing then
    parts, tallies = (rows.train, rows.eval), (Tally(), Tally())
    chunked = [ChunkEncoder(part.source, encoders[part.format], limit.tokens, limit.truncates) for part in parts]
    total = len(rows.train.rows) + len(rows.eval.rows)
    tell(TOKENIZING, 0, total)
    with ChunkPool(chunked, processes_for(threads, total)) as pool:
        for place, part in enumerate(parts):
            for chunk in pool.chunks(place, part.rows):
                for note in chunk.notes:
                    tallies[place].add(note)
                if take is not None:
                    take(place, chunk)
                tell(TOKENIZING, sum(map(len, tallies)), total)
    length = choose_length(config, (max(tally.longest, default=0) for tally in tallies), most_tokens)
    return FittedRows(
        rows=rows,
        prompt_form=encoders[rows.train.format].prompt_form,
        train=tallies[0],
        eval=tallies[1],
        receipt=attrs.evolve(
            receipt_of(*tallies, length.tokens, length.reason),
            recognised_columns=rows.train.recognised or rows.eval.recognised,
        ),
    )


def check_loss(rows: FittedRows, config: JobConfig) -> None:
    """Refuse a training on a part of the rows that nobody chose.

    Args:
        rows: the rows of the job.
        config: its settings.

    Raises:
        DatasetError: no row is left to train on, or to evaluate; or more than 1 % are dropped; or one, where that is an
            error.
    """
    receipt = rows.receipt
    way = "raise max_length" if receipt.max_length_reason.startswith("set") else "set a max_length that they fit into"
    if not rows.train.kept:
        raise DatasetError(rows.rows.train.source, f"no row is left to train on: {_fate(receipt)}; {way}")
    if rows.eval and not rows.eval.kept:
        raise DatasetError(rows.rows.eval.source, f"no held-out row is left to evaluate: {_fate(receipt)}; {way}")
    all_rows = len(rows.train) + len(rows.eval)
    most = {"drop": all_rows, "error": 0}.get(config.excess_length or "", MOST_DROPPED * all_rows)
    if receipt.dropped.count > most:
        raise DatasetError(
            rows.rows.train.source,
            f"{receipt.dropped.count} of {all_rows} rows would be lost: {_fate(receipt)}; {way}, or set "
            'excess_length="drop" to train without them',
        )


def _fate(receipt: Receipt) -> str:
    return (
        f"within max_length={receipt.max_length} tokens ({receipt.max_length_reason}) nothing is left to learn of "
        f"{receipt.dropped.numbers()}"
    )
