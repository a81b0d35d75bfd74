"""Whether this backend can do what a job or an evaluation asks, decided before it exists.

Protocol: docs/protocol.md, "Jobs" and "Evaluations": the 422 of ``POST /v1/jobs`` and of ``…/evaluations``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import attrs

from arkor.backend import models
from arkor.backend.addresses import WAYS_OUT, is_public, literal_address
from arkor.backend.inference.targets import FoundAdapter, check_stored, find_adapter
from arkor.backend.jobs import supported
from arkor.backend.jobs.base_adapters import find_base, going_on_from
from arkor.backend.settings import Settings
from arkor.backend.storage.interface import Storage
from arkor.backend.store import Store
from arkor.backend.store.datasets import Datasets
from arkor.backend.store.tenants import Project
from arkor.errors import ConfigError, ModelError
from arkor.evaluation.scorers import named_scorers
from arkor.protocol.checks import NAME
from arkor.protocol.config import JobConfig
from arkor.protocol.evaluations import EvaluationOptions
from arkor.protocol.jobs import AdapterRef
from arkor.protocol.sources import sources_of
from arkor.protocol.wire import python_name
from arkor.serving.refusal import Refusal


def check_name(name: Any) -> str:
    """Return a job's name.

    Raises:
        Refusal: 422, it is no text of 1 to 200 characters.
    """
    if not NAME.accepts(name):
        raise Refusal(422, f"name: must be {NAME.words}, not {name!r:.100}")
    return str(name)


@attrs.frozen
class Admitted:
    """A job that this backend can do.

    Attributes:
        config: its settings in wire names, as they are kept: what was given, and the shape of ``base``.
        base: the adapter that it goes on from, or None.
    """

    config: dict[str, Any] = attrs.field(hash=False)
    base: FoundAdapter | None = None


def admit(
    config: Mapping[str, Any],
    project: Project,
    store: Store,
    storage: Storage,
    settings: Settings,
    *,
    spare_bytes: int = 0,
) -> Admitted:
    """Check a job's settings, the cheap checks first.

    Args:
        config: the settings in wire names, as the client sent them.
        project: whose job it would be.
        store: the uploaded data sets, and the other jobs.
        storage: has the adapters of the other jobs.
        settings: which model folders and URLs are allowed.
        spare_bytes: memory in use that will be free when the job starts.

    Raises:
        Refusal: 422, it names the field or the model and says what to do.
    """
    parsed = admit_settings(config, project, store.datasets, settings)
    if parsed.evaluation is not None:
        admit_evaluation(parsed.evaluation, project, store, storage, settings)
    try:
        base = find_base(parsed.base_adapter, project, store, storage)
        if base is not None:
            parsed = going_on_from(parsed, base)
        models.check(
            parsed.model, parsed, settings.model_root, spare_bytes=spare_bytes, trains_here=settings.trains_here
        )
    except (ConfigError, ModelError) as exc:
        raise Refusal(422, str(exc)) from exc
    return Admitted(parsed.to_wire(), base)


def admit_settings(config: Mapping[str, Any], project: Project, datasets: Datasets, settings: Settings) -> JobConfig:
    """Check a job's settings, as ``admit`` does, but not whether its model can be trained here.

    Returns:
        The settings.

    Raises:
        Refusal: 422, it names the field and says what to do.
    """
    try:
        parsed = JobConfig.from_wire(config)
        supported.check_config(parsed, trains_here=settings.trains_here)
        for name, source in sources_of(config).items():
            _check_there(python_name(name), source, project, datasets, settings)
    except ConfigError as exc:
        raise Refusal(422, str(exc)) from exc
    return parsed


def admit_evaluation(
    given: Mapping[str, Any], project: Project, store: Store, storage: Storage, settings: Settings
) -> EvaluationOptions:
    """Check the options of an evaluation.

    Args:
        given: in wire names, as the client sent them.
        project: whose evaluation it would be.
        store: the uploaded data sets, and the jobs.
        storage: has the adapters of the jobs.
        settings: which URLs are allowed.

    Raises:
        Refusal: 422, it names the option and says what to do; 404, 409 or 410, as for a chat with that adapter.
    """
    try:
        options = EvaluationOptions.from_wire(given)
        if options.scorers is not None:
            named_scorers(options.scorers)
        if options.source is not None:
            supported.check_source("rows", options.source)
            _check_there("rows", options.source, project, store.datasets, settings)
    except ConfigError as exc:
        raise Refusal(422, str(exc)) from exc
    against = AdapterRef.from_wire(options.against)
    if against is not None:
        check_stored(find_adapter(against, project, store), storage)
    return options


def _check_there(
    field: str, source: Mapping[str, Any], project: Project, datasets: Datasets, settings: Settings
) -> None:
    _check_dataset(field, source, project, datasets)
    _check_host(field, source, settings)


def _check_dataset(field: str, source: Mapping[str, Any], project: Project, datasets: Datasets) -> None:
    if source.get("type") == "dataset" and datasets.get(project.id, str(source.get("id"))) is None:
        raise ConfigError(field, f"this project has no data set {source.get('id')!r:.100}: upload it first")


def _check_host(field: str, source: Mapping[str, Any], settings: Settings) -> None:
    """Refuse an address that is not public; a name is looked up and checked when its rows are fetched."""
    if source.get("type") != "blob" or settings.allow_private_urls:
        return
    host = urlsplit(source["url"]).hostname or ""
    address = literal_address(host)
    if address is not None and not is_public(address):
        raise ConfigError(field, f"url: {host} is an address that is not public; {WAYS_OUT}")
