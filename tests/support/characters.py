"""A tokenizer of one token a character, for checks of which tokens count."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

END = 1


class Tokenizer:
    """One token a character, beside ``<`` and ``>``, which are special; as much of transformers as is used."""

    eos_token_id = END
    all_special_ids = (0, END)
    bos_token_id = None

    def __init__(self, template: Any = None) -> None:
        self.chat_template = template
        marks = {0: "<", END: ">"}.items()
        self.added_tokens_decoder = {token: SimpleNamespace(content=mark, special=True) for token, mark in marks}

    def __call__(self, text: str, add_special_tokens: bool = True) -> dict[str, list[int]]:
        return {"input_ids": [{"<": 0, ">": END}.get(char, ord(char)) for char in text]}

    def decode(self, ids: list[int], **_how: bool) -> str:
        return "".join({0: "<", END: ">"}.get(token, chr(token)) for token in ids)

    def apply_chat_template(
        self,
        turns: list[dict[str, Any]],
        *,
        tools: Any = None,
        add_generation_prompt: bool = False,
        tokenize: bool = True,
        return_dict: bool = True,
        **options: Any,
    ) -> Any:
        text = self.chat_template(turns, tools, add_generation_prompt, **options)
        return self(text)["input_ids"] if tokenize else text


def plain(turns: list[dict[str, Any]], _tools: Any, prompt: bool) -> str:
    """Render as most templates do: a header, the content, an end token, a line break."""
    return "".join(f"<{turn['role'][0]}:{turn['content']}>\n" for turn in turns) + ("<a:" if prompt else "")
