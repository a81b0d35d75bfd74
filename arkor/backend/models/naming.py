"""What a job's ``model`` means: a model of this machine's collection, a folder, or a model of the hub."""

from __future__ import annotations

import os
from pathlib import Path

from arkor.backend.models.catalogue import CATALOGUE, is_model_folder, models_dir
from arkor.backend.models.pulling import pull


def local_folder(name: str) -> Path | None:
    """Return the folder that a name stands for, whether there is one or not; None for a hub id.

    Args:
        name: a catalogue name, the name of another folder in the collection, or an absolute path (``~`` allowed).
    """
    if name.startswith("~") or Path(name).is_absolute():
        return Path(name).expanduser()
    if name in CATALOGUE:
        return models_dir() / name
    if os.sep in name or name.startswith("."):
        return None
    collected = models_dir() / name
    return collected if is_model_folder(collected) else None


def resolve(name: str) -> str:
    """Return what transformers loads a model from; a catalogue model that is missing is pulled.

    Args:
        name: as in a job's config.

    Returns:
        A folder, or a hub id.

    Raises:
        ModelError: it has to be pulled, and cannot be.
    """
    if name in CATALOGUE:
        return str(pull(name))
    return str(local_folder(name) or name)
