"""``python -m arkor.backend.export_worker.lora_converter BASE ADAPTER FILE``: write an adapter as a GGUF file.

BASE is the folder of the base model, ADAPTER the one of PEFT's files, FILE the GGUF file to write. llama.cpp loads it
beside the base model (``--lora``). It runs with llama.cpp's scripts on its path, see ``converter``.

The scripts know what becomes of each weight W of a model: another name and, in some kinds of models, another order of
its rows. An adapter adds B A to it. So the scripts are given B as if it were W, and for each of these pairs it is
checked that B' A is what becomes of B A.
"""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

import gguf
import torch
from safetensors.torch import load_file

_PAIR = re.compile(r"base_model\.model\.(.+)\.lora_A\.weight")
_CLOSE = 1e-5


def write(base: Path, adapter: Path, file: Path) -> None:
    """Write the file; exit with a text if the adapter cannot be said in this form."""
    from conversion import ModelBase, ModelType, get_model_architecture, get_model_class  # type: ignore[import-not-found]

    config = json.loads((adapter / "adapter_config.json").read_text())
    for name in ("use_dora", "modules_to_save", "rank_pattern", "alpha_pattern"):
        if config.get(name):
            _leave(f"a GGUF adapter cannot hold {name}: export the whole model, --to gguf without --adapter-only")
    hparams = ModelBase.load_hparams(base, False)
    architecture = get_model_class(get_model_architecture(hparams, ModelType.TEXT))
    model = architecture(base, gguf.LlamaFileType.ALL_F32, file, eager=True, hparams=hparams, dry_run=True)
    writer = gguf.GGUFWriter(file, gguf.MODEL_ARCH_NAMES[architecture.model_arch])
    writer.add_type(gguf.GGUFType.ADAPTER)
    writer.add_string(gguf.Keys.Adapter.TYPE, "lora")
    writer.add_float32(gguf.Keys.Adapter.LORA_ALPHA, _alpha(config))
    with torch.inference_mode():
        for name, tensor in _tensors(model, load_file(adapter / "adapter_model.safetensors")):
            writer.add_tensor(name, tensor.float().contiguous().numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _alpha(config: Mapping[str, Any]) -> float:
    """Return what llama.cpp divides by the rank to get the scale."""
    alpha, rank = float(config["lora_alpha"]), int(config["r"])
    return alpha * math.sqrt(rank) if config.get("use_rslora") else alpha


def _tensors(model: Any, tensors: Mapping[str, torch.Tensor]) -> Iterator[tuple[str, torch.Tensor]]:
    pairs = {match[1]: tensors[match[0]] for name in tensors if (match := _PAIR.fullmatch(name))}
    if 2 * len(pairs) != len(tensors):
        _leave("the adapter has tensors that are no matrices of LoRA: export the whole model, without --adapter-only")
    for module, down in pairs.items():
        up = tensors[f"base_model.model.{module}.lora_B.weight"]
        places = list(_modified(model, module, up))
        whole = dict(_modified(model, module, up.float() @ down.float()))
        if not places or any(not _same(part.float() @ down.float(), whole[name]) for name, part in places):
            _leave(f"llama.cpp keeps {module} in a form that a GGUF adapter cannot change: export the whole model")
        for name, part in places:
            yield f"{name}.lora_a", down
            yield f"{name}.lora_b", part


def _modified(model: Any, module: str, weight: torch.Tensor) -> Iterator[tuple[str, torch.Tensor]]:
    block = next((int(part) for part in module.split(".") if part.isdecimal()), None)
    yield from model.modify_tensors(weight, f"{module}.weight", block)


def _same(one: torch.Tensor, other: torch.Tensor) -> bool:
    return one.shape == other.shape and bool(torch.allclose(one, other, rtol=_CLOSE, atol=_CLOSE))


def _leave(why: str) -> NoReturn:
    sys.exit(f"The adapter cannot be written: {why}.")


if __name__ == "__main__":
    write(*map(Path, sys.argv[1:4]))
