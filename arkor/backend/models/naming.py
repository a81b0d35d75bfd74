"""What a job's ``model`` means: a model of this machine's collection, a folder, or a model of the hub."""

from __future__ import annotations

import os
from pathlib import Path

from arkor.backend.models.catalogue import CATALOGUE, is_model_folder, models_dir
from arkor.backend.models.pulling import pull
from arkor.errors import ConfigError, ModelError
from arkor.system.files import expand_home


def local_folder(name: str, root: Path | None) -> Path | None:
    """Return the folder that a name stands for, whether there is one or not; None for a hub id.

    Args:
        name: a catalogue name, the name of another folder in the collection, or an absolute path (``~`` allowed).
        root: folder below which a path has to lie once its symbolic links are resolved; None allows no path.

    Raises:
        ModelError: a path that does not lie there.
    """
    if name.startswith("~") or Path(name).is_absolute():
        return _below(name, root)
    if name in CATALOGUE:
        return models_dir() / name
    if os.sep in name or name.startswith("."):
        return None
    collected = models_dir() / name
    return collected if is_model_folder(collected) else None


def _below(name: str, root: Path | None) -> Path:
    if root is None:
        raise ModelError(
            f"The model folder {name!r:.200} cannot be used: this backend accepts no model folders. Name one of "
            "`arkor models list` or a Hugging Face id, or start the backend with --model-root."
        )
    try:
        folder = expand_home(name).resolve()
        if folder.is_relative_to(root.resolve()):
            return folder
    except ConfigError as exc:
        raise ModelError(f"The model folder cannot be used: {exc}.") from exc
    except (OSError, RuntimeError, ValueError):  # links in a circle, a null byte
        pass
    raise ModelError(
        f"The model folder {name!r:.200} cannot be used: it is not below {root}, the backend's --model-root."
    )


def resolve(name: str, root: Path | None) -> str:
    """Return what transformers loads a model from; a catalogue model that is missing is pulled.

    Args:
        name: as in a job's config.
        root: folder below which model folders have to lie; None allows none.

    Returns:
        A folder, or a hub id.

    Raises:
        ModelError: it has to be pulled, and cannot be; or it is a folder outside ``root``.
    """
    if name in CATALOGUE:
        return str(pull(name))
    return str(local_folder(name, root) or name)
