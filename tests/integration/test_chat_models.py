"""The parts of the chat process that need torch, on a very small model with random weights, in this process."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from arkor.backend.inference.constraints import Constraint
from arkor.backend.inference.request import ChatRequest, read_request
from arkor.backend.training_worker.examples.chat import ChatEncoder
from arkor.client.unpack import unpack
from arkor.serving.refusal import Refusal
from tests.conftest import MODEL
from tests.support.adapters import write_adapter_tar
from tests.support.answer_rows import FakeRow, run

pytestmark = [
    pytest.mark.training,
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.filterwarnings("default"),  # the libraries' own warnings
]

PROMPTS = [list(range(100, 100 + length)) for length in (5, 40, 3, 17, 33, 9)]
# As the models of the Hermes family write it, without what does not matter here.
HERMES = (
    "{% if tools %}{% for tool in tools %}{{ tool | tojson }}{% endfor %}<tool_call>{% endif %}"
    "{% for message in messages %}{{ message.role }}: {{ message.content }}"
    "{% for call in message.tool_calls or [] %}<tool_call>{{ call.function | tojson }}</tool_call>{% endfor %}"
    "{% endfor %}{% if add_generation_prompt %}assistant: {% endif %}"
)
WEATHER = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}
CALL = '{"name": "weather", "arguments": {}}'


@pytest.fixture(scope="module")
def folder(model_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of two layers, with the real model's tokenizer."""
    import torch
    from transformers import AutoModelForCausalLM, LlamaConfig

    real = model_home / ".arkor" / "models" / MODEL
    folder = tmp_path_factory.mktemp("tiny")
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copy(real / name, folder)
    shape = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 4, "num_key_value_heads": 2}
    tokens = {"vocab_size": 49152, "eos_token_id": 2, "bos_token_id": 1, "pad_token_id": 2}
    torch.manual_seed(0)
    config = LlamaConfig(**shape, **tokens, head_dim=8, num_hidden_layers=2, max_position_embeddings=256)
    model = AutoModelForCausalLM.from_config(config)
    for weights in model.parameters():
        torch.nn.init.normal_(weights, std=0.3)
    model.save_pretrained(folder)
    return folder


@pytest.fixture
def load(folder: Path) -> Callable[[], Any]:
    """Load the model anew, in float32: then a batch rounds as a single row does."""

    def load() -> Any:
        from arkor.backend.inference_worker.transformers_engine.base import LoadedBase

        base = LoadedBase(str(folder))
        base.model.module.float()
        return base

    return load


@pytest.fixture
def adapter(folder: Path, tmp_path: Path) -> Callable[[int], str]:
    """Make an adapter, and return its folder."""

    def make(seed: int) -> str:
        write_adapter_tar(tmp_path / "adapter.tar", folder, seed=seed, scale=0.8)
        with (tmp_path / "adapter.tar").open("rb") as archive:
            unpack(archive, tmp_path / str(seed))
        return str(tmp_path / str(seed))

    return make


def generated(base: Any, row: FakeRow) -> list[int]:
    """What transformers makes of a prompt, alone."""
    import torch

    base.adapters.use([row.adapter])
    prompt = torch.tensor([row.prompt])
    made = base.model.module.generate(
        prompt,
        attention_mask=torch.ones_like(prompt),
        do_sample=False,
        max_new_tokens=row.count,
        eos_token_id=[],
        pad_token_id=2,
    )
    ids: list[int] = made[0, len(row.prompt) :].tolist()
    return ids


@pytest.mark.parametrize("how", [{"use_dora": True}, {"modules_to_save": ["lm_head", "embed_tokens"]}])
def test_an_adapter_that_cannot_be_mixed_answers_beside_others(
    load: Callable[[], Any], adapter: Callable[[int], str], folder: Path, tmp_path: Path, how: dict[str, Any]
) -> None:
    """In calls of its own; the others go on as before, and it says what PEFT's own model says."""
    import torch
    from peft import LoraConfig, PeftModel, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    shape = LoraConfig(r=4, init_lora_weights=False, target_modules=["q_proj", "down_proj"], **how)
    made = get_peft_model(AutoModelForCausalLM.from_pretrained(folder), shape)
    for name, weight in made.named_parameters():
        if "modules_to_save" in name:
            weight.data += 0.1 * torch.randn_like(weight)
    made.save_pretrained(tmp_path / "lone")
    base, fresh, folder_of_plain = load(), load(), adapter(1)
    whole = PeftModel.from_pretrained(fresh.model.module, str(tmp_path / "lone"))
    lone = base.adapters.load("lone", str(tmp_path / "lone"), ())  # the first of all: PEFT begins with it switched on
    plain = base.adapters.load("plain", folder_of_plain, ())
    assert [base.adapters.is_lone(name) for name in (lone, plain, None)] == [True, False, False]
    names = [[None, plain, lone][place % 3] for place in range(len(PROMPTS))]
    rows = [
        FakeRow(prompt, 8, adapter=name, alone=base.adapters.is_lone(name))
        for prompt, name in zip(PROMPTS, names, strict=True)
    ]
    run(base, rows)
    alone = load()
    others = {None: None, plain: alone.adapters.load("plain", folder_of_plain, ())}
    for row in rows:
        if row.adapter != lone:
            assert row.made == generated(alone, FakeRow(row.prompt, len(row.made), adapter=others[row.adapter]))
    for row in rows[2::3]:
        logits = whole(torch.tensor([row.prompt + row.made[:-1]])).logits[0, len(row.prompt) - 1 :]
        assert logits.argmax(-1).tolist() == row.made


def test_a_token_is_chosen() -> None:
    """The likeliest, one of the likeliest, or one of the allowed; repeatable with a seed."""
    import torch

    from arkor.backend.inference_worker.sampling import Sampler

    logits = torch.tensor([1.0, 3.0, 2.0, -1.0])
    assert Sampler(temperature=0, top_p=1).pick(logits) == 1
    assert Sampler(temperature=0, top_p=1).pick(logits, torch.tensor([True, False, True, True])) == 2
    assert {Sampler(temperature=1e-300, top_p=1).pick(logits) for _ in range(20)} == {1}
    assert {Sampler(temperature=5, top_p=0.3).pick(logits) for _ in range(50)} == {1}
    assert {Sampler(temperature=9, top_p=0.6).pick(logits) for _ in range(200)} == {1, 2, 0}
    assert {Sampler(temperature=9, top_p=1).pick(logits) for _ in range(200)} == {0, 1, 2, 3}
    seeded = [Sampler(temperature=9, top_p=1, generator=torch.Generator().manual_seed(4)) for _ in range(2)]
    assert [seeded[0].pick(logits) for _ in range(9)] == [seeded[1].pick(logits) for _ in range(9)]
    with pytest.raises(Refusal, match="not a number"):
        Sampler(temperature=1, top_p=1).pick(torch.tensor([1.0, float("nan")]))


def ask(**fields: Any) -> ChatRequest:
    return read_request({"messages": [{"role": "user", "content": "Hi"}], **fields})


def rendered(prompts: Any, request: ChatRequest) -> str:
    return str(prompts.prompt(request.messages, request.tools))


def test_a_template_that_shows_tools_is_given_them(load: Callable[[], Any]) -> None:
    """And where calls stand between marks, the model may decide by itself."""
    from arkor.backend.inference.prompts import Prompts, ToolStyle

    tokenizer = load().tokenizer
    assert Prompts(tokenizer).tool_style is ToolStyle.ABSENT
    tokenizer.chat_template = HERMES
    prompts = Prompts(tokenizer)
    assert prompts.tool_style is ToolStyle.TAGGED
    call = {"id": "c", "function": {"name": "weather", "arguments": '{"x": "y"}'}}
    messages = [{"role": "assistant", "tool_calls": [call]}, {"role": "tool", "content": "22", "tool_call_id": "c"}]
    text = rendered(prompts, ask(messages=messages, tools=[WEATHER]))
    assert text.startswith('{"type": "function", "function": {"name": "weather", "description": ""')
    assert text.endswith('<tool_call>{"name": "weather", "arguments": {"x": "y"}}</tool_call>tool: 22assistant: ')
    tokenizer.chat_template = HERMES.replace("<tool_call>", "<call>")
    prompts = Prompts(tokenizer)
    assert prompts.tool_style is ToolStyle.SHOWN
    with pytest.raises(Refusal, match="tool_calling_not_configured"):
        rendered(prompts, ask(tools=[WEATHER]))


def written(base: Any, request: ChatRequest, text: str) -> list[dict[str, Any]]:
    """Return what is said of an answer if the model writes this text, a token at a time, and ends."""
    import torch

    from arkor.backend.inference_worker.scheduler import Question, Scheduler, _Lane

    said: list[dict[str, Any]] = []
    scheduler = Scheduler(lambda **fields: said.append({name: value for name, value in fields.items() if name != "id"}))
    lane = _Lane(base, base.new_batch())
    scheduler._begin_choices(Question(1, "", None, request), request, lane)
    [row] = lane.batch.rows
    for token in [*base.prompts.tokens(text), base.tokenizer.eos_token_id]:
        if row.done:
            break
        logits = torch.full((49152,), -1000.0)
        logits[token] = 0.0
        row.advance(logits)
    return said


def pieces(said: list[dict[str, Any]], kind: str) -> str:
    """Return the text of one kind."""
    return "".join(one[kind] for one in said if kind in one)


def use_template(base: Any, template: str) -> None:
    """Give a model another chat template."""
    from arkor.backend.inference.prompts import Prompts

    base.tokenizer.chat_template = template
    base.prompts = Prompts(base.tokenizer)


@pytest.mark.parametrize("template", [HERMES, HERMES.replace("<tool_call>", "<call>")], ids=["tagged", "shown"])
def test_tools_that_must_not_be_called_are_shown_and_the_answer_is_text(load: Callable[[], Any], template: str) -> None:
    """Also one that looks like a call."""
    base, request = load(), ask(temperature=0, tools=[WEATHER], toolChoice="none")
    use_template(base, template)
    assert '"name": "weather"' in rendered(base.prompts, request)
    text = f"<tool_call>{CALL}</tool_call>"
    said = written(base, request, text)
    assert pieces(said, "delta") == text
    assert said[-1]["done"]["finishReason"] == "stop"


THINKING = HERMES.replace("assistant: ", "assistant: <think>\n")


@pytest.mark.parametrize(
    ("answer", "reasoning", "text", "calls"),
    [
        ("why <b>\n</think>\n\nso", "why <b>", "so", []),
        ("\n</think>\n\nso", "", "so", []),
        (f"why <tool_call>?</think>\n<tool_call>{CALL}</tool_call>", "why <tool_call>?", "", ["weather"]),
        ("why", "why", "", []),
    ],
)
def test_reasoning_is_told_apart_from_its_answer(
    load: Callable[[], Any], answer: str, reasoning: str, text: str, calls: list[str]
) -> None:
    """Its marks are several tokens here; a call within the reasoning is none."""
    base = load()
    use_template(base, THINKING)
    said = written(base, ask(tools=[WEATHER]), answer)
    assert (pieces(said, "reasoning"), pieces(said, "delta")) == (reasoning, text)
    assert [call["function"]["name"] for one in said for call in one.get("toolCalls", [])] == calls


def test_a_model_without_marks_has_no_reasoning(load: Callable[[], Any]) -> None:
    """The same text is its answer."""
    said = written(load(), ask(), "<think>why</think>so")
    assert (pieces(said, "reasoning"), pieces(said, "delta")) == ("", "<think>why</think>so")


def test_reasoning_may_be_cut_off(load: Callable[[], Any]) -> None:
    """By the limit of tokens."""
    base = load()
    use_template(base, THINKING)
    said = written(base, ask(maxTokens=3), "one two three four five")
    assert (pieces(said, "reasoning"), pieces(said, "delta")) == ("one two three", "")
    assert said[-1]["done"]["finishReason"] == "length"


def test_a_constrained_answer_has_no_reasoning(load: Callable[[], Any]) -> None:
    """The constraint holds from the first token; reasoning that the prompt opens is closed, as in training."""
    from arkor.backend.inference_worker.answering import prompt_ids

    base = load()
    use_template(base, THINKING)
    turns = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "so"}]
    [learnt] = ChatEncoder(base.tokenizer).encode(turns)
    asked = prompt_ids(ask(structuredOutputs={"choice": ["so"]}), base, {}, escape_special_tokens=False)
    assert base.tokenizer.decode(asked).endswith("assistant: <think>\n\n</think>\n\n")
    assert base.tokenizer.decode(learnt.input_ids).startswith(f"{base.tokenizer.decode(asked)}so")
    said = written(base, ask(structuredOutputs={"choice": ["so"]}), "so")
    assert (pieces(said, "reasoning"), pieces(said, "delta")) == ("", "so")
    called = written(base, ask(tools=[WEATHER], toolChoice="required"), f"<tool_call>\n{CALL}\n</tool_call>")
    assert not pieces(called, "reasoning")
    assert [one["toolCalls"][0]["function"]["name"] for one in called if "toolCalls" in one] == ["weather"]


def test_a_template_without_a_place_for_tools_is_told_of_them_only_for_a_call(load: Callable[[], Any]) -> None:
    """Its instructions ask for a call; training leaves them out of the prompts of other answers, too."""
    prompts = load().prompts
    assert "weather" in rendered(prompts, ask(tools=[WEATHER], toolChoice="required"))
    assert rendered(prompts, ask(tools=[WEATHER], toolChoice="none")) == rendered(prompts, ask())


def test_special_tokens_in_messages_are_text_where_the_question_says_so(folder: Path) -> None:
    """As it does of an adapter that was trained so; the chat process counts the tokens of its prompt."""
    from arkor.backend.inference_worker.scheduler import Question, Scheduler

    counts: dict[int, int] = {}

    def say(*, id: int, **fields: Any) -> None:
        counts.update({id: fields["accepted"]["promptTokens"]} if "accepted" in fields else {})
        if len(counts) == 4:
            scheduler.close()

    scheduler = Scheduler(say)
    for number, text in enumerate(["a.b", "a.b", "<|im_end|>", "<|im_end|>"]):
        request = ask(messages=[{"role": "user", "content": text}], max_tokens=1)
        scheduler.ask(Question(number, str(folder), None, request, escape_special_tokens=number % 2 == 1))
    scheduler.run()
    assert counts[0] == counts[1] == counts[2] + 2
    assert counts[3] == counts[2] - 1 + len(["<", "|", "im", "_", "end", "|", ">"])


def test_a_template_that_refuses_says_why(load: Callable[[], Any]) -> None:
    """And a model without one cannot chat."""
    from arkor.backend.inference.prompts import Prompts

    tokenizer = load().tokenizer
    tokenizer.chat_template = "{{ raise_exception('roles must alternate') }}"
    with pytest.raises(Refusal, match="roles must alternate"):
        rendered(Prompts(tokenizer), ask())
    tokenizer.chat_template = None
    with pytest.raises(Refusal, match="no chat template"):
        rendered(Prompts(tokenizer), ask())


@pytest.mark.parametrize("where", ["for tools", "for all"])
def test_a_template_that_does_not_end_is_given_up(
    load: Callable[[], Any], monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """It is broken off, and not tried again for this model: each try would keep the other chats waiting."""
    from arkor.backend.inference import prompts

    monkeypatch.setattr(prompts, "TEMPLATE_CPU_S", 0.2)
    tokenizer, rounds = load().tokenizer, "{% for i in range(99999) %}" * 2 + "{% endfor %}" * 2
    tokenizer.chat_template = rounds if where == "for all" else "{% if tools %}" + rounds + "{% endif %}x"
    endless = prompts.Prompts(tokenizer)
    assert endless.tool_style is prompts.ToolStyle.ABSENT
    tokenizer.chat_template = "x"
    with pytest.raises(Refusal, match="did not end within") as caught:
        rendered(endless, ask())
    assert caught.value.status == 400
    assert rendered(prompts.Prompts(tokenizer), ask()) == "x"


def test_a_prompt_is_measured_before_it_is_split_into_tokens(load: Callable[[], Any]) -> None:
    """Sixteen characters a token of the context are taken, whatever the template adds; a million at most."""
    from arkor.backend.inference.prompts import Prompts

    tokenizer = load().tokenizer
    tokenizer.chat_template = "{{ messages[0].content * 10 }}"
    text = [{"role": "user", "content": "x" * 16}]
    assert rendered(Prompts(tokenizer, context=10), ask(messages=text)) == "x" * 160
    with pytest.raises(Refusal, match="has 160 characters, and this model takes at most 144"):
        rendered(Prompts(tokenizer, context=9), ask(messages=text))
    with pytest.raises(Refusal, match="takes at most 1000000"):
        rendered(Prompts(tokenizer), ask(messages=[{"role": "user", "content": "x" * 200_000}]))


@pytest.mark.parametrize(
    ("constraint", "reason"),
    [
        (Constraint("regex", "((("), "The regex constraint cannot be enforced: at 1(8): invalid regex"),
        (Constraint("grammar", "start: (\n foo"), "The grammar constraint cannot be enforced: "),
        (Constraint("json", {"type": "object", "minProperties": "x"}), "The json constraint cannot be enforced: "),
    ],
)
def test_a_constraint_that_cannot_be_enforced_says_why_in_a_line(
    load: Callable[[], Any], constraint: Constraint, reason: str
) -> None:
    """Without the library's drawings and backtraces."""
    with pytest.raises(Refusal) as caught:
        load().grammars.for_constraint(constraint)
    assert caught.value.error.startswith(reason)
    assert "unclosed group" in caught.value.error or constraint.kind != "regex"
    assert len(caught.value.error.splitlines()) == 1


@pytest.mark.parametrize(
    ("constraint", "good", "bad"),
    [
        (Constraint("regex", r"[\d.]+ \w"), ["1.5 a"], ["1.5 é", "\N{SEGMENTED DIGIT EIGHT} a", "1 -"]),
        (Constraint("choice", ["a b", 'é"\\']), ["a b", 'é"\\'], ["a", "b"]),
        (Constraint("json_object", True), ['{"a": [1, {}]}', '{\n  "a": 1\n}'], ["[]", '{"a":  1}', " {}"]),
        (Constraint("json", True), ["[]", '"x"', "{}"], ["x"]),
        (Constraint("grammar", 'root ::= "a" [0-9]'), ["a1"], ["aa"]),
    ],
)
def test_a_constraint_allows_what_it_says(
    load: Callable[[], Any], constraint: Constraint, good: list[str], bad: list[str]
) -> None:
    """Token by token, as the masks say."""
    base = load()

    def allows(text: str) -> bool:
        matcher = base.grammars.for_constraint(constraint)
        for token in base.tokenizer(text, add_special_tokens=False)["input_ids"]:
            if not matcher.allowed()[token]:
                return False
            if matcher.take(token):
                return True
        return bool(matcher.allowed()[2])

    assert [allows(text) for text in good] == [True] * len(good)
    assert [allows(text) for text in bad] == [False] * len(bad)


def test_a_call_between_marks_can_be_enforced(load: Callable[[], Any]) -> None:
    """What is allowed is what the output of such models is read as."""
    from arkor.backend.inference_worker.outputs import TaggedOutput

    base = load()
    tools = ask(tools=[WEATHER], toolChoice="required").tools
    assert tools is not None
    text = '<tool_call>\n{"name": "weather", "arguments": {}}\n</tool_call>'
    matcher = base.grammars.for_call(tools, tagged=True)
    ends = [matcher.take(token) for token in base.tokenizer(text, add_special_tokens=False)["input_ids"]]
    assert ends[-1]
    assert not any(ends[:-1])
    output = TaggedOutput()
    assert output.feed(text) == ""
    assert output.finish()[1][0]["function"] == {"name": "weather", "arguments": "{}"}


def test_a_prompt_that_fills_the_context_is_refused(load: Callable[[], Any]) -> None:
    """With the figures."""
    base = load()
    base.check_length(255)
    with pytest.raises(Refusal, match="has 256 tokens, and the model's context is 256"):
        base.check_length(256)
