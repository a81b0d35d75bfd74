"""The rows of a job: fetched from their source, checked, and divided into those to train on and those held out.

Protocol: docs/protocol.md, "Jobs": datasetSource, evalDatasetSource, datasetSplit and datasetFormat.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs

from arkor.backend.training_worker.rows.download import download_blob, shown_url
from arkor.backend.training_worker.rows.hub import HubRows, load_hub_rows
from arkor.backend.training_worker.rows.phases import READING, Tell, tell_nobody
from arkor.backend.training_worker.rows.spec import RowsSpec
from arkor.backend.training_worker.rows.spool import NumberedRow, Spool, SpooledRows
from arkor.data.conversion import Converter, Found
from arkor.data.disk_faults import kept_on_disk
from arkor.data.formats import FORMATS, row_format, row_problem, says_nothing
from arkor.data.jsonl import read_lines, read_values
from arkor.data.split import split_rows
from arkor.errors import DatasetError
from arkor.protocol import wire
from arkor.protocol.config import JobConfig

DRY_RUN_TRAIN_ROWS = 8
DRY_RUN_EVAL_ROWS = 4


@attrs.frozen
class RowSet:
    """Rows of one source and one format.

    Attributes:
        source: what to call the source in an error.
        format: the format.
        rows: the rows, on disk.
        recognised: which columns were recognised, in words; empty if none were.
    """

    source: str
    format: str
    rows: SpooledRows
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


@attrs.frozen
class Source:
    """Where rows are, on this machine by now.

    Attributes:
        name: what to call it in an error.
        read: yields its rows as they are, and says how far it is.
        content: returns what only a source with the same rows shares.
        columns: new names of columns by their old ones; None for none.
        about: the source as the job's config has it, without its secrets.
        content_name: ``sha256``, or ``fingerprint`` for a split of the hub: what ``content`` is.
    """

    name: str
    read: Callable[[Tell], Iterator[Found]]
    content: Callable[[], str]
    columns: Mapping[str, str] | None
    about: Mapping[str, Any]
    content_name: str = "sha256"

    def described(self) -> dict[str, Any]:
        """Return the source, and what only a source with the same rows shares.

        Raises:
            DatasetError: the source cannot be read.
        """
        hashed = {} if self.about["type"] == "dataset" else {self.content_name: self.content()}  # its id is the SHA-256
        return {**self.about, **hashed}


@attrs.frozen
class Sources:
    """The sources of a job's rows.

    Attributes:
        train: of the rows to train on.
        eval: of the held-out rows; None if they are a part of the others, or there are none.
    """

    train: Source
    eval: Source | None

    def contents(self) -> tuple[str, str | None]:
        """Return what only sources with the same rows share.

        Raises:
            DatasetError: a source cannot be read.
        """
        return _content_of(self.train), None if self.eval is None else _content_of(self.eval)

    def described(self) -> dict[str, Mapping[str, Any]]:
        """Return ``rows``, and ``held_out_rows`` if they have a source of their own: what a record says of them.

        Raises:
            DatasetError: a source cannot be read.
        """
        held_out = {} if self.eval is None else {"held_out_rows": self.eval.described()}
        return {"rows": self.train.described(), **held_out}


def _content_of(source: Source) -> str:
    return json.dumps([source.content(), source.columns], sort_keys=True)


def fetch_rows(spec: RowsSpec) -> Sources:
    """Bring a job's rows to this machine, and read nothing yet.

    Raises:
        DatasetError: they cannot be had.
    """
    source, eval_source = _sources(spec.config, wire.mapping(spec.config.dataset_split))
    train = _fetched(spec, source, "dataset", spec.dataset_path)
    if eval_source is None:
        return Sources(train, None)
    return Sources(train, _fetched(spec, eval_source, "eval_dataset", spec.eval_dataset_path))


def load_rows(spec: RowsSpec, tell: Tell = tell_nobody, sources: Sources | None = None) -> Rows:
    """Load, check and divide a job's rows.

    Args:
        spec: the rows and the settings.
        tell: takes how far it is.
        sources: the rows, if they were fetched already.

    Raises:
        DatasetError: a source cannot be read, a row is bad, or no row is left to train on.
    """
    sources = sources or fetch_rows(spec)
    train = _loaded(spec, sources.train, tell)
    if sources.eval is not None:
        held_out = _loaded(spec, sources.eval, tell)
    else:
        train, held_out = _divided(train, wire.mapping(spec.config.dataset_split))
    if spec.config.dry_run:
        train, held_out = _first(train, DRY_RUN_TRAIN_ROWS), _first(held_out, DRY_RUN_EVAL_ROWS)
    return Rows(train, held_out)


def _sources(config: JobConfig, split: Mapping[str, Any]) -> tuple[Mapping[str, Any], Mapping[str, Any] | None]:
    """Return where the rows to train on are, and where the held-out rows are if they have a source of their own."""
    source = config.dataset_source
    named = {name: {**source, "split": split[name]} for name in ("train", "eval") if split.get(name)}
    return named.get("train", source), config.eval_dataset_source or named.get("eval")


def _loaded(spec: RowsSpec, source: Source, tell: Tell) -> RowSet:
    """Load and check the rows of a source."""
    with kept_on_disk(source.name, "the rows cannot be kept on the backend's disk"):
        return _spooled(source, spec, tell)


def _spooled(source: Source, spec: RowsSpec, tell: Tell) -> RowSet:
    spool, kind, converter = Spool(spec.job_dir), "", Converter(source.name, source.columns)
    for number, row, reason in converter.convert(source.read(tell)):
        if reason is not None or not isinstance(row, dict):
            why = reason or row_problem(row) or "is bad"
            raise DatasetError(source.name, "a row cannot be trained on", [(number, why)])
        kind = kind or _format_of(wire.mapping(spec.config.dataset_format), row)
        spool.add(_checked(NumberedRow(number, row), kind, source.name))
    if not kind:
        raise DatasetError(source.name, "has no rows")
    return RowSet(source.name, kind, spool.rows(), converter.recognised)


def _fetched(spec: RowsSpec, source: Mapping[str, Any], role: str, path: Path | None) -> Source:
    """Bring the rows of a source to this machine.

    Args:
        spec: the attempt.
        source: the source.
        role: ``dataset`` or ``eval_dataset``.
        path: the uploaded file, if it was uploaded.
    """
    columns = source.get("columns")
    # Both sets may have the same name or URL.
    mark = " (held-out rows)" if role == "eval_dataset" else ""
    about = _without_secrets(source)
    if source["type"] == "huggingface":
        rows = load_hub_rows(source)
        read = functools.partial(_numbered, rows)
        return Source(f"{source['name']}{mark}", read, lambda: rows.fingerprint, columns, about, "fingerprint")
    if source["type"] == "blob":
        name = f"{shown_url(str(source['url']))}{mark}"
        file = download_blob(source, spec.job_dir, role, allow_private_urls=spec.allow_private_urls)
        return _file_source(name, file, columns, about)
    if path is None:
        raise DatasetError(role, "the backend did not say where it keeps the uploaded rows")
    return _file_source(role, path, columns, about)


def _without_secrets(source: Mapping[str, Any]) -> dict[str, Any]:
    about = {key: value for key, value in source.items() if key != "token" and value is not None}
    return {**about, "url": shown_url(str(source["url"]))} if "url" in source else about


def _file_source(name: str, path: Path, columns: Mapping[str, str] | None, about: Mapping[str, Any]) -> Source:
    digest = functools.cache(functools.partial(_digest, name, path))  # of a large file it takes a while
    return Source(name, functools.partial(_read_file, name, path), digest, columns, about)


def _digest(name: str, path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as exc:
        raise DatasetError(name, f"the rows cannot be read: {exc}") from exc


def _numbered(rows: HubRows, tell: Tell) -> Iterator[Found]:
    for number, row in enumerate(rows, start=1):
        tell(READING, number - 1, len(rows))
        yield number, row, None


def _read_file(name: str, path: Path, tell: Tell) -> Iterator[Found]:
    try:
        with path.open("rb") as file:
            size = path.stat().st_size
            tell(READING, 0, size)
            for found in read_values(read_lines(file)):
                tell(READING, file.tell(), size)
                yield found
    except OSError as exc:
        raise DatasetError(name, f"the rows cannot be read: {exc}") from exc


def _format_of(given: Mapping[str, Any], row: Mapping[str, Any]) -> str:
    return str(given["type"] if given else row_format(row))


def _checked(item: NumberedRow, kind: str, source: str) -> NumberedRow:
    """Keep of a row only what belongs to the format, so that extra columns cannot change what it is."""
    form = FORMATS[kind]
    missing = [key for key in form.required if key not in item.row]
    kept = (*form.required, *form.optional, *form.refused, *form.checked)
    row = {key: item.row[key] for key in kept if key in item.row}
    seen = row.keys() - form.checked
    unseen = tuple(key for key, value in item.row.items() if key not in seen and not says_nothing(value))
    reason = f"has no {' and no '.join(missing)}, which {kind} rows need" if missing else row_problem(row)
    if reason is not None:
        raise DatasetError(source, "a row cannot be trained on", [(item.number, reason)])
    return NumberedRow(item.number, row, unseen)


def _divided(rows: RowSet, split: Mapping[str, Any]) -> tuple[RowSet, RowSet]:
    fraction = split.get("evalFraction")
    if fraction is None:
        return rows, _first(rows, 0)
    if len(rows.rows) < 2:
        raise DatasetError(rows.source, "has one row only, so none can be held out: leave evalFraction away")
    train, held_out = split_rows(len(rows.rows), float(fraction), split.get("seed"))
    return attrs.evolve(rows, rows=rows.rows.select(train)), attrs.evolve(rows, rows=rows.rows.select(held_out))


def _first(rows: RowSet, count: int) -> RowSet:
    return attrs.evolve(rows, rows=rows.rows[:count])
