"""Jobs that go on from the adapter of another one: its model and its shape are theirs.

Protocol: docs/protocol.md, "Jobs": baseAdapter.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from arkor.backend.inference.targets import FoundAdapter, check_stored, find_adapter
from arkor.backend.storage.interface import Storage
from arkor.backend.store import Store
from arkor.backend.store.tenants import Project
from arkor.errors import ConfigError
from arkor.protocol import wire
from arkor.protocol.config import SETTINGS, JobConfig
from arkor.protocol.jobs import AdapterRef
from arkor.serving.refusal import Refusal

_SHAPE = (
    *("lora_r", "lora_alpha", "lora_target_modules", "use_rslora", "use_dora"),
    *("layers_to_transform", "modules_to_save"),
)


def find_base(given: Mapping[str, Any] | None, project: Project, store: Store, storage: Storage) -> FoundAdapter | None:
    """Find the adapter that a config names; None if it names none.

    Args:
        given: ``base_adapter`` of the config.
        project: whose jobs may be named.
        store: the jobs and what they made.
        storage: has the adapters.

    Raises:
        ConfigError: it cannot be had, or is another one than the config's ``sha256`` says.
    """
    wanted = AdapterRef.from_wire(given)
    if given is None or wanted is None:
        return None
    try:
        found = find_adapter(wanted, project, store)
        check_stored(found, storage)
    except Refusal as exc:
        raise ConfigError("base_adapter", str(exc)) from exc
    sha256 = given.get("sha256")
    if sha256 is not None and sha256 != found.artifact.sha256:
        raise ConfigError("base_adapter", f"job {found.job.id} has another adapter than the one of that SHA-256")
    return found


def going_on_from(config: JobConfig, base: FoundAdapter) -> JobConfig:
    """Return a job's settings with the shape of the adapter that it goes on from, and with the SHA-256 of its file.

    Raises:
        ConfigError: the job names another model, or another shape.
    """
    former = base.job.config
    if config.model != former.get("model"):
        raise ConfigError(
            "model", f"is {config.model!r}, but base_adapter was trained on {former.get('model')!r}: name that one"
        )
    if config.init_lora_weights is not None:
        raise ConfigError("init_lora_weights", "changes nothing with base_adapter, which has its weights: leave it out")
    before = {name: former.get(wire.wire_name(name)) for name in _SHAPE}
    for name, value in before.items():
        given, its = getattr(config, name), SETTINGS[name].value if value is None else value
        if given is not None and given != its:
            raise ConfigError(name, f"is {given!r}, but base_adapter has {its!r}: give that, or leave lora out")
    shape = {name: value for name, value in before.items() if value is not None}
    named = {**(config.base_adapter or {}), "sha256": base.artifact.sha256}
    return attrs.evolve(config, base_adapter=named, **shape)
