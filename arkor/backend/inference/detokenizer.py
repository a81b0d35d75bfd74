"""Token ids to text, as they come."""

from __future__ import annotations

from typing import Any

_INCOMPLETE = "\N{REPLACEMENT CHARACTER}"  # what a decoder shows for a character whose bytes are not all there


class Detokenizer:
    """Gives the text of a growing list of tokens, piece by piece.

    A token may hold part of a character, and some decoders treat the first token of a text in their own way. So each
    piece is the difference between two texts that begin with the same token, and is held back while it ends in the
    middle of a character. Not thread-safe.

    Args:
        tokenizer: of transformers.
        marks: a text whose special tokens are given as text; the others have none.
        with_special: whether all special tokens have a text.
    """

    def __init__(self, tokenizer: Any, marks: str = "", *, with_special: bool = False) -> None:
        self._tokenizer = tokenizer
        self._with_special = with_special
        self._marks = _special_tokens(tokenizer, marks) if marks else {}
        self._ids: list[int] = []
        self._window = 0  # where the tokens begin that are decoded
        self._shown = 0  # how many tokens' text was given

    def add(self, token: int) -> str:
        """Take one more token; return the text that is certain now, which may be empty."""
        if token in self._marks:
            return self.finish() + self._marks[token]
        self._ids.append(token)
        text = self._pending()
        if not text or text.endswith(_INCOMPLETE):
            return ""
        self._window, self._shown = self._shown, len(self._ids)
        return text

    def finish(self) -> str:
        """Return what was held back, without a last character that never became whole."""
        text = self._pending().rstrip(_INCOMPLETE)
        self._window = self._shown = len(self._ids)
        return text

    def _pending(self) -> str:
        shown = self._decode(self._ids[self._window : self._shown])
        return self._decode(self._ids[self._window :])[len(shown) :]

    def _decode(self, ids: list[int]) -> str:
        return str(
            self._tokenizer.decode(ids, skip_special_tokens=not self._with_special, clean_up_tokenization_spaces=False)
        )


def _special_tokens(tokenizer: Any, text: str) -> dict[int, str]:
    """Return the special tokens that a text has in it."""
    known = tokenizer.added_tokens_decoder.items()
    return {token_id: token.content for token_id, token in known if token.special and token.content in text}
