"""The card of an export: for each program how it loads the folder, or which other export it loads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from arkor.backend.export_worker.card import card
from arkor.backend.exports.task import Task
from arkor.protocol.config import JobConfig
from arkor.protocol.exports import ExportOptions

LOADS = {
    "adapter": {
        "transformers": "from peft import AutoPeftModelForCausalLM",
        "vLLM": "--max-lora-rank 16",
        "arkor": ".",
    },
    "vllm": {
        "transformers": "from peft import AutoPeftModelForCausalLM",
        "vLLM": "vllm serve owner/base --enable-lora",
    },
    "merged": {"transformers": "from transformers import AutoModelForCausalLM", "vLLM": "$ vllm serve ."},
    "gguf": {"llama.cpp": "$ llama-server -m mend-the-lamps-bf16.gguf --jinja"},
    "ollama": {"llama.cpp": "-m mend-the-lamps-bf16.gguf", "Ollama": "$ ollama create mend-the-lamps"},
}
OTHERS = {"transformers": "merged", "vLLM": "merged", "llama.cpp": "gguf", "Ollama": "ollama"}


def task_of(folder: Path, adapter: dict[str, Any] | None = None, **options: Any) -> Task:
    """Return the task of an export, of which the card alone is made."""
    config = {"base_model_name_or_path": "owner/base", "revision": "abc", "r": 16, **(adapter or {})}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return Task(
        id="export_1",
        job_id="job_1",
        job_name="Mend the lamps!",
        config=JobConfig(model="base", dataset_source={"type": "dataset", "id": "0" * 64}),
        prompt_form="chat",
        options=ExportOptions(**options),
        model_path="base",
        adapter_path=folder,
        adapter_tar=folder / "adapter.tar",
        dataset_path=None,
        eval_dataset_path=None,
        folder=folder,
        artifacts_folder=folder,
        artifact="export-1",
        allow_private_urls=False,
        record=None,
        receipt=None,
        loss=0.25,
        report="better: +31 points",
        tools_folder=folder,
    )


@pytest.mark.parametrize("to", LOADS)
def test_each_program_has_its_way(tmp_path: Path, to: str) -> None:
    """In the same order in every card."""
    text = card(task_of(tmp_path, to=to), "")
    assert "| base model | owner/base, revision abc |" in text
    assert "| loss on the held-out rows | 0.2500 nats a token |\n| report | better: +31 points |" in text
    assert "| check | not checked |" in text
    uses = dict(part.split(":\n", 1) for part in text.partition("## Use it")[2].split("\nWith ")[1:])
    assert list(uses) == ["transformers", "vLLM", "llama.cpp", "Ollama", "arkor"]
    for program, export in OTHERS.items():
        assert LOADS[to].get(program, f"$ arkor export job_1 --to {export}") in uses[program]
    assert ("$ arkor import ." if to in {"adapter", "vllm"} else "$ arkor chat job_1") in uses["arkor"]


def test_an_adapter_that_vllm_does_not_load_is_merged_for_it(tmp_path: Path) -> None:
    """As one of DoRA is."""
    text = card(task_of(tmp_path, {"use_dora": True}, to="adapter"), "")
    assert "With vLLM:\n\n```console\n$ arkor export job_1 --to merged" in text


def test_an_adapter_alone_is_loaded_beside_its_base(tmp_path: Path) -> None:
    """From a GGUF file."""
    text = card(task_of(tmp_path, to="gguf", adapter_only=True), "was not checked: no llama.cpp")
    assert "A LoRA adapter in mend-the-lamps-lora.gguf." in text
    assert "$ llama-server -m BASE.gguf --lora mend-the-lamps-lora.gguf --jinja" in text
    assert "| check | was not checked: no llama.cpp |" in text
