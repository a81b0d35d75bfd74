"""What the process that checks an adapter is told, and what it says of one that is good."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from arkor.protocol.jobs import Artifact

CONFIG, WEIGHTS = FILES = ("adapter_config.json", "adapter_model.safetensors")
ARCHIVE = "upload.tar"  # in the folder of the import
REFUSED = "refused"  # says why the adapter is not taken, in place of all else


@attrs.frozen(kw_only=True)
class ImportTask:
    """An adapter that is to be checked and packed.

    Attributes:
        model: the base model's name, as the job will have it.
        model_path: what transformers loads it from.
        folder: the folder of the import, with the archive as it was sent.
        artifacts_folder: where the job's archive belongs.
    """

    model: str
    model_path: str
    folder: Path = attrs.field(converter=Path)
    artifacts_folder: Path = attrs.field(converter=Path)

    def to_line(self) -> dict[str, Any]:
        """Return it as the JSON object that travels."""
        return {**attrs.asdict(self), "folder": str(self.folder), "artifacts_folder": str(self.artifacts_folder)}


@attrs.frozen(kw_only=True)
class Packed:
    """An adapter that is good, and packed.

    Attributes:
        artifact: its archive.
        settings: its shape, as settings of a job in wire names.
        prompt_form: how it is asked best: ``chat`` or ``raw``.
    """

    artifact: Artifact
    settings: Mapping[str, Any] = attrs.field(hash=False)
    prompt_form: str

    def to_line(self) -> dict[str, Any]:
        """Return it as the JSON object that travels."""
        return {"artifact": self.artifact.to_wire(), "settings": self.settings, "prompt_form": self.prompt_form}

    @classmethod
    def from_line(cls, line: Mapping[str, Any]) -> Packed:
        """Take what ``to_line`` gave."""
        return cls(**{**line, "artifact": Artifact.from_wire(line["artifact"])})
