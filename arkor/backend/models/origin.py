"""What a model is called outside of this machine, and what tells it from others."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from arkor.backend.models.catalogue import CATALOGUE, weight_files
from arkor.backend.models.hub import cached_revision


@attrs.frozen
class ModelOrigin:
    """Where a model comes from.

    Attributes:
        id: what others load it by: a hub id; the folder, if the user named a folder; else the model's own name.
        revision: the commit on the hub; None if it is not known.
        facts: what tells it from others, for ``arkor.json``: no path of this machine is in it.
    """

    id: str
    revision: str | None
    facts: Mapping[str, Any] = attrs.field(hash=False)


def origin_of(name: str, path: str) -> ModelOrigin:
    """Return where a model comes from; call it after the model was loaded, when its files are on this machine.

    Weights are not read, because that takes seconds for each GiB: a folder is known by the names and sizes of its
    files, and by the SHA-256 of its ``config.json``.

    Args:
        name: as in a job's config.
        path: what ``resolve`` returned for it.

    Raises:
        OSError: a file of the folder cannot be read.
    """
    if name in CATALOGUE:
        return _of_catalogue(name)
    folder = Path(path)
    if not folder.is_absolute():
        revision = cached_revision(name)
        return ModelOrigin(name, revision, {"name": name, **({"revision": revision} if revision else {})})
    facts = {
        "name": folder.name,
        "configSha256": hashlib.sha256((folder / "config.json").read_bytes()).hexdigest(),
        "weights": {file.name: file.stat().st_size for file in weight_files(folder)},
    }
    is_path = name.startswith("~") or Path(name).is_absolute()
    return ModelOrigin(path if is_path else name, None, facts)


def _of_catalogue(name: str) -> ModelOrigin:
    model = CATALOGUE[name]
    facts = {
        "name": model.hub_id,
        "catalogueName": name,
        "requirement": model.requirement,
        "file": Path(model.member).name,
        "sha256": model.sha256,
        "weights": model.weights,
    }
    return ModelOrigin(model.hub_id, None, facts)
