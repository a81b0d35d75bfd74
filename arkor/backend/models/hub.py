"""Asking the Hugging Face hub about a model, before a job that names it exists."""

from __future__ import annotations

import difflib
import re
from pathlib import Path
from typing import Any

from arkor.backend.models.catalogue import CATALOGUE
from arkor.errors import ModelError

_HUB_ID = re.compile(r"(?:[A-Za-z0-9][\w.-]{0,95}/)?[A-Za-z0-9][\w.-]{0,95}")
_TIMEOUT_S = 10.0


def check_hub_model(name: str) -> int | None:
    """Check that a model of the hub can be fetched.

    Args:
        name: its id, ``owner/name``.

    Returns:
        How many parameters it has, None where that is not known.

    Raises:
        ModelError: there is no such model, it may not be used with this machine's token, or the hub cannot be reached.
    """
    if not is_hub_id(name):
        nearest = difflib.get_close_matches(name, CATALOGUE, n=1)
        meant = f"did you mean {nearest[0]}? Otherwise " if nearest else ""
        raise ModelError(
            f"There is no model {name!r}: {meant}name one of `arkor models list`, an absolute path of a folder with a "
            "config.json and weights, or a Hugging Face id like owner/name."
        )
    from huggingface_hub import HfApi

    # HTTPError is that of whatever HTTP library this version of the hub's client is built on.
    from huggingface_hub.errors import GatedRepoError, HTTPError, RepositoryNotFoundError

    api = HfApi()
    try:
        info = api.model_info(name, timeout=_TIMEOUT_S)
        if info.gated:
            api.auth_check(name)
    except GatedRepoError as exc:
        raise ModelError(_gated(name)) from exc
    except RepositoryNotFoundError as exc:
        raise ModelError(
            f"The Hugging Face hub has no model {name!r}, or it is private: check the name, or set HF_TOKEN where the "
            "backend runs."
        ) from exc
    except (HTTPError, OSError) as exc:
        raise ModelError(_unreachable(name, exc)) from exc
    return _parameters(info)


def is_hub_id(name: str) -> bool:
    """Whether a model of the hub can have this name: ``owner/name``."""
    return bool(_HUB_ID.fullmatch(name)) and name.count("/") == 1


def cached_folder(name: str) -> Path | None:
    """Return the folder of a hub model in this machine's hub cache; None if it is not there, or the name is none.

    Args:
        name: its id, ``owner/name``.
    """
    return _config_folder(name) if is_hub_id(name) and is_cached(name) else None


def is_cached(name: str) -> bool:
    """Whether a model's configuration and weights are in this machine's hub cache."""
    from huggingface_hub import try_to_load_from_cache

    weights = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin")
    return isinstance(try_to_load_from_cache(name, "config.json"), str) and any(
        isinstance(try_to_load_from_cache(name, file), str) for file in weights
    )


def cached_revision(name: str) -> str | None:
    """Return the commit of a hub model that is in this machine's hub cache, None if the model is not there.

    Args:
        name: its id, ``owner/name``.
    """
    folder = _config_folder(name)
    return None if folder is None else folder.name


def _config_folder(name: str) -> Path | None:
    """Return the folder of the commit whose configuration is in the hub cache."""
    from huggingface_hub import try_to_load_from_cache

    config = try_to_load_from_cache(name, "config.json")
    return Path(config).parent if isinstance(config, str) else None


def _parameters(info: Any) -> int | None:
    total = getattr(getattr(info, "safetensors", None), "total", None)
    return total if isinstance(total, int) else None


def _gated(name: str) -> str:
    return (
        f"Model {name!r} is gated: accept its terms at https://huggingface.co/{name}, and set HF_TOKEN to a token of "
        "that account where the backend runs."
    )


def _unreachable(name: str, exc: Exception) -> str:
    return (
        f"Model {name!r} is not on this machine, and the Hugging Face hub cannot be reached ({type(exc).__name__}): "
        "check the network, or take smollm2-135m, which comes from the Python package index."
    )
