"""What made an adapter: settings, model, rows, versions and machine; never a token, a path, a time or a job's id.

Protocol: docs/protocol.md, "The event stream": the ``record`` of ``training.started``, and "Artifacts": ``arkor.json``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import attrs

from arkor.protocol import wire


@attrs.frozen
class RecordDifference:
    """A thing in which the records of two trainings differ.

    Attributes:
        what: the thing, such as ``the version of torch``.
        then: its value in the first training, in words.
        now: its value in the second one.
    """

    what: str
    then: str
    now: str

    def __str__(self) -> str:
        return f"{self.what} was {self.then}, and is {self.now} now"


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
        device: ``cpu``, ``cuda``, or ``mps`` for the GPU of a Mac.
        dtype: the number type that the base model computes in, such as ``float32``.
        threads: CPU threads at the start. None if the backend does not say, and in ``arkor.json`` of a job without
            ``full_determinism``.
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

    def first_difference(self, now: TrainingRecord) -> RecordDifference | None:
        """Return the first thing in which the record of a later training differs; None if both say the same.

        The versions come first, then the machine, the model, the rows and the settings.

        Args:
            now: the later one.

        Example:
            ``str(then.first_difference(now)) == "the version of torch was 2.12.0, and is 2.13.0 now"``
        """
        before, after = self._things(), now._things()
        for what in {**before, **after}:
            if before.get(what) != after.get(what):
                return RecordDifference(what, *(_in_words(things.get(what)) for things in (before, after)))
        return None

    def _things(self) -> dict[str, Any]:
        """Return all that it says, by its names in a sentence."""
        groups = {
            "the version of {}": self.versions,
            "the {}": {"device": self.device, "dtype": self.dtype, "number of threads": self.threads},
            "the {} of the model": self.model,
            "the {} of the base adapter": self.base_adapter or {},
            "the {} of the rows": self.rows,
            "the {} of the held-out rows": self.held_out_rows or {},
            "the {} of the chat template": {"SHA-256": self.chat_template_sha256},
            "the setting {}": self.settings,
        }
        return {words.format(name): value for words, group in groups.items() for name, value in group.items()}

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


def _in_words(value: Any) -> str:
    return "absent" if value is None else value if isinstance(value, str) else json.dumps(value)
