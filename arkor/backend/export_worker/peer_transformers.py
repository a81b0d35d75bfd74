"""``python -m arkor.backend.export_worker.peer_transformers FOLDER [BASE]``: what transformers makes of an export.

FOLDER is a whole model, or an adapter for the model of BASE. ``peer`` has what is asked and answered. Nothing of arkor
renders or computes here but the order of the likeliest tokens.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from arkor.backend.export_worker.peer import TOP, serve
from arkor.backend.inference_worker.scoring import likeliest


def answer(questions: Sequence[Mapping[str, Any]], folder: str, base: str | None = None) -> list[dict[str, Any]]:
    """Return what the export makes of questions."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(base or folder, dtype=torch.float32)
    ends = model.generation_config.eos_token_id
    stops = {*(ends if isinstance(ends, list) else [ends]), tokenizer.eos_token_id}
    if base is not None:
        model = PeftModel.from_pretrained(model, folder)
    model.eval()
    rows = []
    for asked in questions:
        ids = torch.tensor([asked["ids"]])
        with torch.inference_mode():
            logits = model(input_ids=ids, use_cache=False).logits[0, asked["start"] - 1 : -1].float()
        found = likeliest(logits, TOP)
        rows.append({"prompt": _prompt(tokenizer, asked), "likeliest": found, "ends": found[-1][0][0] in stops})
    return rows


def _prompt(tokenizer: Any, asked: Mapping[str, Any]) -> list[int]:
    if asked["prompt"] is not None:
        return list(tokenizer(asked["prompt"])["input_ids"])
    found = tokenizer.apply_chat_template(
        asked["messages"], tools=asked["tools"], add_generation_prompt=True, return_dict=False, **asked["options"]
    )
    return list(found)


if __name__ == "__main__":
    serve(answer, sys.argv[1:])
