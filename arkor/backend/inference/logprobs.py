"""Log-probabilities in the forms of OpenAI's chat completions and completions.

Protocol: docs/protocol.md, "Inference": ``logprobs``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

TokenLine = Mapping[str, Any]
"""What the chat process says of a token, see ``arkor.backend.inference.pipes``."""


def chat_logprobs(tokens: Sequence[TokenLine]) -> dict[str, Any]:
    """Return ``logprobs`` of a choice of a chat.

    Args:
        tokens: those of its text, in their order.
    """
    return {"content": [{**_told(token), "top_logprobs": [*map(_told, token["top"])]} for token in tokens]}


def completion_logprobs(tokens: Sequence[TokenLine]) -> dict[str, Any]:
    """Return ``logprobs`` of a choice of a completion.

    Args:
        tokens: those of its text, in their order.
    """
    return {
        "tokens": [_key(token) for token in tokens],
        "token_logprobs": [token["logprob"] for token in tokens],
        "top_logprobs": [_likeliest(token) for token in tokens],
        "text_offset": [token["offset"] for token in tokens],
    }


def _told(token: TokenLine) -> dict[str, Any]:
    return {"token": _name(token), "logprob": token["logprob"], "bytes": token["bytes"]}


def _likeliest(token: TokenLine) -> dict[str, float] | None:
    """Return the likeliest tokens and the one that stands there; None where nothing was predicted."""
    if token["logprob"] is None and not token["top"]:
        return None
    found: dict[str, float] = {}
    for one in (*token["top"], token):
        if one["logprob"] is not None:
            found.setdefault(_key(one), one["logprob"])
    return found


def _name(token: TokenLine) -> str:
    """Return a token's text; bytes that are only part of a character are spelt out as backslash, x and two digits."""
    return _text(token) or "".join(f"\\x{byte:02x}" for byte in token["bytes"])


def _key(token: TokenLine) -> str:
    """Return a token's text as OpenAI's completions have it."""
    text = _text(token)
    return f"bytes:{_name(token)}" if text is None else text


def _text(token: TokenLine) -> str | None:
    try:
        return bytes(token["bytes"]).decode()
    except UnicodeDecodeError:
        return None
