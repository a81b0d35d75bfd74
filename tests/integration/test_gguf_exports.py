"""Exports to GGUF: converted by llama.cpp's scripts, loaded and asked by llama.cpp, compared with what chats get.

The model is very small, with random weights, and has the tokenizer of the real one, which the scripts know.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

pytest.importorskip("xllamacpp")

from safetensors.torch import load_file, save_file

from arkor import ExportFailed, Trainer, TrainingResult
from arkor.errors import ArkorError
from tests.conftest import MODEL
from tests.support.backend import BackendProcess
from tests.support.by_heart import SETTINGS, real_backend, write_lines
from tests.support.engine_line import EngineLine
from tests.support.export_task import export_task

pytestmark = [
    pytest.mark.slow,
    pytest.mark.training,
    pytest.mark.timeout(400),
    pytest.mark.filterwarnings("default"),  # of the libraries'
]

WORDS = 12


def write_model(folder: Path, real: Path) -> Path:
    """Write a model of two layers that finds some tokens much likelier than others, and return its folder."""
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    tokenizer = AutoTokenizer.from_pretrained(real)
    tokenizer.save_pretrained(folder)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=512,
        eos_token_id=tokenizer.eos_token_id,
    )
    torch.manual_seed(0)
    model = LlamaForCausalLM(config)
    with torch.no_grad():
        model.lm_head.weight.mul_(20)
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def backend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BackendProcess]:
    """A backend whose processes are real."""
    backend = real_backend(tmp_path_factory.mktemp("exports"))
    yield backend
    backend.close()


@pytest.fixture(scope="module")
def trained(backend: BackendProcess, model_home: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainingResult:
    """A job that learnt lines."""
    folder = tmp_path_factory.mktemp("rows")
    trainer = Trainer(
        name="Words by heart",
        model=str(write_model(folder / "model", model_home / ".arkor" / "models" / MODEL)),
        dataset=write_lines(folder / "rows.jsonl", range(WORDS)),
        backend=backend.url,
        project_dir=folder,
        **{**SETTINGS, "max_steps": 24},
    )
    return trainer.wait(timeout=300, check=True)


@pytest.mark.parametrize(
    ("settings", "file"),
    [
        ({"to": "gguf"}, "words-by-heart-bf16.gguf"),
        ({"to": "ollama", "quantization": "q8_0"}, "words-by-heart-q8_0.gguf"),
        ({"to": "gguf", "adapter_only": True}, "words-by-heart-lora.gguf"),
    ],
    ids=["16 bits", "8 bits for Ollama", "the adapter alone"],
)
def test_llama_cpp_answers_as_chats_do(
    trained: TrainingResult, tmp_path: Path, settings: dict[str, Any], file: str
) -> None:
    """The card says so, and how to load the file; nothing but files of the export is in the folder."""
    folder = trained.export(dest=tmp_path, timeout=300, **settings)
    others = ["Modelfile"] if settings["to"] == "ollama" else []
    assert sorted(one.name for one in folder.iterdir()) == sorted([*others, "README.md", "arkor.json", file])
    card = (folder / "README.md").read_text()
    assert re.search(
        r"\| check \| answers (nearly )?as chats do: .* rows, .* nats apart \(llama\.cpp of xllamacpp", card
    )
    assert f"llama-server -m {'BASE.gguf --lora ' if 'lora' in file else ''}{file} --jinja" in card
    if others:
        text = (folder / "Modelfile").read_text()
        assert text.startswith(f"FROM ./{file}\nTEMPLATE ")
        assert 'PARAMETER stop """<|im_end|>"""' in text


def test_another_base_or_template_fails_the_check(
    backend: BackendProcess, trained: TrainingResult, tmp_path: Path
) -> None:
    """With what differs."""
    from arkor.backend.export_worker.check import check
    from arkor.backend.export_worker.making import gguf_file, make
    from arkor.backend.gguf import scripts
    from arkor.backend.task_worker.server_line import ServerLine

    task = export_task(backend, trained, tmp_path, to="gguf")
    make(task)
    with EngineLine(task.model_path, str(task.adapter_path)) as engine:
        line = cast("ServerLine", engine)
        assert check(task, line)["tokens"] > 0
        other = tmp_path / "other"
        shutil.copytree(task.model_path, other)
        weights = load_file(other / "model.safetensors")
        weights["lm_head.weight"] = weights["lm_head.weight"].flip(0).contiguous()
        save_file(weights, other / "model.safetensors", {"format": "pt"})
        scripts.convert(task.tools_folder, other, gguf_file(task), "bf16", "other")
        with pytest.raises(ArkorError, match="is not the model that chats get"):
            check(task, line)
        template = other / "chat_template.jinja"
        template.write_text(template.read_text().replace("<|im_start|>", "<|im_start|>say "))
        scripts.convert(task.tools_folder, other, gguf_file(task), "bf16", "other")
        with pytest.raises(ArkorError, match="is another prompt to the export than to a chat"):
            check(task, line)


def test_fewer_bits_need_the_quantizer(trained: TrainingResult, tmp_path: Path) -> None:
    """The error says so, and which ones are there without it."""
    with pytest.raises(ExportFailed, match=r"q4_k_m is made by llama\.cpp's llama-quantize.*or export bf16, f16, q8_0"):
        trained.export(to="gguf", quantization="q4_k_m", dest=tmp_path, timeout=100)
