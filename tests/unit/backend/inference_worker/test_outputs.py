"""From tokens to what the client sees: no half characters, no half calls."""

from __future__ import annotations

import itertools
import json
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
from hypothesis import given, strategies as st

from arkor.backend.inference.detokenizer import Detokenizer
from arkor.backend.inference.reasoning import ReasoningMarks, find_reasoning_marks
from arkor.backend.inference_worker.outputs import (
    CallOutput,
    Output,
    PlainOutput,
    ReasoningParser,
    StopTexts,
    TaggedOutput,
)

SPECIAL = 256


class ByteTokenizer:
    """A tokenizer whose tokens are bytes; like those of the Llama family it drops a text's first space."""

    added_tokens_decoder: ClassVar = {SPECIAL: SimpleNamespace(special=True, content="<think>")}

    def decode(self, ids: list[int], *, skip_special_tokens: bool, clean_up_tokenization_spaces: bool) -> str:
        assert (skip_special_tokens, clean_up_tokenization_spaces) == (True, False)
        text = bytes(token for token in ids if token != SPECIAL).decode("utf-8", "replace")
        return text.removeprefix(" ")


def detokenized(ids: list[int]) -> list[str]:
    detokenizer = Detokenizer(ByteTokenizer())
    return [*(detokenizer.add(token) for token in ids), detokenizer.finish()]


@given(st.text(alphabet=st.characters(exclude_characters="\N{REPLACEMENT CHARACTER}", codec="utf-8")))
def test_the_pieces_are_the_text(text: str) -> None:
    """Whatever the characters, and no piece has half of one."""
    pieces = detokenized(list(text.encode()))
    assert "".join(pieces) == text.removeprefix(" ")
    assert not any("\N{REPLACEMENT CHARACTER}" in piece for piece in pieces)


def test_a_character_comes_when_it_is_whole() -> None:
    """Not before its last byte."""
    assert detokenized(list("aé€😀".encode())) == ["a", "", "é", "", "", "€", "", "", "", "😀", ""]


def test_special_tokens_have_no_text() -> None:
    """Wherever they stand."""
    assert "".join(detokenized([SPECIAL, *b"a b", SPECIAL, *b" c", SPECIAL])) == "a b c"


def test_a_special_token_has_its_text_where_it_is_a_mark() -> None:
    """Otherwise reasoning could not be told apart; what was held back before it comes first."""
    detokenizer = Detokenizer(ByteTokenizer(), "<think></think>")
    pieces = [detokenizer.add(token) for token in (*b"a\xc3", SPECIAL, *b"b")]
    assert pieces == ["a", "", "<think>", "b"]


def test_a_character_that_never_became_whole_is_left_away() -> None:
    """The answer was cut in the middle of it."""
    assert "".join(detokenized(list("a😀".encode())[:-1])) == "a"


def test_bytes_that_are_no_text_do_not_hold_back_the_rest() -> None:
    """They are shown as such once something follows."""
    assert "".join(detokenized([*b"a", 0xFF, *b"b"])) == "a\N{REPLACEMENT CHARACTER}b"


def shown(output: Output, pieces: list[str]) -> tuple[str, list[dict[str, Any]]]:
    text = "".join(output.feed(piece) for piece in pieces)
    rest, calls = output.finish()
    return text + rest, [call["function"] for call in calls]


def test_plain_text_is_shown_as_it_comes() -> None:
    """Nothing is held back."""
    output = PlainOutput()
    assert [output.feed("<tool"), output.feed("x"), output.finish()] == ["<tool", "x", ("", [])]


def test_a_call_is_not_shown() -> None:
    """And one that was cut off is none."""
    text = '{"name": "f", "arguments": {"x": 1}}'
    assert shown(CallOutput(), [text[:9], text[9:]]) == ("", [{"name": "f", "arguments": '{"x": 1}'}])
    assert shown(CallOutput(), [text[:-2]]) == ("", [])


def cut_up(text: str, cuts: list[int]) -> list[str]:
    places = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    return [text[start:end] for start, end in itertools.pairwise(places)]


CALL = json.dumps({"name": "f", "arguments": {"x": 1}})
FUNCTION = {"name": "f", "arguments": '{"x": 1}'}


@given(st.lists(st.integers(0, 400)))
def test_calls_are_found_in_text_however_it_is_cut(cuts: list[int]) -> None:
    """Text around them is shown, and what only looks like a call."""
    text = f"a <b <tool_call>\n{CALL}\n</tool_call> c<tool_call>{CALL}</tool_call><tool_call>no</tool_call> <tool"
    assert shown(TaggedOutput(), cut_up(text, cuts)) == (
        "a <b  c<tool_call>no</tool_call> <tool",
        [FUNCTION, FUNCTION],
    )


def test_text_is_not_held_back_longer_than_it_may_be_a_mark() -> None:
    """A reader sees it at once."""
    output = TaggedOutput()
    assert [output.feed("a <"), output.feed("b")] == ["a ", "<b"]


def test_a_call_that_was_cut_off_is_dropped() -> None:
    """It is neither text nor a call."""
    assert shown(TaggedOutput(), [f"a <tool_call>{CALL}"]) == ("a ", [])


THINK, CHANNELS = ReasoningMarks("<think>", "</think>"), ReasoningMarks("<a>", "<e><f>", "<f>")


def heard(parser: ReasoningParser, pieces: list[str]) -> tuple[str, str]:
    """Return the reasoning and the text."""
    parts = [*(parser.feed(piece) for piece in pieces), parser.finish()]
    return "".join(reasoning for reasoning, _ in parts), "".join(text for _, text in parts)


@pytest.mark.parametrize(
    ("marks", "prompt", "answer", "reasoning", "text"),
    [
        (THINK, "assistant\n", "<think>\nwhy < so\n</think>\n\nso\n", "why < so", "so\n"),
        (THINK, "assistant\n", "\n<think>why</think>so", "why", "so"),
        (THINK, "assistant\n<think>\n", "why\n\nthen\n</think>\n\nso", "why\n\nthen", "so"),
        (THINK, "assistant\n<think>\n", "<think>\nwhy</think>so", "why", "so"),
        (THINK, "assistant\n<think>\n", "</think>so", "", "so"),
        (THINK, "assistant\n<think>\n\n</think>\n\n", "so", "", "so"),
        (THINK, "assistant\n<think>\n\n</think>\n\n", "<think>why</think>so", "why", "so"),
        (THINK, "assistant\n", "<think>\n\n</think>\n\nso", "", "so"),
        (THINK, "assistant\n", " so <think>why</think> so", "", " so <think>why</think> so"),
        (THINK, "assistant\n", "<think>a</think>b<think>c</think>", "a", "b<think>c</think>"),
        (THINK, "assistant\n", "<thin", "", "<thin"),
        (THINK, "assistant\n", " \n", "", " \n"),
        (THINK, "assistant\n", "", "", ""),
        (THINK, "assistant\n", "<think>\nwhy \n</thi", "why \n</thi", ""),
        (THINK, "assistant\n<think>", "why \n", "why", ""),
        (THINK, "assistant\n<think>", " \n", "", ""),
        (CHANNELS, "assistant", "<a>why<e><f>so", "why", "so"),
        (CHANNELS, "assistant", " <f>so", "", "so"),
        (CHANNELS, "assistant", "<a>why", "why", ""),
        (None, "assistant\n<think>", "<think>why</think> so", "", "<think>why</think> so"),
    ],
)
@given(cuts=st.lists(st.integers(0, 40)))
def test_reasoning_is_told_apart_however_it_is_cut(
    marks: ReasoningMarks | None, prompt: str, answer: str, reasoning: str, text: str, cuts: list[int]
) -> None:
    """At the beginning only, whoever opened it, with an end or without; a model without marks has none."""
    assert heard(ReasoningParser(marks, prompt), cut_up(answer, cuts)) == (reasoning, text)


def test_reasoning_is_shown_as_it_comes() -> None:
    """Without what may be the blanks or the mark at its end."""
    parser = ReasoningParser(THINK, "<think>")
    assert [parser.feed(piece) for piece in ("why ", "so </", "b></think>", " a ", "b")] == [
        ("why", ""),
        (" so", ""),
        (" </b>", ""),
        ("", "a "),
        ("", "b"),
    ]


def test_the_marks_are_those_of_the_template() -> None:
    """One of the two is enough; a template without them has none."""
    assert find_reasoning_marks("{% if '</think>' in content %}") == THINK
    assert find_reasoning_marks("<|start|>assistant<|channel|>analysis<|message|>") is not None
    assert find_reasoning_marks("{{ message.content }}") is None


def stopped(stops: list[str], pieces: list[str]) -> tuple[str, bool]:
    """Return what is shown of an answer that comes in pieces, and whether a stop ended it."""
    texts, shown = StopTexts(stops), ""
    for piece in pieces:
        shown += texts.feed(piece)
        if texts.was_hit:
            return shown, True
    return shown + texts.finish(), False


@pytest.mark.parametrize(
    ("stops", "text", "shown"),
    [
        ([], "abc", "abc"),
        (["END"], "one END two", "one "),
        (["END"], "one EN", "one EN"),  # no stop after all
        (["END"], "ENEND", "EN"),
        (["\n\n", "Q:"], "A\nQ: B\n\n", "A\n"),
        (["abcd", "bc"], "abcd", "a"),  # the second is complete first
    ],
)
def test_a_stop_ends_an_answer(stops: list[str], text: str, shown: str) -> None:
    """Nothing of it is shown, whatever the pieces are."""
    assert stopped(stops, [text]) == stopped(stops, list(text)) == (shown, shown != text)


@given(
    st.lists(st.text(alphabet="ab", min_size=1, max_size=3), max_size=4), st.lists(st.text(alphabet="abc", max_size=4))
)
def test_the_pieces_do_not_matter_to_a_stop(stops: list[str], pieces: list[str]) -> None:
    """What is shown has no stop, and nothing is lost before one."""
    text = "".join(pieces)
    shown, was_hit = stopped(stops, pieces)
    assert (shown, was_hit) == stopped(stops, list(text))
    assert text.startswith(shown)
    assert not any(stop in shown for stop in stops)
    assert was_hit == any(stop in text for stop in stops)
