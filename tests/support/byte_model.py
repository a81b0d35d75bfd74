"""A real model with random weights whose tokens are bytes: any text has as many tokens as bytes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

CHAT_TEMPLATE = (
    "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}</s>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
SPECIAL = ("<s>", "</s>", "<|user|>", "<|assistant|>", "<|system|>")
VOCABULARY = 256 + len(SPECIAL)
CONTEXT = 256


def write_byte_model(folder: Path, *, seed: int = 0, joinable: bool = True) -> Path:
    """Write the model, and return its folder.

    Args:
        folder: where it goes; made if it is not there.
        seed: of its weights.
        joinable: whether its cache is keys and values only; otherwise it makes one answer at a time.
    """
    import torch

    folder.mkdir(parents=True, exist_ok=True)
    _tokenizer().save_pretrained(folder)
    torch.manual_seed(seed)
    model = _llama() if joinable else _lfm2()
    for weights in model.parameters():
        torch.nn.init.normal_(weights, std=0.3)
    model.save_pretrained(folder)
    return folder


def _tokenizer() -> Any:
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    made = Tokenizer(models.BPE(vocab={letter: place for place, letter in enumerate(alphabet)}, merges=[]))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens([AddedToken(text, special=True) for text in SPECIAL])
    fast = PreTrainedTokenizerFast(tokenizer_object=made, bos_token="<s>", eos_token="</s>")
    fast.chat_template = CHAT_TEMPLATE
    return fast


_SHAPE = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 4, "num_key_value_heads": 2}
_TOKENS = {"vocab_size": VOCABULARY, "bos_token_id": 256, "eos_token_id": 257, "pad_token_id": 257}


def _llama() -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    shape = {**_SHAPE, **_TOKENS, "num_hidden_layers": 2, "head_dim": 8, "max_position_embeddings": CONTEXT}
    return LlamaForCausalLM(LlamaConfig(**shape))


def _lfm2() -> Any:
    from transformers import Lfm2Config, Lfm2ForCausalLM

    layers = {"num_hidden_layers": 2, "layer_types": ["conv", "full_attention"], "block_auto_adjust_ff_dim": False}
    return Lfm2ForCausalLM(Lfm2Config(**_SHAPE, **_TOKENS, **layers, max_position_embeddings=CONTEXT))
