"""``python -m arkor.backend.import_worker``: check an adapter and pack it; ``tasks.run`` has the lines."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from typing import IO, Any

from arkor.backend.import_worker.archive import unpack
from arkor.backend.imports.task import CONFIG, REFUSED, WEIGHTS, ImportTask, Packed
from arkor.backend.models.origin import origin_of
from arkor.backend.task_worker.process import serve
from arkor.backend.task_worker.server_line import ServerLine
from arkor.backend.training_worker import artifacts
from arkor.errors import ModelError
from arkor.protocol.jobs import FINAL_NAME

_MEMORY_GIB = 16  # a module that was trained whole is read as a whole


def work(told: Mapping[str, Any], _line: ServerLine) -> dict[str, Any]:
    """Check an adapter and pack it; return what the server is told of it.

    Raises:
        OSError: the disk is full.
    """
    try:
        return _packed(ImportTask(**told)).to_line()
    except ModelError as exc:
        return {REFUSED: str(exc)}


def _packed(task: ImportTask) -> Packed:
    from arkor.backend.import_worker.base import fit_to, load_base
    from arkor.backend.import_worker.shape import read_shape
    from arkor.backend.import_worker.tensors import check_tensors
    from arkor.backend.training_worker.model import load_tokenizer

    unpack(task.folder)
    shape = read_shape((task.folder / CONFIG).read_bytes())
    fitted = fit_to(load_base(task.model_path, task.model), task.model, shape)
    check_tensors(task.folder / WEIGHTS, fitted, task.model)
    base = origin_of(task.model, task.model_path)
    named = {**fitted.config, "base_model_name_or_path": base.id, "revision": base.revision, "inference_mode": True}
    with (task.folder / WEIGHTS).open("rb") as weights:
        files: dict[str, IO[bytes]] = {
            CONFIG: io.BytesIO(json.dumps(named, indent=2, sort_keys=True).encode()),
            WEIGHTS: weights,
        }
        made = artifacts.pack(files, task.artifacts_folder, FINAL_NAME)
    has_template = bool(load_tokenizer(task.model_path).chat_template)
    return Packed(artifact=made, settings=fitted.settings, prompt_form="chat" if has_template else "raw")


if __name__ == "__main__":
    serve(work, _MEMORY_GIB)
