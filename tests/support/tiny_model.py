"""A folder that looks like a very small model, for backends whose workers do not train."""

from __future__ import annotations

import json
import struct
from pathlib import Path


def write_tiny_model(folder: Path) -> Path:
    """Write the model, and return its folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps({"model_type": "llama", "architectures": ["LlamaForCausalLM"]}))
    header = json.dumps({"weight": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(8))
    (folder / "tokenizer.json").write_text("{}")
    return folder
