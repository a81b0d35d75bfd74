"""How long a row a GPU has memory for: the estimate for real models, and its layers beside what torch keeps."""

from __future__ import annotations

from typing import Any

import pytest

from arkor.backend.training_worker.limits import lengths
from arkor.backend.training_worker.limits.device import Device
from arkor.backend.training_worker.limits.gpu_memory import StepMemory, layer_bytes
from arkor.backend.training_worker.limits.lengths import SHORTEST, Lengths, choose_length
from arkor.protocol.config import JobConfig

pytest.importorskip("peft", reason="the local extra is not installed")
pytestmark = pytest.mark.filterwarnings("ignore:.*gradient_checkpointing.*:FutureWarning")

GIB = 2**30
QWEN_05B = {
    "model_type": "qwen2",
    "vocab_size": 151936,
    "hidden_size": 896,
    "intermediate_size": 4864,
    "num_hidden_layers": 24,
    "num_attention_heads": 14,
    "num_key_value_heads": 2,
    "max_position_embeddings": 32768,
    "tie_word_embeddings": True,
}
LLAMA_8B = {
    "model_type": "llama",
    "vocab_size": 128256,
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "max_position_embeddings": 8192,
    "tie_word_embeddings": False,
}


def job(**settings: Any) -> JobConfig:
    return JobConfig(model="m", dataset_source={"type": "dataset", "id": "0" * 64}, **settings)


def made(shape: dict[str, Any]) -> Any:
    """Return a configuration of transformers."""
    from transformers import AutoConfig

    return AutoConfig.for_model(**shape)


@pytest.mark.parametrize(
    ("shape", "settings", "gib", "tokens"),
    [
        (QWEN_05B, {}, 24, 19008),
        (QWEN_05B, {"batch_size": 16}, 24, 6272),
        (LLAMA_8B, {}, 16, 0),  # its weights alone take 15 GiB
        (LLAMA_8B, {}, 24, 1472),
        (LLAMA_8B, {"batch_size": 1}, 24, 5696),
        (LLAMA_8B, {"load_in_4bit": True}, 24, 4992),
        (LLAMA_8B, {"lora_r": 256}, 24, 0),
        (LLAMA_8B, {}, 80, 17792),
    ],
)
def test_the_longest_row_of_real_models(shape: dict[str, Any], settings: dict[str, Any], gib: int, tokens: int) -> None:
    """With gradient checkpointing, as the worker trains on a GPU."""
    memory = StepMemory.of(made(shape), job(**settings))
    assert memory.most_tokens(gib * GIB) == tokens
    assert memory.total(tokens) <= gib * GIB or tokens == 0


def test_the_weights_and_the_adapter_are_those_of_the_model() -> None:
    """8.03e9 numbers of Llama 3, and 41.9e6 of an adapter of rank 16; beside them a GiB."""
    fixed = StepMemory.of(made(LLAMA_8B), job()).fixed
    assert fixed == 2 * 8_030_261_248 + 16 * 41_943_040 + GIB
    four_bits = StepMemory.of(made(LLAMA_8B), job(load_in_4bit=True)).fixed
    assert four_bits == pytest.approx(2 * 1_050_939_392 + 0.55 * 6_979_321_856 + 16 * 41_943_040 + GIB, rel=1e-6)


@pytest.mark.parametrize(
    "shape",
    [
        {"model_type": "gpt2", "n_embd": 64, "n_layer": 2, "n_head": 4},  # it names no inner size
        {
            "model_type": "gpt_oss",
            "hidden_size": 64,
            "num_hidden_layers": 2,
            "num_local_experts": 4,
        },  # keeps its scores
        {"model_type": "mamba", "hidden_size": 64, "num_hidden_layers": 2},  # it has no attention
    ],
)
def test_other_kinds_of_models_have_an_estimate(shape: dict[str, Any]) -> None:
    """A rough one; a longer row takes more."""
    memory = StepMemory.of(made(shape), job())
    assert 0 < memory.total(64) < memory.total(128)


def test_the_memory_of_a_gpu_is_a_limit_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """Below the model's context; a ``max_length`` of the job is taken as it is."""
    monkeypatch.setattr(lengths, "free_gpu_bytes", lambda _: 24 * GIB)
    gpu = Device("cuda", "bfloat16")
    chosen = choose_length(job(), [9000], Lengths.of(made(LLAMA_8B), job(), gpu))
    assert (chosen.tokens, chosen.truncates) == (1472, False)
    assert chosen.reason == "the most in this GPU's memory with batch_size=4, by an estimate"
    assert Lengths.of(made(QWEN_05B), job(), Device("cpu", "float32")) == Lengths(32768, 2048)
    most = Lengths.of(made(LLAMA_8B), job(batch_size=64), gpu)
    assert choose_length(job(max_length=9000), [9000], most).tokens == 9000
    monkeypatch.setattr(lengths, "free_gpu_bytes", lambda _: GIB)
    assert Lengths.of(made(LLAMA_8B), job(), gpu).device == 8


def test_the_number_type_of_the_device_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights in float32, as on a Mac, leave less room for rows."""
    monkeypatch.setattr(lengths, "free_gpu_bytes", lambda _: 24 * GIB)
    cuda, mps = (
        Lengths.of(made(QWEN_05B), job(), Device(*device)).device or 0
        for device in (("cuda", "bfloat16"), ("mps", "float32"))
    )
    assert SHORTEST < mps < cuda


ROWS, TOKENS, RANK = 2, 128, 16


def kept_bytes(shape: dict[str, Any], layers: int, *, checkpointing: bool) -> int:
    """Return what torch keeps for the backward pass of a model with an adapter, as on a GPU: bfloat16, rows padded."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_config(made({**shape, "num_hidden_layers": layers}), dtype=torch.bfloat16)
    model = get_peft_model(model, LoraConfig(r=RANK, target_modules="all-linear", task_type="CAUSAL_LM"))
    model.train()
    model.enable_input_require_grads()
    if checkpointing:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    weights = {weight.untyped_storage().data_ptr() for weight in model.parameters()}
    kept: dict[int, torch.Tensor] = {}  # the tensors too: a freed place would be used again

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        place = tensor.untyped_storage().data_ptr()
        if place not in weights:
            kept[place] = tensor
        return tensor

    mask = torch.ones(ROWS, TOKENS, dtype=torch.long)
    mask[0, TOKENS // 2 :] = 0
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor), torch.autocast("cpu", torch.bfloat16):
        model.get_base_model().model(input_ids=mask, attention_mask=mask, use_cache=False)
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())


@pytest.mark.parametrize("model_type", ["llama", "qwen2"])
@pytest.mark.parametrize("inner", [256, 896])
def test_a_layer_is_estimated_as_torch_keeps_it(model_type: str, inner: int) -> None:
    """Exactly with gradient checkpointing; a layer that is computed again takes what it keeps, and a backward pass."""
    sizes = {"vocab_size": 64, "hidden_size": 256, "intermediate_size": inner}
    shape = {"model_type": model_type, **sizes, "num_attention_heads": 4, "num_key_value_heads": 2}
    kept = {
        checkpointing: (
            kept_bytes(shape, 2, checkpointing=checkpointing) - kept_bytes(shape, 1, checkpointing=checkpointing)
        )
        / (ROWS * TOKENS)
        for checkpointing in (True, False)
    }
    assert kept[True] == 2 * 256
    backward = 2 * (4 * inner + 7 * RANK)
    assert kept[False] <= layer_bytes(made(shape), RANK) - backward <= 1.1 * kept[False]
