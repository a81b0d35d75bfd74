"""Where an adapter comes from: what its archive says of the base model, and of all else that made it.

Protocol: docs/protocol.md, "Artifacts": ``adapter_config.json`` and ``arkor.json``.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import platform
from collections.abc import Mapping
from typing import Any

import attrs

from arkor.backend.models.origin import ModelOrigin
from arkor.backend.training_worker.examples.data import Data
from arkor.backend.training_worker.limits.device import Device
from arkor.backend.training_worker.settings import best_by, computes_twice, eval_batch_size, total_steps
from arkor.backend.training_worker.spec import WorkerSpec
from arkor.protocol import wire
from arkor.protocol.config import SETTINGS, JobConfig
from arkor.protocol.receipt import Receipt
from arkor.protocol.record import TrainingRecord
from arkor.protocol.sources import SOURCES
from arkor.version import __version__

_LIBRARIES = ("torch", "transformers", "peft", "trl", "tokenizers")
_APART = {
    *("evaluation", "sample_prompts", "sample_budget"),  # they change nothing in the training
    "model",
    "base_adapter",
    *map(wire.python_name, SOURCES),
}  # these settings have fields of their own, without tokens and paths


@attrs.frozen
class Provenance:
    """What the archives of a job's adapters say of their making.

    Attributes:
        base: the base model.
        record: what made the adapter.
        receipt: what became of the rows.
    """

    base: ModelOrigin
    record: TrainingRecord
    receipt: Receipt

    def named(self, adapter_config: bytes) -> bytes:
        """Return an ``adapter_config.json`` that names the base model as other machines know it.

        Args:
            adapter_config: as PEFT wrote it, with the path from which this machine loaded the model.
        """
        config = json.loads(adapter_config)
        config |= {"base_model_name_or_path": self.base.id, "revision": self.base.revision}
        return json.dumps(config, indent=2, sort_keys=True).encode()

    def file(self) -> bytes:
        """Return the content of ``arkor.json``: the same for the same rows, settings and versions.

        The threads are in it with full determinism only: without, a chat changes them for a while.
        """
        is_fixed = self.record.settings.get("fullDeterminism")
        record = self.record if is_fixed else attrs.evolve(self.record, threads=None)
        return json.dumps({**record.to_wire(), "receipt": self.receipt.to_wire()}, indent=2, sort_keys=True).encode()


def provenance_of(
    spec: WorkerSpec, base: ModelOrigin, tokenizer: Any, device: Device, data: Data, **sources: Mapping[str, Any]
) -> Provenance:
    """Return where the adapters of a job come from.

    Args:
        spec: the attempt.
        base: the base model.
        tokenizer: the model's, of transformers.
        device: where it trains.
        data: the rows as the model sees them.
        sources: ``rows`` and possibly ``held_out_rows``, see ``Sources.described``.
    """
    record = TrainingRecord(
        settings=_settings(spec.config, data, device),
        model=base.facts,
        base_adapter=_base_adapter(spec.config),
        chat_template_sha256=template_hash(tokenizer.chat_template),
        versions=_versions(),
        device=device.name,
        dtype=spec.config.dtype or device.dtype,
        threads=spec.threads,
        **sources,
    )
    return Provenance(base, record, data.receipt)


def _settings(config: JobConfig, data: Data, device: Device) -> dict[str, Any]:
    """Return the settings by their wire names; one without any value, such as ``saveSteps``, is absent."""
    found = {
        "dataset_format": {"type": data.format},
        "max_length": data.receipt.max_length,
        "excess_length": "drop" if config.max_length is None else "truncate",
        "train_on_responses_only": data.format != "text",
        "allow_dropped_fields": [],
        "chat_template_kwargs": {},
        "eval_batch_size": eval_batch_size(config),
        "greater_is_better": best_by(config)[1],
        "data_seed": config.value("seed"),
        "dtype": device.dtype,
        "gradient_checkpointing": computes_twice(config, device),
    }
    values = {name: found.get(name) if config.value(name) is None else config.value(name) for name in SETTINGS}
    values["max_steps"] = total_steps(config, len(data.train))
    return {wire.wire_name(name): value for name, value in values.items() if name not in _APART and value is not None}


def _base_adapter(config: JobConfig) -> dict[str, Any] | None:
    named = config.base_adapter
    return None if named is None else {name: named[name] for name in ("sha256", "step") if name in named}


def template_hash(template: Any) -> str | None:
    """Return the SHA-256 of a tokenizer's chat template, or of several by their names; None if there is none."""
    if not template:
        return None
    text = template if isinstance(template, str) else json.dumps(template, sort_keys=True)  # several, by their names
    return hashlib.sha256(text.encode()).hexdigest()


def _versions() -> dict[str, str]:
    libraries = {name: importlib.metadata.version(name) for name in _LIBRARIES}
    return {"arkor": __version__, "python": platform.python_version(), **libraries}
