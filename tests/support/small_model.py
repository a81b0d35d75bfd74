"""A real model of a few thousand random weights, which trains in no time, and rows for it."""

from __future__ import annotations

import json
from pathlib import Path

CHAT_TEMPLATE = (
    "{% for m in messages %}<{{ m['role'] }}> {% if twice %}say {% endif %}{{ m['content'] }} </s> {% endfor %}"
)


def write_small_model(folder: Path) -> Path:
    """Write the model with a tokenizer of whole words, and return its folder."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    words = ["</s>", "<unk>", "<user>", "<assistant>", "say", *(f"w{number}" for number in range(40))]
    tokenizer = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="</s>", unk_token="<unk>")
    fast.chat_template = CHAT_TEMPLATE
    fast.save_pretrained(folder)
    config = LlamaConfig(
        vocab_size=len(words),
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        eos_token_id=0,
    )
    torch.manual_seed(0)
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def write_rows(file: Path) -> Path:
    """Write rows that can be read in two formats, some of them longer than 8 tokens, and return their file."""
    lines = [
        {
            "messages": [
                {"role": "user", "content": f"say w{number}"},
                {"role": "assistant", "content": " ".join(f"w{number}" for _ in range(1 + number))},
            ],
            "text": f"say w{number}",
        }
        for number in range(20)
    ]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return file
