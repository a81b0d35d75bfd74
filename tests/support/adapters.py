"""An adapter that nobody trained: of the right shape for a model, with weights that change what it says."""

from __future__ import annotations

import io
import json
import random
import struct
import tarfile
from pathlib import Path


def write_adapter_tar(path: Path, model: Path, *, seed: int, scale: float = 0.05) -> None:
    """Pack a LoRA adapter of rank 4 for the query projections of a Llama model; it names a base that is nowhere.

    Args:
        path: the tar, as a worker would have left it.
        model: the base model's folder.
        seed: gives the weights.
        scale: the largest weight.
    """
    shape = json.loads((model / "config.json").read_text())
    wide, heads = shape["hidden_size"], shape["num_attention_heads"] * shape["head_dim"]
    name = "base_model.model.model.layers.{}.self_attn.q_proj.lora_{}.weight"
    shapes = {
        name.format(layer, matrix): size
        for layer in range(shape["num_hidden_layers"])
        for matrix, size in (("A", [4, wide]), ("B", [heads, 4]))
    }
    config = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": 4, "lora_alpha": 8, "target_modules": ["q_proj"]}
    files = {
        "adapter_config.json": json.dumps(
            {**config, "base_model_name_or_path": "owner/elsewhere", "revision": "0" * 40}
        ).encode(),
        "adapter_model.safetensors": _safetensors(shapes, random.Random(seed), scale),
    }
    with tarfile.open(path, "w") as archive:
        for member, content in files.items():
            info = tarfile.TarInfo(member)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))


def _safetensors(shapes: dict[str, list[int]], chance: random.Random, scale: float) -> bytes:
    header, blocks, offset = {}, [], 0
    for name, (rows, columns) in shapes.items():
        block = struct.pack(f"<{rows * columns}f", *(chance.uniform(-scale, scale) for _ in range(rows * columns)))
        header[name] = {"dtype": "F32", "shape": [rows, columns], "data_offsets": [offset, offset + len(block)]}
        blocks.append(block)
        offset += len(block)
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + b"".join(blocks)
