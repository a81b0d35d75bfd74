"""``python -m arkor.backend.models.convert GGUF FOLDER``: a GGUF file becomes a folder of bfloat16 safetensors.

Says a line of JSON, ``{"done", "total"}``, after each stage.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

_STAGES = 4


def convert(gguf: Path, target: Path) -> None:
    """Convert a model and its tokenizer.

    Args:
        gguf: the quantised model.
        target: the folder to make.
    """
    os.environ["HF_HUB_OFFLINE"] = "1"  # everything is in the file
    _say(0)
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    _say(1)
    source = {"gguf_file": gguf.name}
    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, **source)
    _say(2)
    # Without the config transformers 5 keeps the weights quantised, and saving them raises.
    model = AutoModelForCausalLM.from_pretrained(
        gguf.parent, **source, quantization_config=GgufConfig(dequantize=True), dtype=torch.bfloat16
    )
    _say(3)
    model.save_pretrained(target)
    tokenizer.save_pretrained(target)
    _say(_STAGES)


def _say(done: int) -> None:
    sys.stdout.write(json.dumps({"done": done, "total": _STAGES}) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    convert(Path(sys.argv[1]), Path(sys.argv[2]))
