"""Making the folder of an export: the files that another program loads."""

from __future__ import annotations

import json
import shutil
import tarfile
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from arkor.backend.export_worker import quantizer, vllm
from arkor.backend.export_worker.modelfile import find_form, modelfile
from arkor.backend.exports.task import Task
from arkor.backend.gguf import children, scripts
from arkor.backend.inference.prompts import Prompts
from arkor.backend.models.hardware import available_bytes
from arkor.backend.models.weights import count_parameters
from arkor.errors import ArkorError
from arkor.protocol.exports import GGUF, OLLAMA, VLLM

_GIB = 1024**3
_FLOAT32_BYTES, _BFLOAT16_BYTES = 4, 2
_ROOM = 1.25  # times what a model takes, beside which something is computed
_SHARD = "4GB"
_QUANTIZATION = "bf16"


def make(task: Task) -> None:
    """Make the folder, which is not there yet.

    Raises:
        ArkorError: the memory or the disk is too small, the weights are no numbers, or the format cannot hold them.
        ModelError: a program that converts cannot be fetched.
        OSError: the disk is full.
    """
    options = task.options
    _check_disk(task)
    for folder in (task.made, task.parts):
        folder.mkdir(mode=0o700)
    tokenizer = AutoTokenizer.from_pretrained(task.model_path)
    if options.to in {GGUF, OLLAMA}:
        _make_gguf(task, tokenizer)
        _copy(task, only="arkor.json")
        return
    if options.to == VLLM:
        vllm.check_taken(adapter_config(task))
    if options.is_adapter:
        _copy(task)
    else:
        _merge(task, tokenizer, task.made, options.dtype or "bfloat16")
        _copy(task, only="arkor.json")
    tokenizer.save_pretrained(task.made)


def gguf_file(task: Task) -> Path:
    """Return the GGUF file of an export that has one."""
    kind = "lora" if task.options.adapter_only else task.options.quantization or _QUANTIZATION
    return task.made / f"{task.short_name}-{kind}.gguf"


def base_gguf(task: Task) -> Path:
    """Return the base model as a GGUF file, beside which llama.cpp loads an adapter alone; made if it is missing."""
    file = task.parts / "base.gguf"
    if not file.exists():
        scripts.convert(task.tools_folder, task.model_path, file, "bf16", "base")
    return file


def _make_gguf(task: Task, tokenizer: Any) -> None:
    """Make a GGUF file of the merged model, or of the adapter alone; and for Ollama its Modelfile."""
    options, file, merged = task.options, gguf_file(task), task.parts / "merged"
    if options.adapter_only:
        tensors = task.parts / "tensors.json"
        scripts.run(task.tools_folder, "arkor.backend.gguf.tensor_map", [task.model_path, str(tensors)], task.parts)
        arguments = [str(tensors), str(task.adapter_path), str(file)]
        children.run("arkor.backend.gguf.adapter", arguments, task.parts)
        return
    quantization = options.quantization or _QUANTIZATION
    quantizer.check_there(quantization)
    if options.to == OLLAMA:  # before the work of minutes
        (task.made / "Modelfile").write_text(_modelfile(task, tokenizer), encoding="utf-8")
    scripts.fetched(task.tools_folder)
    _merge(task, tokenizer, merged, "float16" if quantization == "f16" else "bfloat16")
    tokenizer.save_pretrained(merged)
    if quantization in quantizer.BY_THE_SCRIPTS:
        scripts.convert(task.tools_folder, merged, file, quantization, task.job_name)
    else:
        whole = task.parts / "whole.gguf"
        scripts.convert(task.tools_folder, merged, whole, "bf16", task.job_name)
        quantizer.quantize(whole, file, quantization)
    shutil.rmtree(merged)


def _modelfile(task: Task, tokenizer: Any) -> str:
    options = dict(task.config.chat_template_kwargs or {})
    prompts = Prompts(tokenizer)
    first = tokenizer("a")["input_ids"][:1]
    form = find_form(
        lambda messages: prompts.prompt(messages, None, options),
        tokenizer.bos_token if first == [tokenizer.bos_token_id] else "",
    )
    return modelfile(gguf_file(task).name, form, [tokenizer.decode([token]) for token in stops_of(task, tokenizer)])


def _copy(task: Task, only: str | None = None) -> None:
    """Copy the files of the job's archive, or one of them."""
    with tarfile.open(task.adapter_tar) as tar:
        for member in tar:
            content = tar.extractfile(member)
            if content is not None and only in {None, member.name}:
                with (task.made / member.name).open("wb") as file:
                    shutil.copyfileobj(content, file)


def _merge(task: Task, tokenizer: Any, folder: Path, dtype: str) -> None:
    """Add the adapter to the base model in float32, so that only the sum is rounded, and save it in 16 bits."""
    _check_memory(task)
    base = AutoModelForCausalLM.from_pretrained(task.model_path, dtype=torch.float32)
    peft = PeftModel.from_pretrained(base, str(task.adapter_path))
    try:
        merged = peft.merge_and_unload(safe_merge=True)
    except ValueError as exc:  # NaNs
        raise ArkorError(f"The adapter cannot be merged: {exc}") from exc
    merged = merged.to(getattr(torch, dtype))
    merged.generation_config = GenerationConfig.from_dict(
        {**merged.generation_config.to_dict(), "eos_token_id": stops_of(task, tokenizer)}
    )
    merged.save_pretrained(folder, max_shard_size=_SHARD)


def _generation_config(model: str) -> GenerationConfig:
    """Return how a model generates; from its other settings, if it does not say."""
    try:
        return GenerationConfig.from_pretrained(model)
    except OSError:
        return GenerationConfig.from_model_config(AutoConfig.from_pretrained(model))


def stops_of(task: Task, tokenizer: Any) -> list[int]:
    """Return the tokens that end the answers of chats: the model's, and those that its template ends a turn with."""
    ends = _generation_config(task.model_path).eos_token_id
    found = set(ends) if isinstance(ends, (list, tuple)) else {ends}
    ids = found | {tokenizer.eos_token_id} | set(Prompts(tokenizer).end_ids)
    return sorted(int(token) for token in ids if token is not None)


def adapter_config(task: Task) -> dict[str, Any]:
    """Return the content of ``adapter_config.json``."""
    found: dict[str, Any] = json.loads((task.adapter_path / "adapter_config.json").read_text())
    return found


def base_of(task: Task) -> dict[str, Any]:
    """Return what ``adapter_config.json`` says of the base model: its ``id`` elsewhere, and its ``revision``."""
    config = adapter_config(task)
    return {"id": config["base_model_name_or_path"], "revision": config.get("revision")}


def _check_memory(task: Task) -> None:
    memory, free = _parameters(task) * _FLOAT32_BYTES * _ROOM, available_bytes()
    if memory > free:
        raise ArkorError(
            f"Merging takes about {memory / _GIB:.1f} GiB of memory, and {free / _GIB:.1f} GiB are available: free "
            "some, or export the adapter alone."
        )


def _check_disk(task: Task) -> None:
    """Refuse an export that the disk has no room for while it is made: its folder, its archive, and what is between."""
    options = task.options
    copies = 0 if options.is_adapter else 2
    if options.to in {GGUF, OLLAMA}:
        copies += 1 + (options.quantization not in {None, *quantizer.BY_THE_SCRIPTS})
    disk = (_parameters(task) * _BFLOAT16_BYTES * copies + 2 * task.adapter_tar.stat().st_size) * _ROOM
    free = shutil.disk_usage(task.folder).free
    if disk > free:
        raise ArkorError(
            f"The export takes about {disk / _GIB:.1f} GiB on the disk while it is made, and {free / _GIB:.1f} GiB are "
            f"free for {task.folder}: make room there."
        )


def _parameters(task: Task) -> int:
    return count_parameters(Path(task.model_path)) or 0
