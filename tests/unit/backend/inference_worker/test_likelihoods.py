"""How likely tokens were, and which tokens a text consists of."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, strategies as st

from arkor.backend.inference.reasoning import ReasoningMarks
from arkor.backend.inference_worker.echo import Echo, text_offsets
from arkor.backend.inference_worker.likelihoods import ShownTokens, likelihoods
from arkor.backend.inference_worker.outputs import Output, PlainOutput, ReasoningParser, StopTexts, TaggedOutput
from arkor.backend.inference_worker.rows import Row
from arkor.serving.refusal import Refusal
from tests.support import small_tokenizers

LOGITS = torch.tensor([[1.0, 3.0, 2.0, -1.0], [0.0, 0.0, float("-inf"), 0.0]])
MARKS = ReasoningMarks("<think>", "</think>")
END = 0
CALL = '<tool_call>{"name": "f", "arguments": {}}</tool_call>'


def test_the_likeliest_tokens_come_in_their_order() -> None:
    """Beside the one that was chosen; a token without a probability is not among them, and has none."""
    first, second = likelihoods(LOGITS, [0, 2], 3)
    assert [token for token, _ in first.top] == [1, 2, 0]
    assert first.logprob == first.top[2][1] == pytest.approx(1 - math.log(sum(map(math.exp, (1, 3, 2, -1)))))
    assert second.logprob is None
    assert {token for token, _ in second.top} == {0, 1, 3}
    assert [logprob for _, logprob in second.top] == pytest.approx([-math.log(3)] * 3)
    assert likelihoods(LOGITS[:1], [1], 0)[0].top == []


@given(st.lists(st.floats(-50, 50), min_size=1, max_size=30), st.integers(0, 40))
def test_the_probabilities_of_the_likeliest_are_at_most_one_together(logits: list[float], top: int) -> None:
    """And one if they are all there are."""
    [found] = likelihoods(torch.tensor([logits]), [0], top)
    whole = sum(math.exp(logprob) for _, logprob in found.top)
    assert whole <= 1 + 1e-5
    assert len(found.top) == min(top, len(logits))
    assert top < len(logits) or whole == pytest.approx(1, abs=1e-5)


class Written:
    """Stands in for the sampler and the detokenizer: the model writes these texts, a token each, and ends."""

    generator = None

    def __init__(self, texts: list[str]) -> None:
        self._texts = texts
        self._next = 0

    def pick(self, logits_V: Any, allowed_V: Any = None) -> int:  # noqa: N803
        self._next += 1
        return self._next if self._next <= len(self._texts) else END

    def add(self, token: int) -> str:
        return self._texts[token - 1]

    def finish(self) -> str:
        return ""


def told(texts: list[str], *, output: Output | None = None, stops: tuple[str, ...] = (), thinks: bool = False) -> Any:
    """Return the text of an answer, its tokens, and their offsets."""
    said: list[dict[str, Any]] = []
    written: Any = Written(texts)
    logits = torch.zeros(len(texts) + 1)
    row = Row(
        lambda **fields: said.append(fields),
        prompt=[1],
        adapter=None,
        max_tokens=len(texts) + 1,
        stop_ids=frozenset({END}),
        detokenizer=written,
        sampler=written,
        reasoning=ReasoningParser(MARKS if thinks else None),
        output=output or PlainOutput(),
        stops=StopTexts(stops),
        tokens=ShownTokens(lambda token: texts[token - 1].encode(), 0),
    )
    while not row.done:
        row.advance(logits)
    deltas = [event for event in said if "delta" in event]
    tokens = [token for event in deltas for token in event["logprobs"]]
    text = "".join(event["delta"] for event in deltas)
    return text, [bytes(token["bytes"]).decode() for token in tokens], [token["offset"] for token in tokens]


PIECES = st.lists(
    st.sampled_from(["a", " ", "b<", "<think>", "</think>", "STOP", "ST", CALL, "<tool_call>no</tool_call>", "\n"]),
    max_size=8,
).map("".join)


@given(PIECES, st.booleans(), st.booleans(), st.sampled_from([(), ("STOP",)]))
def test_the_tokens_of_a_text_are_those_that_are_shown(
    text: str, thinks: bool, calls: bool, stops: tuple[str, ...]
) -> None:
    """A character each here: neither reasoning nor calls, stops and what is behind them have tokens."""
    output = TaggedOutput() if calls else None
    shown, tokens, offsets = told(list(text), output=output, stops=stops, thinks=thinks)
    assert "".join(tokens) == shown
    assert offsets == list(range(len(shown)))


@pytest.mark.parametrize(
    ("texts", "shown", "tokens", "offsets"),
    [
        (["ab", "c d"], "abc d", ["ab", "c d"], [0, 2]),
        (["ab", "c STO", "P d"], "abc ", ["ab", "c STO"], [0, 2]),
        (["ab", "STOP"], "ab", ["ab"], [0]),
        (["<think>no", "</thi", "nk>\n", "\n a", "b"], "ab", ["\n a", "b"], [0, 1]),
        (["a ", CALL, " b"], "a  b", ["a ", " b"], [0, 2]),
        (["a<", "tool", "_call>{"], "a", ["a<"], [0]),
    ],
)
def test_a_token_counts_if_any_of_it_is_shown(
    texts: list[str], shown: str, tokens: list[str], offsets: list[int]
) -> None:
    """Once, with the first piece of it."""
    found = told(texts, output=TaggedOutput(), stops=("STOP",), thinks=True)
    assert found == (shown, tokens, offsets)


def test_a_token_that_is_part_of_a_character_comes_with_it() -> None:
    """Its text is empty until the character is whole; one that never is has no tokens."""
    tokens = ShownTokens(lambda token: bytes([token]), 0, before="ab")
    for token, text in ((0xC3, ""), (0xA9, "\u00e9"), (0xF0, "")):
        tokens.add(torch.zeros(256), token, text)
    tokens.leave("\u00e9", 0)
    assert [(token["bytes"], token["offset"]) for token in tokens.show("\u00e9")] == [([0xC3], 2), ([0xA9], 2)]
    tokens.leave("", 0)
    assert tokens.show("") == []


def test_a_prompt_is_told_with_what_its_tokens_had_for_a_probability() -> None:
    """Read in pieces; nothing comes before the first one, and what comes behind the last one is the answer's."""
    echo = Echo("abc", [2, 0, 1], [0, 1, 2], lambda token: b"xyz"[token : token + 1], 1)
    assert echo.needs_logits
    echo.take(LOGITS[:1])
    assert echo.needs_logits
    echo.take(LOGITS)
    assert not echo.needs_logits
    told = echo.told()
    assert told["delta"] == "abc"
    tokens = told["logprobs"]
    assert [(bytes(token["bytes"]), token["offset"]) for token in tokens] == [(b"z", 0), (b"x", 1), (b"y", 2)]
    chosen = [float(torch.log_softmax(LOGITS[0], 0)[token]) for token in (0, 1)]
    assert [token["logprob"] for token in tokens] == [None, *map(pytest.approx, chosen)]
    assert [token["top"] for token in tokens[:1]] == [[]]
    assert bytes(tokens[1]["top"][0]["bytes"]) == b"y"
    assert Echo("abc", [2, 0, 1], [], lambda _: b"", None).told() == {"delta": "abc"}


def test_the_tokens_of_a_prompt_have_their_places() -> None:
    """A token that begins a text has none of it, and the bytes of one character share theirs."""
    from tokenizers.processors import TemplateProcessing

    tokenizer = small_tokenizers.marked(small_tokenizers.byte_level)
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="</s> $A", special_tokens=[("</s>", tokenizer.eos_token_id)]
    )
    text = "one lamp \u00e9<unk> lamp"
    ids = tokenizer(text)["input_ids"]
    assert [tokenizer.decode([token]) for token in ids[:3]] == ["</s>", "one", " lamp"]
    assert text_offsets(tokenizer, text, len(ids)) == [0, 0, 3, 8, 9, 9, 10, 15]


def test_a_tokenizer_that_does_not_say_where_tokens_are_is_refused() -> None:
    """With what cannot be combined."""

    class Slow:
        is_fast = False

    with pytest.raises(Refusal, match="echo: cannot be combined with logprobs"):
        text_offsets(Slow(), "a", 1)
