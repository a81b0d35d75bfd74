"""``python -m arkor.backend.gguf.chat_model BASE FOLDER DTYPE``: turn a model into what llama.cpp answers chats with.

BASE is the model's folder. FOLDER gets the model as a GGUF file and the map of its tensors, see ``tensor_map``. DTYPE
is ``f32``, ``bf16`` or ``q8_0``. It runs with llama.cpp's scripts on its path, see ``scripts``.

The file has no tokenizer: llama.cpp is given token ids, and gives logits. So the scripts need not know the tokenizer.
"""

from __future__ import annotations

import sys
from pathlib import Path

import gguf
import torch

from arkor.backend.gguf.conversions import MAP, MODEL
from arkor.backend.gguf.tensor_map import find, scripted

_KINDS = {
    "f32": gguf.LlamaFileType.ALL_F32,
    "bf16": gguf.LlamaFileType.MOSTLY_BF16,
    "q8_0": gguf.LlamaFileType.MOSTLY_Q8_0,
}


def write(base: Path, folder: Path, dtype: str) -> None:
    """Write the files."""
    with torch.inference_mode():
        model = scripted(base, _KINDS[dtype], folder / MODEL, model_name=base.name)

        def set_vocab() -> None:
            model.gguf_writer.add_tokenizer_model("none")
            model.gguf_writer.add_vocab_size(model.hparams["vocab_size"])

        model.set_vocab = set_vocab
        model.write()
    find(base).write(folder / MAP)


if __name__ == "__main__":
    write(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
