"""The rows of a job: fetched from their source, checked, and divided into those to train on and those held out.

Protocol: docs/protocol.md, "Jobs": datasetSource, datasetSplit and datasetFormat.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from arkor.backend.training_worker.download import download_blob, shown_url
from arkor.backend.training_worker.hub_rows import load_hub_rows
from arkor.backend.training_worker.spec import WorkerSpec
from arkor.data.formats import FORMATS, row_format, row_problem
from arkor.data.jsonl import read_lines, read_rows
from arkor.errors import DatasetError

DRY_RUN_TRAIN_ROWS = 8
DRY_RUN_EVAL_ROWS = 4

Row = dict[str, Any]


@attrs.frozen
class NumberedRow:
    """A row, and where a person finds it in its source.

    Attributes:
        number: its line in a file, or its place in a split, from 1.
        row: its content, only the keys of its format.
    """

    number: int
    row: Row


@attrs.frozen
class Rows:
    """The rows of a job.

    Attributes:
        source: what to call the source in an error.
        format: the one format of all rows.
        train: rows to train on, at least one.
        eval: rows held out, possibly none.
    """

    source: str
    format: str
    train: list[NumberedRow]
    eval: list[NumberedRow]


def load_rows(spec: WorkerSpec) -> Rows:
    """Load, check and divide a job's rows.

    Raises:
        DatasetError: the source cannot be read, a row is bad, or no row is left to train on.
    """
    split = spec.config.dataset_split or {}
    name, train, held_out = _fetched(spec, split)
    kind = _format_of(spec.config.dataset_format, train, name)
    train, held_out = _checked(train, kind, name), _checked(held_out, kind, name)
    train, held_out = _divided(train, held_out, split, name)
    if spec.config.dry_run:
        train, held_out = train[:DRY_RUN_TRAIN_ROWS], held_out[:DRY_RUN_EVAL_ROWS]
    return Rows(name, kind, train, held_out)


def split_rows(
    rows: Sequence[NumberedRow], fraction: float, seed: int | None
) -> tuple[list[NumberedRow], list[NumberedRow]]:
    """Hold rows out; the same rows, fraction and seed give the same split on every machine.

    Args:
        rows: all of them, at least 2.
        fraction: the share to hold out, above 0 and below 1; at least one row goes to either side.
        seed: any whole number, which rows are held out depends on it; None holds out the last ones.

    Returns:
        (rows to train on, rows held out), each in its former order.
    """
    count = min(max(1, round(len(rows) * fraction)), len(rows) - 1)
    if seed is None:
        return list(rows[:-count]), list(rows[-count:])
    held_out = set(random.Random(seed).sample(range(len(rows)), count))
    train = [row for place, row in enumerate(rows) if place not in held_out]
    return train, [row for place, row in enumerate(rows) if place in held_out]


def _fetched(spec: WorkerSpec, split: Mapping[str, Any]) -> tuple[str, list[NumberedRow], list[NumberedRow]]:
    source = spec.config.dataset_source
    if source["type"] == "huggingface":
        train, held_out = load_hub_rows(source, split)
        return str(source["name"]), _numbered(train), _numbered(held_out)
    if source["type"] == "blob":
        name = shown_url(str(source["url"]))
        path = download_blob(source, spec.job_dir, allow_private_urls=spec.allow_private_urls)
        return name, _read_file(name, path), []
    if spec.dataset_path is None:
        raise DatasetError("dataset", "the backend did not say where it keeps the uploaded rows")
    return "dataset", _read_file("dataset", spec.dataset_path), []


def _numbered(rows: Iterable[Row]) -> list[NumberedRow]:
    return [NumberedRow(number, row) for number, row in enumerate(rows, start=1)]


def _read_file(name: str, path: Path) -> list[NumberedRow]:
    rows = []
    try:
        with path.open("rb") as file:
            for number, row, reason in read_rows(read_lines(file)):
                if row is None:
                    raise DatasetError(name, "a row cannot be trained on", [(number, reason or "is bad")])
                rows.append(NumberedRow(number, row))
    except OSError as exc:
        raise DatasetError(name, f"the rows cannot be read: {exc}") from exc
    return rows


def _format_of(given: Mapping[str, Any] | None, rows: Sequence[NumberedRow], source: str) -> str:
    if not rows:
        raise DatasetError(source, "has no rows")
    kind = given["type"] if given else row_format(rows[0].row)
    if kind is None:
        raise DatasetError(source, "a row cannot be trained on", [(rows[0].number, row_problem(rows[0].row) or "")])
    return str(kind)


def _checked(rows: Iterable[NumberedRow], kind: str, source: str) -> list[NumberedRow]:
    """Keep of each row only what belongs to the format, so that extra columns cannot change what it is."""
    form, checked = FORMATS[kind], []
    for item in rows:
        missing = [key for key in form.required if key not in item.row]
        row = {key: item.row[key] for key in (*form.required, *form.optional) if key in item.row}
        reason = f"has no {' and no '.join(missing)}, which {kind} rows need" if missing else row_problem(row)
        if reason is not None:
            raise DatasetError(source, "a row cannot be trained on", [(item.number, reason)])
        checked.append(NumberedRow(item.number, row))
    return checked


def _divided(
    train: list[NumberedRow], held_out: list[NumberedRow], split: Mapping[str, Any], source: str
) -> tuple[list[NumberedRow], list[NumberedRow]]:
    fraction = split.get("evalFraction")
    if fraction is None:
        return train, held_out
    if len(train) < 2:
        raise DatasetError(source, "has one row only, so none can be held out: leave evalFraction away")
    return split_rows(train, float(fraction), split.get("seed"))
