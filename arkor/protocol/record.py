"""What made an adapter: settings, model, rows, versions and machine; never a token, a path, a time or a job's id.

Protocol: docs/protocol.md, "The event stream": the ``record`` of ``training.started``, and "Artifacts": ``arkor.json``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from arkor.protocol import wire


@attrs.frozen(kw_only=True)
class TrainingRecord:
    """What a training is made from. The mappings have the names and values of docs/protocol.md.

    Attributes:
        settings: the job's settings by their wire names, with the defaults that the backend filled in.
        model: the base model's ``name`` and what tells it from others, such as its ``revision`` or a ``sha256``.
        base_adapter: the ``sha256`` of the adapter that the training went on from, and the ``step`` of a checkpoint.
            None if it began with a new one.
        rows: the source of the rows, with a hash of them.
        held_out_rows: the same of held-out rows that have a source of their own; None if there is no such source.
        chat_template_sha256: of the model's chat template, lowercase hex; None if the model has no template.
        versions: the version of Python and of each library, by its name.
        device: ``cpu`` or ``cuda``.
        dtype: the number type that the base model computes in, such as ``float32``.
        threads: CPU threads at the start; None in ``arkor.json``, and if the backend does not say.
        extra: fields that this version does not know.

    Example:
        ``result.record.versions["torch"]``
    """

    settings: Mapping[str, Any] = attrs.field(factory=dict, hash=False)
    model: Mapping[str, Any] = attrs.field(factory=dict, hash=False)
    base_adapter: Mapping[str, Any] | None = attrs.field(default=None, hash=False)
    rows: Mapping[str, Any] = attrs.field(factory=dict, hash=False)
    held_out_rows: Mapping[str, Any] | None = attrs.field(default=None, hash=False)
    chat_template_sha256: str | None = None
    versions: Mapping[str, str] = attrs.field(factory=dict, hash=False)
    device: str = ""
    dtype: str = ""
    threads: int | None = None
    extra: Mapping[str, Any] = attrs.field(factory=dict, hash=False)

    def to_wire(self) -> dict[str, Any]:
        """Return it as a JSON object."""
        return wire.to_wire(self)

    @classmethod
    def from_wire(cls, value: Any) -> TrainingRecord | None:
        """Read what a backend says, or the content of ``arkor.json``; None if it is no object."""
        if not isinstance(value, Mapping):
            return None
        found = wire.known_fields(cls, value)
        for name in ("settings", "model", "rows"):
            found[name] = wire.mapping(found.get(name))
        for name in ("base_adapter", "held_out_rows"):
            found[name] = wire.mapping(found.get(name)) or None
        found["versions"] = {name: wire.text(item) for name, item in wire.mapping(found.get("versions")).items()}
        found["chat_template_sha256"] = wire.optional_text(found.get("chat_template_sha256"))
        found["device"], found["dtype"] = (wire.text(found.get(name)) for name in ("device", "dtype"))
        found["threads"] = wire.whole_number(found.get("threads"))
        return cls(**found)

    def facts(self) -> dict[str, str]:
        """Return the model, the rows, the machine and the versions for people, by their names, in a line each."""
        threads = f"{self.threads} threads" if self.threads else ""
        base = {} if self.base_adapter is None else {"base adapter": _joined(self.base_adapter.get("sha256"))}
        return {
            "model": _joined(self.model.get("name"), self.model.get("revision")),
            **base,
            "rows": _joined(*(self.rows.get(key) for key in ("name", "url", "id", "sha256", "fingerprint"))),
            "machine": _joined(self.device, self.dtype, threads),
            "versions": ", ".join(f"{name} {version}" for name, version in self.versions.items()),
        }


def _joined(*parts: Any) -> str:
    return ", ".join(wire.text(part) for part in parts if part)
