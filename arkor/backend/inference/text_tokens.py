"""Texts as token ids; of a text that goes on, only what is new is tokenised.

A conversation is tokenised at each of its answers, as a chat would send it there, and again with the answer. Each time
it begins with the text of the time before.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

_LONGEST_TAIL = 64  # characters; the marks that begin a turn have about 20
_MOST_TAILS = 256


class TextTokens:
    """Tokenises texts as they are, without the tokens that begin and end one. For one thread.

    The library tokenizers divides a text at its special tokens before it does anything else, and what lies between two
    of them becomes tokens by itself. So a longer text has the same tokens up to the last special token of its
    beginning.

    Args:
        tokenizer: of transformers.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._encode, self._seams = _encoder(tokenizer)
        self._tails: dict[str, list[int]] = {}
        self._last: tuple[str, list[int]] = ("", [])

    def of(self, text: str) -> list[int]:
        """Return the token ids of a text."""
        ids = self._continued(text)
        self._last = text, ids
        return list(ids)

    def _continued(self, text: str) -> list[int]:
        before, ids = self._last
        if before and text.startswith(before):
            place = next((place for place in reversed(range(len(ids))) if ids[place] in self._seams), None)
            if place is not None:
                begin = before.rfind(self._seams[ids[place]])
                # The token's text may come again behind it, as text.
                if begin >= 0 and self._tail(before[begin:]) == ids[place:]:
                    return ids[:place] + self._encode(text[begin:])
        return self._encode(text)

    def _tail(self, text: str) -> list[int]:
        """Return the tokens of the end of a text: nearly all conversations have the same few."""
        if len(text) > _LONGEST_TAIL:
            return self._encode(text)
        if text not in self._tails:
            if len(self._tails) == _MOST_TAILS:
                self._tails.clear()
            self._tails[text] = self._encode(text)
        return self._tails[text]


def _encoder(tokenizer: Any) -> tuple[Callable[[str], list[int]], dict[int, str]]:
    """Return what makes token ids of a text, and the texts of the tokens at which it divides one."""
    inner = getattr(tokenizer, "backend_tokenizer", None)
    if inner is None:  # not one of the library tokenizers
        return lambda text: list(tokenizer(text, add_special_tokens=False)["input_ids"]), {}
    tokenizer("")  # transformers sets the inner one up as its own settings say: special tokens, truncation, padding
    added = inner.get_added_tokens_decoder().items()
    # A normalized one is looked for in what the normalizer made of a whole part.
    seams = {number: token.content for number, token in added if token.content and not token.normalized}
    return lambda text: list(inner.encode_batch_fast([text], add_special_tokens=False)[0].ids), seams
