"""Small tokenizers of each kind that models have, with special tokens of each kind."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

TEXTS = ["one lamp for two", "the end of a talk", "<|end|> <unk> </s>", "a b c d e f | < > / s"]


def byte_level() -> Any:
    """A tokenizer as GPT-2's."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False)
    made.train_from_iterator(TEXTS * 9, trainer)  # <|end|> becomes a word
    return made


def metaspace() -> Any:
    """A tokenizer as Llama 2's: its first word, and no other, gets a blank before it."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    made = Tokenizer(models.BPE(unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    made.train_from_iterator(TEXTS, trainers.BpeTrainer(special_tokens=["<unk>"], show_progress=False))
    return made


def unigram() -> Any:
    """A tokenizer as T5's: a special token is a piece like the others."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    pieces = [
        (piece, -1.0) for piece in ("<unk>", "</s>", "\u2581", "\u2581lamp", *sorted(set("".join(TEXTS)) - {" "}))
    ]
    made = Tokenizer(models.Unigram(pieces, unk_id=0))
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    return made


def words() -> Any:
    """A tokenizer of whole words."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    known = ["<unk>", "</s>", "<|end|>", "one", "lamp"]
    made = Tokenizer(models.WordLevel({word: place for place, word in enumerate(known)}, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return made


def marked(make: Callable[[], Any]) -> Any:
    """Return a tokenizer of transformers, with special tokens of each kind."""
    from tokenizers import AddedToken
    from transformers import PreTrainedTokenizerFast

    made = PreTrainedTokenizerFast(tokenizer_object=make(), eos_token="</s>", unk_token="<unk>")
    made.add_tokens(
        [
            AddedToken("<|user|>", special=True, lstrip=True),
            AddedToken("<|end|>", special=True, rstrip=True),
            AddedToken("<|end|>2", special=True, normalized=True),
            AddedToken("<think>", special=True),
            AddedToken("<tool_call>", special=False),
        ]
    )
    return made


KINDS = (byte_level, metaspace, unigram, words)
