"""LoRA adapters that were trained elsewhere: with plain PEFT, and nothing of arkor."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tests.support.by_heart import line

STEPS = 60
HUB_ID = "HuggingFaceTB/SmolLM2-135M-Instruct"  # of the model that a backend fetches by its name


def write_adapter(folder: Path, base: str | None = HUB_ID, **config: Any) -> Path:
    """Write what looks like an adapter to a backend with ``scripted_import``, and return its folder.

    Args:
        folder: where.
        base: the model that its configuration names, or None.
        config: further fields of the configuration.
    """
    folder.mkdir(parents=True)
    named = {} if base is None else {"base_model_name_or_path": base}
    (folder / "adapter_config.json").write_text(json.dumps({**named, **config}))
    (folder / "adapter_model.safetensors").write_bytes(b"weights")
    return folder


def train_elsewhere(model: Path, folder: Path, numbers: Iterable[int], *, steps: int = STEPS, **shape: Any) -> Path:
    """Train an adapter on the lines of some words until it knows them by heart, save it, and return its folder.

    Args:
        model: the base model's folder.
        folder: gets the adapter.
        numbers: of the words.
        steps: optimizer steps, each with all lines; 0 leaves the first weights.
        shape: of the adapter, as PEFT's ``LoraConfig`` takes it.
    """
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(model)
    given = {"r": 8, "lora_alpha": 16, "target_modules": ["q_proj", "v_proj", "up_proj", "down_proj"], **shape}
    tuned = get_peft_model(AutoModelForCausalLM.from_pretrained(model), LoraConfig(task_type="CAUSAL_LM", **given))
    rows = [line(number)["messages"] for number in numbers]
    ids = torch.tensor([tokenizer.apply_chat_template(row, return_dict=False) for row in rows])
    asked = len(tokenizer.apply_chat_template(rows[0][:1], return_dict=False))
    labels = ids.clone()
    labels[:, :asked] = -100
    optimizer = torch.optim.AdamW((one for one in tuned.parameters() if one.requires_grad), lr=3e-2)
    for _ in range(steps):
        optimizer.zero_grad()
        tuned(input_ids=ids, labels=labels).loss.backward()
        optimizer.step()
    tuned.save_pretrained(folder)
    return folder
