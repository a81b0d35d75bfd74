"""Whether a job's model can be trained here, decided before the job exists."""

from __future__ import annotations

from pathlib import Path

from arkor.backend.models import hardware
from arkor.backend.models.catalogue import CATALOGUE, folder_problem, is_model_folder
from arkor.backend.models.hub import check_hub_model
from arkor.backend.models.naming import local_folder
from arkor.backend.models.pulling import check_space
from arkor.backend.models.weights import count_parameters
from arkor.errors import ModelError
from arkor.protocol.config import JobConfig

_GIB = 2**30
# Beyond the weights: the libraries, and activations and gradients for short rows in small batches (measured: 3.0 GiB
# for a model of 135M, 4 rows of 130 tokens). It refuses what cannot work; it does not promise that the rest will.
_LIBRARIES_BYTES = 2 * _GIB
_ACTIVATIONS_SHARE = 0.3
_BYTES_A_NUMBER = {"cpu": 4.0, "cuda": 2.0, "cuda, 4 bits": 0.7}


def check(name: str, config: JobConfig, root: Path | None) -> None:
    """Check that a model exists, can be had, and fits into the memory there is; takes no longer than the hub does.

    Args:
        name: the job's model.
        config: the job's settings.
        root: folder below which model folders have to lie; None allows none.

    Raises:
        ModelError: it cannot be trained here; one line that says why and what to do.
    """
    parameters = _find(name, root)
    if parameters is not None:
        _check_memory(name, parameters, four_bits=bool(config.load_in_4bit))


def _find(name: str, root: Path | None) -> int | None:
    folder = local_folder(name, root)
    if name in CATALOGUE:
        if folder is not None and not is_model_folder(folder):
            check_space(CATALOGUE[name])
        return CATALOGUE[name].parameters
    if folder is None:
        return check_hub_model(name)
    problem = folder_problem(folder)
    if problem is not None:
        raise ModelError(f"The model folder {name:.200} {problem}: give a folder that save_pretrained has written.")
    return count_parameters(folder)


def _check_memory(name: str, parameters: int, *, four_bits: bool) -> None:
    if hardware.has_cuda():
        place, available = ("cuda, 4 bits" if four_bits else "cuda"), hardware.free_cuda_bytes()
    else:
        place, available = "cpu", hardware.available_bytes()
    weights = parameters * _BYTES_A_NUMBER[place]
    needed = weights * (1 + _ACTIVATIONS_SHARE) + _LIBRARIES_BYTES
    if available is not None and needed > available:
        raise ModelError(
            f"Not enough memory to train {name}: it takes about {needed / _GIB:.1f} GiB ({weights / _GIB:.1f} GiB of "
            f"weights), and {available / _GIB:.1f} GiB are available. Take a smaller model, or free memory."
        )
