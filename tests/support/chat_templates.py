"""The chat templates that TRL ships, each with a stand-in for its model's tokenizer.

The templates are the models' own. The tokenizer is trained on the template's text, and has its marks as special tokens.
"""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Any

_BAR, _BLANK = "\uff5c", "\u2581"  # as DeepSeek writes its marks
_MARK = re.compile(
    r"</?(?:start_of_turn|end_of_turn|end_of_utterance|s)>|\[/?INST\]|<\|[^<>|]{1,40}\|?>|<[^<>|]{1,40}\|>"
    rf"|<{_BAR}[^<>]{{1,40}}{_BAR}>"
)
_ENDS = (
    *("<|im_end|>", "<|eot_id|>", f"<{_BAR}end{_BLANK}of{_BLANK}sentence{_BAR}>", "<end_of_turn>"),
    *("<|END_OF_TURN_TOKEN|>", "<|return|>", "<turn|>", "<|eot|>", "</s>"),
)


def folder() -> Path:
    """Return the folder with the templates."""
    spec = importlib.util.find_spec("trl")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "chat_templates"


def names() -> list[str]:
    """Return the names of the templates that models are asked with."""
    return sorted(file.stem for file in folder().glob("*.jinja") if not file.stem.endswith("_training"))


def tokenizer(name: str) -> Any:
    """Return a tokenizer of transformers with a template."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    template = (folder() / f"{name}.jinja").read_text(encoding="utf-8")
    marks = sorted(set(_MARK.findall(template)))
    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    inner.train_from_iterator([template], trainers.BpeTrainer(vocab_size=1000, initial_alphabet=alphabet))
    end = next((mark for mark in _ENDS if mark in marks), "<EOS>")
    made = PreTrainedTokenizerFast(tokenizer_object=inner, bos_token="<BOS>", eos_token=end, extra_special_tokens=marks)
    made.chat_template = template
    return made
