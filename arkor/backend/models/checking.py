"""Whether a job's model can be trained here, decided before the job exists."""

from __future__ import annotations

from pathlib import Path

from arkor.backend.models import hardware
from arkor.backend.models.catalogue import CATALOGUE, folder_problem, is_model_folder
from arkor.backend.models.cpu_memory import Batch, TrainingMemory, refusal
from arkor.backend.models.hub import cached_folder, check_hub_model
from arkor.backend.models.naming import local_folder
from arkor.backend.models.pulling import check_space
from arkor.backend.models.sizes import ModelSizes
from arkor.backend.models.weights import count_parameters
from arkor.errors import ModelError
from arkor.protocol.config import JobConfig

_GIB = 2**30
# For a GPU, and for a model whose files do not say their sizes: beyond the weights the libraries, and activations and
# gradients for short rows in small batches. It refuses what cannot work; it does not promise that the rest will.
_LIBRARIES_BYTES = 2 * _GIB
_ACTIVATIONS_SHARE = 0.3
_BYTES_A_NUMBER = {"cpu": 4.0, "cuda": 2.0, "cuda, 4 bits": 0.7}


def check(name: str, config: JobConfig, root: Path | None, *, spare_bytes: int = 0, trains_here: bool = True) -> None:
    """Check that a model exists, can be had, and fits into the memory there is; takes no longer than the hub does.

    Batches and lengths are no reason to refuse a job: its worker knows the rows, and divides batches.

    Args:
        name: the job's model.
        config: the job's settings.
        root: folder below which model folders have to lie; None allows none.
        spare_bytes: memory in use that will be free when the job starts.
        trains_here: whether this machine's memory has to suffice.

    Raises:
        ModelError: it cannot be trained here; one line that says why and what to do.
    """
    folder = _folder(name, root)
    if not trains_here:
        if folder is None and name not in CATALOGUE:
            check_hub_model(name)
    elif folder is None and name in CATALOGUE:
        _check_parameters(name, config, CATALOGUE[name].parameters, spare_bytes)
    elif folder is None:
        _check_parameters(name, config, check_hub_model(name), spare_bytes)
    else:
        sizes = None if hardware.has_cuda() else ModelSizes.of_folder(folder)
        if sizes is None:
            _check_parameters(name, config, count_parameters(folder), spare_bytes)
        else:
            _check_sizes(sizes, config, spare_bytes)


def _folder(name: str, root: Path | None) -> Path | None:
    """Return the folder with a model's files; None if they have to be fetched first."""
    folder = local_folder(name, root)
    if name in CATALOGUE:
        if folder is not None and is_model_folder(folder):
            return folder
        check_space(CATALOGUE[name])
        return None
    if folder is None:
        return cached_folder(name)
    problem = folder_problem(folder)
    if problem is not None:
        raise ModelError(f"The model folder {name:.200} {problem}: give a folder that save_pretrained has written.")
    return folder


def _check_sizes(sizes: ModelSizes, config: JobConfig, spare_bytes: int) -> None:
    """Refuse a job whose model does not fit even with a row of one token, on a CPU."""

    def estimate(settings: JobConfig) -> TrainingMemory:
        return TrainingMemory.of(sizes, settings, Batch(rows=1, tokens=1))

    available = hardware.available_bytes() + spare_bytes
    if estimate(config).total > available:
        raise ModelError(refusal(config, estimate, available))


def _check_parameters(name: str, config: JobConfig, parameters: int | None, spare_bytes: int) -> None:
    if parameters is None:
        return
    if hardware.has_cuda():
        place = "cuda, 4 bits" if config.load_in_4bit else "cuda"
        available = hardware.cuda_bytes()
    else:
        place, available = "cpu", hardware.available_bytes() + spare_bytes
    weights = parameters * _BYTES_A_NUMBER[place]
    needed = weights * (1 + _ACTIVATIONS_SHARE) + _LIBRARIES_BYTES
    if available is not None and needed > available:
        raise ModelError(
            f"Not enough memory to train {name}: it takes about {needed / _GIB:.1f} GiB ({weights / _GIB:.1f} GiB of "
            f"weights), and {available / _GIB:.1f} GiB are available. Take a smaller model, or free memory."
        )
