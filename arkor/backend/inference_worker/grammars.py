"""Holding an answer to a constraint while it is made: which tokens may come next.

llguidance does it. What it cannot enforce it refuses, instead of passing over it.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from typing import Any

import llguidance.hf
import numpy as np
import torch
from llguidance import LLMatcher, grammar_from

from arkor.backend.inference.constraints import Constraint
from arkor.backend.inference.tools import Tools, call_grammar
from arkor.serving.refusal import Refusal
from arkor.text import first_line, one_line

# Between JSON's tokens: nothing, a space, or a line break with its indentation. llguidance's own default is any
# amount of white space, which a small model goes on writing until its tokens are used up.
_JSON_OPTIONS: Any = {"whitespace_pattern": r"(\x20|\n\x20{0,40})?"}


# In llguidance's regular expressions these mean all of Unicode, and a small model writes digits of scripts that nobody
# reads; in those of JSON Schema they mean ASCII, and so they do here.
_ASCII_CLASSES = {r"\d": "[0-9]", r"\w": "[A-Za-z0-9_]", r"\s": r"[ \t\n\r\f\v]"}


class Grammars:
    """Makes matchers for one tokenizer. Not thread-safe.

    Args:
        tokenizer: of transformers, a fast one.
        vocab_size: how many logits the model gives, which may be more than the tokenizer has tokens.
        stop_ids: the tokens that end an answer.
    """

    def __init__(self, tokenizer: Any, vocab_size: int, stop_ids: frozenset[int]) -> None:
        self._tokenizer = tokenizer
        self._vocab_size = vocab_size
        self._stop_ids = sorted(stop_ids)
        self._compiled: Any = None

    def for_constraint(self, constraint: Constraint) -> Matcher:
        """Compile a constraint.

        Raises:
            Refusal: 400, llguidance cannot enforce it; the text has llguidance's reason.
        """
        return self._matcher(_grammar(constraint), f"The {constraint.kind} constraint")

    def for_call(self, tools: Tools, *, tagged: bool) -> Matcher:
        """Compile the grammar of one call of the tools; see ``call_grammar``.

        Raises:
            Refusal: 400, as ``for_constraint``.
        """
        functions = [{**item, "parameters": _with_options(item["parameters"])} for item in tools.functions]
        lark = call_grammar(Tools(functions, tools.choice), tagged=tagged)
        return self._matcher(LLMatcher.grammar_from_lark(lark), "A tool's parameters")

    def token_bytes(self, token: int) -> bytes:
        """Return the bytes of a token's text; a special token has one too, and some tokens are part of a character."""
        return self._bytes_of(token)

    @functools.cached_property
    def _bytes_of(self) -> Callable[[int], bytes]:
        try:
            vocabulary = self._vocabulary()
        except ValueError:  # llguidance knows byte-level tokenizers, and those that fall back to bytes
            return lambda token: str(self._tokenizer.decode([token])).encode()
        return lambda token: bytes(vocabulary.decode_bytes([token]))

    def _matcher(self, grammar: str, what: str) -> Matcher:
        is_error, problems = LLMatcher.validate_grammar_with_warnings(grammar, self._vocabulary())
        if is_error:
            raise Refusal(400, f"{what} cannot be enforced: {_reason(problems[0])}")
        return Matcher(LLMatcher(self._vocabulary(), grammar, log_level=0), self._vocab_size)

    def _vocabulary(self) -> Any:
        if self._compiled is None:  # takes a third of a second, and most chats need none
            self._compiled = llguidance.hf.from_tokenizer(
                self._tokenizer, n_vocab=self._vocab_size, eos_token=self._stop_ids
            )
        return self._compiled


class Matcher:
    """Follows one answer through its grammar. Not thread-safe.

    Args:
        matcher: of llguidance.
        vocab_size: how many tokens there are.
    """

    def __init__(self, matcher: LLMatcher, vocab_size: int) -> None:
        self._matcher = matcher
        self._vocab_size = vocab_size

    def allowed(self) -> torch.Tensor:
        """Return which tokens may come next: bool, (vocabulary,).

        Raises:
            Refusal: 400, the grammar turned out too complex to follow.
        """
        bits = np.frombuffer(self._matcher.compute_bitmask(), dtype=np.uint8)
        self._check()
        return torch.from_numpy(np.unpackbits(bits, bitorder="little")[: self._vocab_size].view(np.bool_))

    def take(self, token: int) -> bool:
        """Take the token that was chosen; return whether nothing can follow it.

        Raises:
            Refusal: as ``allowed``.
        """
        self._matcher.consume_token(token)
        self._check()
        return bool(self._matcher.is_stopped())

    def copy(self) -> Matcher:
        """Return another one that has come as far."""
        return Matcher(self._matcher.deep_copy(), self._vocab_size)

    def _check(self) -> None:
        if self._matcher.is_error():
            raise Refusal(400, f"The constraint cannot be followed: {_reason(self._matcher.get_error())}")


def _grammar(constraint: Constraint) -> str:
    try:
        if constraint.kind == "json_object":
            return LLMatcher.grammar_from_json_schema({"type": "object"}, _JSON_OPTIONS)
        if constraint.kind == "json":
            schema = constraint.value if constraint.value is not True else {}
            return LLMatcher.grammar_from_json_schema(schema, _JSON_OPTIONS)
        if constraint.kind == "regex":
            return LLMatcher.grammar_from_regex(_with_ascii_classes(constraint.value))
        return grammar_from(constraint.kind, constraint.value)  # type: ignore[arg-type]  # its kinds have our names
    except ValueError as exc:
        raise Refusal(400, f"The {constraint.kind} constraint cannot be enforced: {_reason(exc)}") from exc


def _reason(problem: Exception | str) -> str:
    """Return llguidance's reason in one line, without the drawing of a regular expression and without a backtrace."""
    lines = [line.strip() for line in str(problem).splitlines()]
    drawn = next((line.removeprefix("error:") for line in lines if line.startswith("error:")), "")
    return one_line(f"{first_line(problem)} {drawn}")


def _with_ascii_classes(regex: str) -> str:
    # Inside a class too: there, brackets make a class within a class.
    return re.sub(r"\\.", lambda match: _ASCII_CLASSES.get(match[0], match[0]), regex, flags=re.DOTALL)


def _with_options(schema: dict[str, Any]) -> dict[str, Any]:
    return {"x-guidance": _JSON_OPTIONS, **schema}
