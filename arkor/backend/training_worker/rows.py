"""The rows of a job: fetched from their source, checked, and divided into those to train on and those held out.

Protocol: docs/protocol.md, "Jobs": datasetSource, evalDatasetSource, datasetSplit and datasetFormat.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from arkor.backend.training_worker.download import download_blob, shown_url
from arkor.backend.training_worker.hub_rows import load_hub_rows
from arkor.backend.training_worker.spec import RowsSpec
from arkor.data.conversion import Converter, Found
from arkor.data.formats import FORMATS, row_format, row_problem, says_nothing
from arkor.data.jsonl import read_lines, read_values
from arkor.errors import DatasetError
from arkor.protocol import wire
from arkor.protocol.config import JobConfig

DRY_RUN_TRAIN_ROWS = 8
DRY_RUN_EVAL_ROWS = 4

Row = dict[str, Any]


@attrs.frozen
class NumberedRow:
    """A row, and where a person finds it in its source.

    Attributes:
        number: its line in a file, or its place in a split, from 1.
        row: its content, only the keys of its format.
        unseen: its other keys, but for those whose values say nothing.
    """

    number: int
    row: Row
    unseen: tuple[str, ...] = ()


@attrs.frozen
class RowSet:
    """Rows of one source and one format.

    Attributes:
        source: what to call the source in an error.
        format: the format.
        rows: the rows.
        recognised: which columns were recognised, in words; empty if none were.
    """

    source: str
    format: str
    rows: list[NumberedRow]
    recognised: str = ""


@attrs.frozen
class Rows:
    """The rows of a job.

    Attributes:
        train: rows to train on, at least one.
        eval: rows held out, possibly none.
    """

    train: RowSet
    eval: RowSet


def load_rows(spec: RowsSpec) -> Rows:
    """Load, check and divide a job's rows.

    Raises:
        DatasetError: a source cannot be read, a row is bad, or no row is left to train on.
    """
    split = wire.mapping(spec.config.dataset_split)
    source, eval_source = _sources(spec.config, split)
    train = _loaded(spec, source, "dataset", spec.dataset_path)
    if eval_source is not None:
        held_out = _loaded(spec, eval_source, "eval_dataset", spec.eval_dataset_path)
    else:
        train, held_out = _divided(train, split)
    if spec.config.dry_run:
        train, held_out = _first(train, DRY_RUN_TRAIN_ROWS), _first(held_out, DRY_RUN_EVAL_ROWS)
    return Rows(train, held_out)


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


def _sources(config: JobConfig, split: Mapping[str, Any]) -> tuple[Mapping[str, Any], Mapping[str, Any] | None]:
    """Return where the rows to train on are, and where the held-out rows are if they have a source of their own."""
    source = config.dataset_source
    named = {name: {**source, "split": split[name]} for name in ("train", "eval") if split.get(name)}
    return named.get("train", source), config.eval_dataset_source or named.get("eval")


def _loaded(spec: RowsSpec, source: Mapping[str, Any], role: str, path: Path | None) -> RowSet:
    """Load and check the rows of a source.

    Args:
        spec: the attempt.
        source: the source.
        role: ``dataset`` or ``eval_dataset``.
        path: the uploaded file, if it was uploaded.
    """
    name, found = _fetched(spec, source, role, path)
    converter = Converter(name, source.get("columns"))
    rows = _converted(name, found, converter)
    kind = _format_of(wire.mapping(spec.config.dataset_format), rows, name)
    return RowSet(name, kind, _checked(rows, kind, name), converter.recognised)


def _fetched(spec: RowsSpec, source: Mapping[str, Any], role: str, path: Path | None) -> tuple[str, Iterable[Found]]:
    # Both sets may have the same name or URL.
    mark = " (held-out rows)" if role == "eval_dataset" else ""
    if source["type"] == "huggingface":
        return f"{source['name']}{mark}", _numbered(load_hub_rows(source))
    if source["type"] == "blob":
        name = f"{shown_url(str(source['url']))}{mark}"
        file = download_blob(source, spec.job_dir, role, allow_private_urls=spec.allow_private_urls)
        return name, _read_file(name, file)
    if path is None:
        raise DatasetError(role, "the backend did not say where it keeps the uploaded rows")
    return role, _read_file(role, path)


def _numbered(rows: Iterable[Row]) -> Iterator[Found]:
    return ((number, row, None) for number, row in enumerate(rows, start=1))


def _read_file(name: str, path: Path) -> Iterator[Found]:
    try:
        with path.open("rb") as file:
            yield from read_values(read_lines(file))
    except OSError as exc:
        raise DatasetError(name, f"the rows cannot be read: {exc}") from exc


def _converted(name: str, found: Iterable[Found], converter: Converter) -> list[NumberedRow]:
    rows = []
    for number, row, reason in converter.convert(found):
        if reason is not None or not isinstance(row, dict):
            raise DatasetError(name, "a row cannot be trained on", [(number, reason or row_problem(row) or "is bad")])
        rows.append(NumberedRow(number, row))
    return rows


def _format_of(given: Mapping[str, Any], rows: Sequence[NumberedRow], source: str) -> str:
    if not rows:
        raise DatasetError(source, "has no rows")
    kind = given["type"] if given else row_format(rows[0].row)
    return str(kind)


def _checked(rows: Iterable[NumberedRow], kind: str, source: str) -> list[NumberedRow]:
    """Keep of each row only what belongs to the format, so that extra columns cannot change what it is."""
    form, checked = FORMATS[kind], []
    for item in rows:
        missing = [key for key in form.required if key not in item.row]
        kept = (*form.required, *form.optional, *form.refused, *form.checked)
        row = {key: item.row[key] for key in kept if key in item.row}
        seen = row.keys() - form.checked
        unseen = tuple(key for key, value in item.row.items() if key not in seen and not says_nothing(value))
        reason = f"has no {' and no '.join(missing)}, which {kind} rows need" if missing else row_problem(row)
        if reason is not None:
            raise DatasetError(source, "a row cannot be trained on", [(item.number, reason)])
        checked.append(NumberedRow(item.number, row, unseen))
    return checked


def _divided(rows: RowSet, split: Mapping[str, Any]) -> tuple[RowSet, RowSet]:
    fraction = split.get("evalFraction")
    if fraction is None:
        return rows, attrs.evolve(rows, rows=[])
    if len(rows.rows) < 2:
        raise DatasetError(rows.source, "has one row only, so none can be held out: leave evalFraction away")
    train, held_out = split_rows(rows.rows, float(fraction), split.get("seed"))
    return attrs.evolve(rows, rows=train), attrs.evolve(rows, rows=held_out)


def _first(rows: RowSet, count: int) -> RowSet:
    return attrs.evolve(rows, rows=rows.rows[:count])
