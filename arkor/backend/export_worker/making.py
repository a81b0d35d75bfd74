"""Making the folder of an export: the files that another program loads."""

from __future__ import annotations

import json
import shutil
import tarfile
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from arkor.backend.exports.task import Task
from arkor.backend.inference.prompts import Prompts
from arkor.backend.models.hardware import available_bytes
from arkor.backend.models.weights import count_parameters
from arkor.errors import ArkorError
from arkor.protocol.exports import ADAPTER

_GIB = 1024**3
_FLOAT32_BYTES = 4
_ROOM = 1.25  # times what a model takes, beside which something is computed
_SHARD = "4GB"


def make(task: Task) -> None:
    """Make the folder, which is not there yet.

    Raises:
        ArkorError: the memory or the disk is too small, or the weights are no numbers.
        OSError: the disk is full.
    """
    task.made.mkdir(mode=0o700)
    tokenizer = AutoTokenizer.from_pretrained(task.model_path)
    if task.options.to == ADAPTER:
        _copy(task)
    else:
        _merge(task, tokenizer)
        _copy(task, only="arkor.json")
    tokenizer.save_pretrained(task.made)


def _copy(task: Task, only: str | None = None) -> None:
    """Copy the files of the job's archive, or one of them."""
    with tarfile.open(task.adapter_tar) as tar:
        for member in tar:
            content = tar.extractfile(member)
            if content is not None and only in {None, member.name}:
                with (task.made / member.name).open("wb") as file:
                    shutil.copyfileobj(content, file)


def _merge(task: Task, tokenizer: Any) -> None:
    """Add the adapter to the base model in float32, so that only the sum is rounded, and save it in 16 bits."""
    parameters = count_parameters(Path(task.model_path)) or 0
    _check_room(task, parameters)
    base = AutoModelForCausalLM.from_pretrained(task.model_path, dtype=torch.float32)
    stops = stop_ids(base.generation_config, tokenizer)
    peft = PeftModel.from_pretrained(base, str(task.adapter_path))
    try:
        merged = peft.merge_and_unload(safe_merge=True)
    except ValueError as exc:  # NaNs
        raise ArkorError(f"The adapter cannot be merged: {exc}") from exc
    merged = merged.to(getattr(torch, task.options.dtype or "bfloat16"))
    merged.generation_config = GenerationConfig.from_dict({**merged.generation_config.to_dict(), "eos_token_id": stops})
    merged.save_pretrained(task.made, max_shard_size=_SHARD)


def stop_ids(generation: Any, tokenizer: Any) -> list[int]:
    """Return the tokens that end an answer: those of the model, and those that its chat template ends a turn with."""
    ends = generation.eos_token_id
    found = set(ends) if isinstance(ends, (list, tuple)) else {ends}
    ids = found | {tokenizer.eos_token_id} | set(Prompts(tokenizer).end_ids)
    return sorted(int(token) for token in ids if token is not None)


def base_of(task: Task) -> dict[str, Any]:
    """Return what ``adapter_config.json`` says of the base model: its ``id`` elsewhere, and its ``revision``."""
    config = json.loads((task.adapter_path / "adapter_config.json").read_text())
    return {"id": config["base_model_name_or_path"], "revision": config.get("revision")}


def _check_room(task: Task, parameters: int) -> None:
    memory, disk = parameters * _FLOAT32_BYTES * _ROOM, 2 * parameters * 2 * _ROOM  # the folder and its archive
    if memory > available_bytes():
        raise ArkorError(
            f"Merging takes about {memory / _GIB:.1f} GiB of memory, and {available_bytes() / _GIB:.1f} GiB are "
            "available: free some, or export the adapter alone."
        )
    free = shutil.disk_usage(task.folder).free
    if disk > free:
        raise ArkorError(
            f"The export takes about {disk / _GIB:.1f} GiB on the disk while it is made, and {free / _GIB:.1f} GiB are "
            f"free for {task.folder}: make room there."
        )
