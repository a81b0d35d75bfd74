"""What holds for every conversation and every chat template: the model is trained as it will be asked.

Conversations are drawn at random, from a seed; the templates are those that TRL ships, of 38 families of models.
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from typing import Any

import pytest

from arkor.backend.inference.detokenizer import Detokenizer
from arkor.backend.inference.messages import normalise
from arkor.backend.inference.prompts import Prompts, ToolStyle
from arkor.backend.inference.special_tokens import special_texts
from arkor.backend.inference.tools import read_tools
from arkor.backend.inference_worker.outputs import ReasoningParser
from arkor.backend.training_worker.examples.chat import ChatEncoder, Encoded, RowProblem
from tests.support import chat_templates

pytest.importorskip("trl", reason="the local extra is not installed")

ROUNDS = 12
WORDS = ("ä word", "naïve", "lamp.", "2 + 2", "日本", "{x}", "\n", "end")
LOOK_UP = {"name": "look_up", "description": "Finds a word", "parameters": {"properties": {"word": {"type": "string"}}}}
# What a template may refuse, with the reason that the row's owner reads.
REFUSALS = (
    "the model's chat template leaves out the reasoning_content of message",
    "the model's chat template cannot render these messages: System role not supported",
)


class Conversation:
    """A conversation drawn at random; all its texts differ, so that each can be found in a rendering."""

    def __init__(self, dice: random.Random, words: Sequence[str] = ()) -> None:
        self._dice = dice
        self._words = (*WORDS, *words)
        self._count = 0
        self.messages: list[dict[str, Any]] = []
        self.tools = [{"type": "function", "function": LOOK_UP}] if dice.random() < 0.3 else None
        if dice.random() < 0.4:
            self._add("system")
        for _ in range(dice.randint(1, 4)):
            self._add("user")
            if self.tools and dice.random() < 0.7:
                self._call()
            self._add("assistant", **self._extras())
        self.messages[-1].pop("weight", None)

    def learnt(self) -> list[int]:
        """Return the indices of the answers that count."""
        places = range(len(self.messages))
        return [n for n in places if self.messages[n]["role"] == "assistant" and self.messages[n].get("weight", 1)]

    def _extras(self) -> dict[str, Any]:
        extras: dict[str, Any] = {}
        if self._dice.random() < 0.25:
            extras[self._dice.choice(["thinking", "reasoning_content"])] = self._text()
        if self._dice.random() < 0.2:
            extras["weight"] = 0
        return extras

    def _call(self) -> None:
        self._count += 1
        function = {"name": "look_up", "arguments": json.dumps({"word": self._text()})}
        calls = [{"id": f"call{self._count:05}", "type": "function", "function": function}]
        self.messages.append({"role": "assistant", "content": None, "tool_calls": calls})
        self.messages.append({"role": "tool", "tool_call_id": f"call{self._count:05}", "content": self._text()})

    def _add(self, role: str, **more: Any) -> None:
        self.messages.append({"role": role, "content": self._text(), **more})

    def _text(self) -> str:
        self._count += 1
        return (
            f"t{self._count}t {' '.join(self._dice.choices(self._words, k=self._dice.randint(1, 5)))} e{self._count}e"
        )


@pytest.fixture(scope="module", params=chat_templates.names())
def tokenizer(request: pytest.FixtureRequest) -> Any:
    """A stand-in with one of the templates."""
    return chat_templates.tokenizer(request.param)


@pytest.fixture
def learnt(tokenizer: Any) -> list[tuple[Conversation, list[Encoded]]]:
    """Conversations, and their examples; at least some of them can be expressed."""
    encoder, found = ChatEncoder(tokenizer), []
    for number in range(ROUNDS):
        talk = Conversation(random.Random(number))
        try:
            found.append((talk, encoder.encode(talk.messages, tools=talk.tools)))
        except RowProblem as exc:
            if not str(exc).startswith(REFUSALS):
                raise
    assert len(found) >= ROUNDS // 4
    return found


def runs(example: Encoded) -> list[tuple[int, int]]:
    """Return where the counted tokens of an example begin and end."""
    edges = [n for n in range(1, len(example.counted)) if example.counted[n] != example.counted[n - 1]]
    assert not example.counted[0]
    edges += [len(example.counted)] if example.counted[-1] else []
    return list(zip(edges[::2], edges[1::2], strict=True))


def test_each_answer_of_weight_1_is_learnt_once_with_its_end_and_nothing_else_is(
    learnt: list[tuple[Conversation, list[Encoded]]], tokenizer: Any
) -> None:
    """No text of another turn is in what counts; the last counted token ends an answer in a chat too."""
    ends = {tokenizer.eos_token_id} | Prompts(tokenizer).end_ids
    for talk, examples in learnt:
        said = [
            tokenizer.decode(example.input_ids[a:b])
            for example in examples
            for a, b in runs(example)
            if example.input_ids[b - 1] in ends
        ]
        assert len(said) == len(talk.learnt()) == sum(len(runs(example)) for example in examples)
        for place, text in zip(talk.learnt(), said, strict=True):
            own = talk.messages[place]
            for field in ("content", "thinking", "reasoning_content"):
                assert (own.get(field) or "") in text
            others = [one["content"] for n, one in enumerate(talk.messages) if n != place and one["content"]]
            assert not [one for one in others if one in text]


def test_an_answer_is_learnt_behind_the_prompt_that_a_chat_sends(
    learnt: list[tuple[Conversation, list[Encoded]]], tokenizer: Any
) -> None:
    """Token by token, in every example."""
    for talk, examples in learnt:
        check_prompts(Prompts(tokenizer), talk, examples)


def check_prompts(prompts: Prompts, talk: Conversation, examples: list[Encoded]) -> None:
    """Check that each answer is learnt behind the prompt that a chat sends."""
    starts = [(example, start) for example in examples for start, _ in runs(example)]
    for place, (example, start) in zip(talk.learnt(), starts, strict=True):
        calling = "auto" if prompts.tool_style is ToolStyle.TAGGED else "required"
        tools = read_tools(talk.tools, calling if talk.messages[place].get("tool_calls") else "none")
        asked = prompts.tokens(prompts.prompt(normalise(talk.messages[:place]), tools))
        assert example.input_ids[:start] == asked


def test_special_tokens_in_messages_stay_text(tokenizer: Any) -> None:
    """An example has those of its template and no others, around texts that are whole, and is asked as it is learnt."""
    marks = special_texts(tokenizer)
    ids = {tokenizer.convert_tokens_to_ids(mark) for mark in marks}
    escaping, usual = ChatEncoder(tokenizer, escape_special_tokens=True), ChatEncoder(tokenizer)
    prompts, compared = Prompts(tokenizer, escape_special_tokens=True), 0
    for number in range(ROUNDS // 3):
        hostile = Conversation(random.Random(number), marks)
        harmless = Conversation(random.Random(number), [f"mark{place}" for place in range(len(marks))])
        try:
            wanted = usual.encode(harmless.messages, tools=harmless.tools)
        except RowProblem:
            continue
        assert escaping.encode(harmless.messages, tools=harmless.tools) == wanted
        examples = escaping.encode(hostile.messages, tools=hostile.tools)
        check_prompts(prompts, hostile, examples)
        special = [[token for token in example.input_ids if token in ids] for example in examples]
        assert special == [[token for token in example.input_ids if token in ids] for example in wanted]
        check_texts(tokenizer, hostile, examples)
        compared += 1
    assert compared


def heard(prompts: Prompts, tokenizer: Any, prompt: str, ids: list[int]) -> tuple[str, str]:
    """Return the reasoning and the text that a chat makes of an answer."""
    detokenizer = Detokenizer(tokenizer, str(prompts.reasoning_marks or ""))
    parser = ReasoningParser(prompts.reasoning_marks, prompt)
    parts = [parser.feed(detokenizer.add(token)) for token in ids if token not in prompts.end_ids]
    parts += [parser.feed(detokenizer.finish()), parser.finish()]
    return "".join(reasoning for reasoning, _ in parts), "".join(text for _, text in parts)


def test_a_chat_gives_back_the_reasoning_and_the_text_that_were_learnt(
    learnt: list[tuple[Conversation, list[Encoded]]], tokenizer: Any
) -> None:
    """Each in its field, without the marks; an empty think block is neither."""
    prompts = Prompts(tokenizer)
    for talk, examples in learnt:
        answers = [(example.input_ids, *run) for example in examples for run in runs(example)]
        for place, (ids, start, end) in zip(talk.learnt(), answers, strict=True):
            own = talk.messages[place]
            if tokenizer.decode(ids[start:end]).startswith("<|turn>model"):
                continue  # after a tool's answer, diffusion_gemma has the turn's header there, not in the prompt
            reasoning, text = heard(prompts, tokenizer, tokenizer.decode(ids[:start]), ids[start:end])
            assert reasoning == (own.get("thinking") or own.get("reasoning_content") or "").strip()
            assert text.strip() == own["content"] or own.get("tool_calls")


def test_nothing_that_is_given_is_missing(learnt: list[tuple[Conversation, list[Encoded]]], tokenizer: Any) -> None:
    """Each text of the conversation is in one of its examples, as it is or in JSON."""
    for talk, examples in learnt:
        check_texts(tokenizer, talk, examples)


def check_texts(tokenizer: Any, talk: Conversation, examples: list[Encoded]) -> None:
    """Check that each text of a conversation is in one of its examples."""
    whole = "\n".join(tokenizer.decode(example.input_ids) for example in examples)
    for one in talk.messages:
        texts = [one["content"] or "", *(call["function"]["arguments"] for call in one.get("tool_calls", ()))]
        for text in texts:
            plain = json.loads(text)["word"] if text.startswith("{") else text
            forms = (plain, *(json.dumps(plain, ensure_ascii=way)[1:-1] for way in (True, False)))
            assert any(form in whole for form in forms), (plain, whole)
    assert "look_up" in whole or not any("tool_calls" in one for one in talk.messages)


@pytest.mark.parametrize("options", [{}, {"enable_thinking": False}])
def test_variables_of_the_template_are_the_same_in_training_and_chats(options: dict[str, Any]) -> None:
    """As Qwen3's, which says in the prompt whether the model is to think."""
    tokenizer = chat_templates.tokenizer("qwen3")
    asked = [{"role": "user", "content": "2 + 2?"}]
    [example] = ChatEncoder(tokenizer, options=options).encode([*asked, {"role": "assistant", "content": "4"}])
    [(start, end)] = runs(example)
    prompts = Prompts(tokenizer)
    assert example.input_ids[:start] == prompts.tokens(prompts.prompt(normalise(asked), None, options))
    closed = "" if options else "<think>\n\n</think>\n\n"
    assert tokenizer.decode(example.input_ids[start:end]) == f"{closed}4<|im_end|>"
