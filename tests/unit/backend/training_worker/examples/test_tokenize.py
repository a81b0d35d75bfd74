"""Which tokens the loss counts: exactly what the assistant says, its end token included."""

from __future__ import annotations

from typing import Any

import pytest

from arkor.backend.inference.prompts import Prompts
from arkor.backend.training_worker.examples.chat import Encoded, RowProblem
from arkor.backend.training_worker.examples.tokenize import IGNORED, FittedRow, RowEncoder, fit, tokenise
from arkor.backend.training_worker.rows.spool import NumberedRow, Row
from arkor.errors import ConfigError, DatasetError
from arkor.protocol.config import JobConfig
from tests.support.characters import END, Tokenizer, plain


def config(**settings: Any) -> JobConfig:
    """Return a job's settings."""
    return JobConfig(model="m", dataset_source={"type": "dataset", "id": "0" * 64}, **settings)


def shown(template: Any, kind: str, row: Row, **settings: Any) -> str:
    """Return the text of a row's examples, with what is counted in upper case and marked by ``[]``."""
    tokenizer = Tokenizer(template)
    examples = RowEncoder(tokenizer, kind, config(**settings)).encode(row)
    return " | ".join(_marked(tokenizer, example) for example in examples)


def _marked(tokenizer: Tokenizer, example: Encoded) -> str:
    parts, inside = [], False
    for token, counted in zip(example.input_ids, example.counted, strict=True):
        if counted != inside:
            parts.append("[" if counted else "]")
            inside = counted
        parts.append(tokenizer.decode([token]))
    return "".join(parts) + ("]" if inside else "")


def talk(*contents: Any) -> list[dict[str, Any]]:
    return [{"role": ("user", "assistant")[place % 2], "content": text} for place, text in enumerate(contents)]


def test_every_assistant_turn_counts_with_its_end_token() -> None:
    """Not the header before it, nor the line break after it, nor what follows the last answer."""
    assert shown(plain, "chatml", {"messages": talk("q", "A", "r", "B", "bye")}) == "<u:q>\n<a:[A>]\n<u:r>\n<a:[B>]\n"


def test_content_may_be_a_list_of_parts() -> None:
    """Templates know text only."""
    messages = talk([{"type": "text", "text": "q"}], "A")
    assert shown(plain, "chatml", {"messages": messages}) == "<u:q>\n<a:[A>]\n"


def test_all_of_it_counts_where_the_config_says_so() -> None:
    """``train_on_responses_only=False``."""
    assert shown(plain, "chatml", {"messages": talk("q", "A")}, train_on_responses_only=False) == "[<u:q>\n<a:A>\n]"


def test_a_template_that_rewrites_earlier_turns_gives_an_example_for_each_answer() -> None:
    """As some do that drop earlier thoughts: each is learnt behind the prompt that a chat would send."""

    def forgetful(turns: list[dict[str, Any]], tools: Any, prompt: bool) -> str:
        kept = [turn | {"content": "…"} if turn["role"] == "assistant" else turn for turn in turns[:-1]]
        return plain([*kept, *turns[-1:]], tools, prompt)

    assert shown(forgetful, "chatml", {"messages": talk("q", "A", "r", "B")}) == (
        "<u:q>\n<a:[A>]\n | <u:q>\n<a:…>\n<u:r>\n<a:[B>]\n"
    )


def test_a_template_without_an_end_token_gets_one() -> None:
    """Else the model would learn never to stop."""

    def endless(turns: list[dict[str, Any]], _tools: Any, prompt: bool) -> str:
        return "".join(f"{turn['role'][0]}:{turn['content']}\n" for turn in turns) + ("a:" if prompt else "")

    assert shown(endless, "chatml", {"messages": talk("q", "A")}) == "u:q\na:[A\n>]"


def test_an_answer_that_cannot_be_told_apart_is_a_problem() -> None:
    """The generation prompt holds what the finished turn does not."""

    def thinking(turns: list[dict[str, Any]], tools: Any, prompt: bool) -> str:
        return plain(turns, tools, prompt) + ("THINK" if prompt else "")

    with pytest.raises(RowProblem, match="train_on_responses_only=False"):
        shown(thinking, "chatml", {"messages": talk("q", "A")})


def test_a_part_that_may_be_lost_is_left_out_and_counted() -> None:
    """Each row names the fields; another field still refuses it."""
    row: Row = {"messages": [*talk("q"), {"role": "assistant", "content": "A", "thinking": "HM"}]}
    allowed = config(allow_dropped_fields=["reasoning_content"])
    [example] = RowEncoder(Tokenizer(plain), "chatml", allowed).encode(row)
    assert _marked(Tokenizer(), example) == "<u:q>\n<a:[A>]\n"
    assert example.lost == frozenset({"reasoning_content"})
    row["tools"] = [{"type": "function", "function": {"name": "look_up"}}]
    with pytest.raises(RowProblem, match="leaves out the tools; to train without, set allow_dropped_fields"):
        shown(plain, "chatml", row, allow_dropped_fields=["reasoning_content"])


def unseen(template: Any, *messages: dict[str, Any], **columns: Any) -> tuple[str, ...]:
    """Return the keys of a conversation that the model does not see."""
    row = NumberedRow(1, {"messages": list(messages)}, tuple(columns))
    [encoded] = tokenise("rows", [row], RowEncoder(Tokenizer(template), "chatml", config()))
    return encoded.unseen


def test_keys_of_messages_that_no_template_is_given_are_named() -> None:
    """Once, behind the columns; not those that are read, nor those that say nothing."""
    asked = {"role": "user", "content": "q", "name": "Ann", "weight": 0, "reasoning_content": "R"}
    answer: dict[str, Any] = {
        "role": "assistant",
        "content": "A",
        "name": "Bot",
        "refusal": None,
        "audio": {},
        "id": 0,
        "weight": 1,
    }
    named = ("id", "messages.name", "messages.reasoning_content", "messages.id")
    assert unseen(plain, asked, answer, id=5) == named
    assert unseen(plain, *talk("q", "A")) == ()


def test_the_name_of_a_tool_is_compared_with_what_the_template_shows() -> None:
    """It is given that name, and few show it."""
    call = {"role": "assistant", "tool_calls": [{"id": "c1", "function": {"name": "look_up", "arguments": {}}}]}
    shown_name = {"role": "tool", "tool_call_id": "c1", "name": "look_up", "content": "r"}
    messages = (*talk("q"), call, shown_name, {"role": "assistant", "content": "A"})
    assert unseen(plain, *messages) == ()
    assert unseen(plain, *messages[:2], shown_name | {"name": "other"}, messages[3]) == ()  # "Result of other: "

    def curt(turns: list[dict[str, Any]], tools: Any, prompt: bool) -> str:
        said = [turn | {"content": f"{turn['content']}{turn.get('tool_calls', '')}"} for turn in turns]
        return f"{tools or ''}{plain(said, tools, prompt)}"

    assert unseen(curt, *messages[:2], shown_name | {"name": "other"}, messages[3]) == ("messages.name",)


def test_special_tokens_in_the_text_of_messages_are_noticed() -> None:
    """Also in calls, their answers and tools; not in a text that is already rendered."""
    call = {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": {"x": ["a>"]}}}]}
    good = talk("q", "A")
    tools = [{"type": "function", "function": {"name": "f", "description": "<"}}]
    for messages in (talk("<q", "A"), talk("q", "A>"), [*talk("q"), call]):
        [example] = RowEncoder(Tokenizer(plain), "chatml", config()).encode({"messages": messages})
        assert example.has_special_text
    [example] = RowEncoder(Tokenizer(plain), "chatml", config(train_on_responses_only=False)).encode(
        {"messages": good, "tools": tools}
    )
    assert example.has_special_text
    for kind, row in (("chatml", {"messages": good}), ("text", {"text": "<u:q>"})):
        [example] = RowEncoder(Tokenizer(plain), kind, config()).encode(row)
        assert not example.has_special_text


def test_special_tokens_are_not_escaped_where_that_cannot_be_done() -> None:
    """The model has no chat template, or a tokenizer of its own kind."""
    for template, says in ((None, "needs the chat template of the model"), (plain, "of the library tokenizers")):
        with pytest.raises(ConfigError, match=says):
            RowEncoder(Tokenizer(template), "chatml", config(escape_special_tokens=True))


def test_the_template_gets_the_variables_of_the_job() -> None:
    """Prompts and answers alike."""

    def polite(turns: list[dict[str, Any]], tools: Any, prompt: bool, *, please: str = "") -> str:
        return please + plain(turns, tools, prompt)

    row = {"messages": talk("q", "A")}
    assert shown(polite, "chatml", row, chat_template_kwargs={"please": "p:"}) == "p:<u:q>\n<a:[A>]\n"


def test_a_call_that_the_template_has_no_place_for_is_the_text_of_its_turn() -> None:
    """As a chat makes the model write it."""
    call = {"role": "assistant", "tool_calls": [{"function": {"name": "look_up", "arguments": {"A": 1}}}]}
    shown_call = '<a:[{"name": "look_up", "arguments": {"A": 1}}>]\n'
    assert shown(plain, "chatml", {"messages": [*talk("q"), call]}) == f"<u:q>\n{shown_call}"


def test_what_a_template_leaves_out_is_a_problem() -> None:
    """It would be trained as if it were not there."""

    def curt(turns: list[dict[str, Any]], tools: Any, prompt: bool) -> str:
        return plain([turn | {"content": turn["content"][:9]} for turn in turns], tools, prompt)

    with pytest.raises(RowProblem, match="leaves out the content of message 1 and the content of message 2"):
        shown(curt, "chatml", {"messages": talk("a long question", "A LONG ANSWER")})
    thinking = {"role": "assistant", "content": "A", "thinking": "HM"}
    with pytest.raises(RowProblem, match="leaves out the reasoning_content of message 2"):
        shown(plain, "chatml", {"messages": [*talk("q"), thinking]})
    with pytest.raises(RowProblem, match="leaves out the tools"):
        shown(plain, "chatml", {"messages": talk("q", "A"), "tools": '[{"name": "look_up"}]'})


def test_a_template_that_raises_is_a_problem_of_the_row() -> None:
    """Whatever it raises."""

    def picky(turns: list[dict[str, Any]], _tools: Any, _prompt: bool) -> str:
        raise RuntimeError("roles must alternate\nsomewhere")

    with pytest.raises(RowProblem, match=r"roles must alternate$"):
        shown(picky, "chatml", {"messages": talk("q", "A")})


def test_a_model_without_template_cannot_take_conversations() -> None:
    """The text says why, and what to do instead."""
    advice = "messages need the chat template, and {}: give prompt and completion as texts instead"
    with pytest.raises(RowProblem, match=advice.format("the model has no chat template")):
        shown(None, "chatml", {"messages": talk("q", "A")})
    with pytest.raises(RowProblem, match=advice.format("apply_chat_template is False")):
        shown(plain, "chatml", {"messages": talk("q", "A")}, apply_chat_template=False)


def test_prompt_and_completion() -> None:
    """As text: what follows the prompt, and an end token; as messages: only the completion's answers."""
    assert shown(None, "prompt_completion", {"prompt": "ab", "completion": "C"}) == "ab[C>]"
    assert shown(plain, "prompt_completion", {"prompt": "ab", "completion": "C"}) == "<u:ab>\n<a:[C>]\n"
    row = {"prompt": talk("q", "A", "r"), "completion": [{"role": "assistant", "content": "B"}]}
    assert shown(plain, "prompt_completion", row) == "<u:q>\n<a:A>\n<u:r>\n<a:[B>]\n"


def test_alpaca_uses_the_template_where_there_is_one() -> None:
    """And its own headings where there is none."""
    row = {"instruction": "do", "input": "x", "output": "Y"}
    assert shown(plain, "alpaca", row) == "<u:do\n\nx>\n<a:[Y>]\n"
    assert shown(None, "alpaca", row) == "### Instruction:\ndo\n\n### Input:\nx\n\n### Response:\n[Y>]"


def test_texts_stay_texts_where_the_job_says_so() -> None:
    """``apply_chat_template=False``: the completion follows the prompt as it is, with its leading blank."""
    row = {"prompt": "ab", "completion": " C"}
    assert shown(plain, "prompt_completion", row, apply_chat_template=False) == "ab[ C>]"
    alpaca = shown(plain, "alpaca", {"instruction": "do", "output": "Y"}, apply_chat_template=False)
    assert alpaca == "### Instruction:\ndo\n\n### Response:\n[Y>]"


@pytest.mark.parametrize(
    ("template", "kind", "settings", "form"),
    [
        (plain, "prompt_completion", {}, "chat"),
        (plain, "chatml", {"apply_chat_template": True}, "chat"),
        (plain, "prompt_completion", {"apply_chat_template": False}, "raw"),
        (plain, "text", {}, "raw"),
        (None, "alpaca", {}, "raw"),
    ],
)
def test_the_form_in_which_rows_are_trained_is_known(
    template: Any, kind: str, settings: dict[str, Any], form: str
) -> None:
    """The adapter is asked in the same."""
    assert RowEncoder(Tokenizer(template), kind, config(**settings)).prompt_form == form


def test_a_raw_prompt_has_the_tokens_that_training_put_before_the_completion() -> None:
    """Also with a tokenizer that begins and ends every text with a token."""

    class Framing(Tokenizer):
        def __call__(self, text: str, add_special_tokens: bool = True) -> dict[str, list[int]]:
            ids = super().__call__(text)["input_ids"]
            return {"input_ids": [0, *ids, END] if add_special_tokens else ids}

    [example] = RowEncoder(Framing(), "prompt_completion", config()).encode({"prompt": "ab", "completion": "C"})
    asked = Prompts(Framing()).raw_tokens("ab")
    assert asked == [0, ord("a"), ord("b")]
    assert example.input_ids == [*asked, ord("C"), END]


def test_text_counts_whole_with_an_end_token() -> None:
    """There is no response in it."""
    assert shown(None, "text", {"text": "abc"}) == "[abc>]"


def test_a_text_gets_no_second_end() -> None:
    """Nor a blank behind the one that it brings along takes that away."""
    assert shown(None, "text", {"text": "abc>"}) == "[abc>]"
    assert shown(None, "text", {"text": "abc> \n"}) == "[abc> \n]"


def fitted(row: Row, kind: str, *, truncate: bool) -> FittedRow:
    """Return a row, brought to a length of 8."""
    [encoded] = tokenise("rows", [NumberedRow(7, row)], RowEncoder(Tokenizer(), kind, config()))
    return fit(encoded, 8, truncate=truncate)


def test_a_long_row_is_cut_or_dropped() -> None:
    """A cut row has no end to learn; the first token is never predicted, so never counted."""
    short = fitted({"text": "xxx"}, "text", truncate=True)
    assert short.examples[0].labels == [IGNORED, ord("x"), ord("x"), END]
    assert (short.is_truncated, short.learnt, short.has_end) == (False, 1, True)
    cut = fitted({"text": "x" * 8}, "text", truncate=True)
    assert cut.examples[0].input_ids == [ord("x")] * 8
    assert (cut.number, cut.is_truncated, cut.answers, cut.learnt, cut.has_end) == (7, True, 1, 0, False)
    assert fitted({"text": "x" * 8}, "text", truncate=False) == FittedRow(7, [], False, 1, 0, False)


def test_a_row_in_which_nothing_is_left_to_learn_is_dropped() -> None:
    """Its prompt alone is too long."""
    row = {"prompt": "p" * 10, "completion": "c"}
    assert fitted(row, "prompt_completion", truncate=True) == FittedRow(7, [], False, 1, 0, False)


def test_a_row_that_cannot_be_tokenised_is_named() -> None:
    """With its number in the source."""
    with pytest.raises(DatasetError) as caught:
        list(
            tokenise(
                "rows", [NumberedRow(17, {"messages": talk("q", "A")})], RowEncoder(Tokenizer(), "chatml", config())
            )
        )
    assert caught.value.problems[0][0] == 17
