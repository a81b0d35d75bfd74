"""``python -m arkor.backend.export_worker.peer FOLDER [BASE]``: what plain transformers makes of an export.

FOLDER is a whole model, or an adapter for the model of BASE. Standard input is a JSON list of questions::

    {"messages": [...], "tools": [...] | null, "prompt": "text" | null, "options": {…}, "ids": [...], "start": n}

Standard output is ``{"stops": [ids], "rows": [{"prompt": [ids], "likeliest": [[id, margin], ...]}, ...]}``: the tokens
that end an answer; the tokens of each question; and in each place from ``start`` on the likeliest token, and by how
much it is likelier than the next one, in nats. Nothing of arkor renders or computes here but ``likeliest``.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from arkor.backend.inference_worker.scoring import likeliest


def answer(folder: str, base: str | None, questions: list[dict[str, Any]]) -> dict[str, Any]:
    """Return what the export makes of questions; see above."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(base or folder, dtype=torch.float32)
    ends = model.generation_config.eos_token_id
    if base is not None:
        model = PeftModel.from_pretrained(model, folder)
    model.eval()
    rows = []
    for asked in questions:
        ids = torch.tensor([asked["ids"]])
        with torch.inference_mode():
            logits = model(input_ids=ids, use_cache=False).logits[0, asked["start"] - 1 : -1].float()
        rows.append({"prompt": _prompt(tokenizer, asked), "likeliest": likeliest(logits)})
    stops = {*(ends if isinstance(ends, list) else [ends]), tokenizer.eos_token_id} - {None}
    return {"stops": sorted(stops), "rows": rows}


def _prompt(tokenizer: Any, asked: dict[str, Any]) -> list[int]:
    if asked["prompt"] is not None:
        return list(tokenizer(asked["prompt"])["input_ids"])
    found = tokenizer.apply_chat_template(
        asked["messages"], tools=asked["tools"], add_generation_prompt=True, return_dict=False, **asked["options"]
    )
    return list(found)


if __name__ == "__main__":
    output = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # libraries print
    made = answer(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else None, json.load(sys.stdin))
    output.write(json.dumps(made))
    output.flush()
    sys.stderr.flush()
    os._exit(0)  # taking the libraries down in order lasts 1.5 s
