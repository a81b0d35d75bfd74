"""Data sets that can ask a backend how a model sees their rows; their public names load this module.

Protocol: docs/protocol.md, "Previews".
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs

from arkor.client.client import CloudApiClient
from arkor.client.project import ensure_project
from arkor.data.checked import CheckedDataset
from arkor.data.datasets import (
    BlobDataset,
    Dataset,
    HuggingFaceDataset,
    LocalDataset,
    UploadedDataset,
    opened,
)
from arkor.data.formats import format_to_wire, split_to_wire
from arkor.data.frames import dataset_from
from arkor.data.parts import place_of
from arkor.data.previews import Asking, PreviewOptions, pass_in
from arkor.errors import DatasetError
from arkor.http.abort import AbortScope, Deadline
from arkor.options import unknown_option
from arkor.protocol.config import ROW_SETTINGS, JobConfig
from arkor.protocol.jobs import Scope
from arkor.protocol.previews import RowPreview, TokenSummary

__all__ = ["BlobDataset", "CheckedDataset", "HuggingFaceDataset", "LocalDataset", "UploadedDataset", "dataset_from"]

_ON_THIS_MACHINE = (LocalDataset, CheckedDataset)


def check_dataset(dataset: Dataset, model: str, options: Mapping[str, Any]) -> TokenSummary:
    """Do what ``Previewed.check`` says; ``options`` are ``PreviewOptions``."""
    with _on_the_backend(dataset, model, options) as (client, scope, config):
        return client.check_rows(scope, config, source=_name(dataset))


def preview_dataset(dataset: Dataset, row: int | None, model: str, options: Mapping[str, Any]) -> RowPreview:
    """Do what ``Previewed.preview`` says; ``options`` are ``PreviewOptions``."""
    with _on_the_backend(dataset, model, options) as (client, scope, config):
        return client.preview_row(scope, config, row, source=_name(dataset))


@contextlib.contextmanager
def _on_the_backend(
    dataset: Dataset, model: str, options: Mapping[str, Any]
) -> Iterator[tuple[CloudApiClient, Scope, JobConfig]]:
    """Have the rows where the backend reads them, inside the block; the options end what is done in it."""
    config = _config(dataset, model, options)
    folder = Path(options.get("project_dir") or Path.cwd())
    with (
        AbortScope(options.get("abort_event"), Deadline(options.get("timeout"))) as limits,
        limits.noticing_the_end(),
        limits.active(),
        contextlib.ExitStack() as opening,
    ):
        rows = opening.enter_context(opened(dataset, folder)) if isinstance(dataset, _ON_THIS_MACHINE) else None
        client = options.get("client")
        if client is None:
            client = opening.enter_context(contextlib.closing(CloudApiClient.connect(options.get("backend"))))
        client.check_settings(config)
        scope = ensure_project(client, folder)
        if rows is not None:
            client.require("previews", "showing rows as a model sees them")  # before gigabytes are sent
            config = attrs.evolve(config, dataset_source=client.upload_dataset(scope, rows).to_wire())
        with _naming_files(rows):
            yield client, scope, config


@contextlib.contextmanager
def _naming_files(rows: CheckedDataset | None) -> Iterator[None]:
    """Add to the reasons that a backend gives which of several files a row is in."""
    try:
        yield
    except DatasetError as exc:
        if rows is None or not rows.summary.files:
            raise
        problems = [(number, f"{place_of(rows.summary.files, number)}{reason}") for number, reason in exc.problems]
        raise DatasetError(exc.source, exc.message, problems, exc.more) from exc


def _config(dataset: Dataset, model: str, options: Mapping[str, Any]) -> JobConfig:
    for name in options:
        if name not in PreviewOptions.__annotations__:
            raise unknown_option("A look at rows", name, PreviewOptions.__annotations__)
    settings: dict[str, Any] = {name: options.get(name) for name in ROW_SETTINGS}
    settings["dataset_format"] = format_to_wire(options.get("dataset_format"))
    settings["dataset_split"] = split_to_wire(options.get("dataset_split"))
    source = {} if isinstance(dataset, _ON_THIS_MACHINE) else dataset.to_wire()
    return JobConfig(model=model, dataset_source=source, **settings)


def _name(dataset: Dataset) -> str | None:
    """Return what to call rows of this machine in an error; the backend has a name for others."""
    return dataset.source if isinstance(dataset, _ON_THIS_MACHINE) else None


pass_in(Asking(check_dataset, preview_dataset))
