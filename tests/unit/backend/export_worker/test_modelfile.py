"""Ollama's form of a chat template: what it renders, and what it cannot say."""

from __future__ import annotations

import re
from typing import Any

import pytest

from arkor.backend.export_worker.modelfile import ChatForm, find_form, modelfile
from arkor.backend.inference.prompts import Prompts
from arkor.errors import ArkorError
from tests.support import chat_templates

TALK = [
    {"role": "user", "content": "How do I mend a lamp?"},
    {"role": "assistant", "content": "Unplug it."},
    {"role": "user", "content": "And then?"},
]
SYSTEM = {"role": "system", "content": "Answer in one line."}
MARK = re.compile(r'{{ (range \.Messages|if eq \.Role "(\w+)"|else if eq \.Role "(\w+)"|end|\.Content|"{{") }}')


def by_ollama(text: str, messages: list[dict[str, str]]) -> str:
    """Return what Ollama makes of a Modelfile's template: of the part of Go's templates that it is written in."""
    [template] = re.findall(r'TEMPLATE """(.*?)"""', text, re.DOTALL)
    found = re.findall(r'SYSTEM """(.*?)"""', text, re.DOTALL)
    if found and messages[0]["role"] != "system":
        messages = [{"role": "system", "content": found[0]}, *messages]
    head, _, rest = template.partition("{{ range .Messages }}")
    turns, _, tail = rest.rpartition("{{ end }}")
    said = [head]
    for message in messages:
        is_shown = False
        at = 0
        for mark in MARK.finditer(turns):
            if is_shown:
                said.append(turns[at : mark.start()])
            at = mark.end()
            if mark[1] == ".Content" and is_shown:
                said.append(message["content"])
            elif mark[1] == '"{{"' and is_shown:
                said.append("{{")
            elif mark[2] or mark[3] or mark[1] == "end":
                is_shown = message["role"] in {mark[2], mark[3]}
    return "".join([*said, tail]).replace('{{ "{{" }}', "{{")


@pytest.mark.parametrize("name", chat_templates.names())
def test_ollama_asks_as_the_template_does(name: str) -> None:
    """With and without a system message, if the template knows one."""
    prompts = Prompts(chat_templates.tokenizer(name))

    def render(messages: list[dict[str, str]]) -> str:
        return prompts.prompt(messages)

    text = modelfile("model.gguf", find_form(render), ["<end>"])
    conversations = [TALK[:1], TALK]
    if "system" in re.findall(r'eq \.Role "(\w+)"', text):
        conversations += [[SYSTEM, *TALK], [SYSTEM, *TALK[:1]]]
    for conversation in conversations:
        assert by_ollama(text, conversation) == render(conversation)


def test_the_token_that_llama_cpp_puts_first_is_left_out() -> None:
    """Or a prompt would begin with two."""
    form = find_form(
        lambda messages: "<s>" + "".join(f"[{one['role']}]{one['content']}" for one in messages) + "[!]", "<s>"
    )
    assert form.render(TALK[:1]) == f"[user]{TALK[0]['content']}[!]"


def test_a_default_system_message_is_that_of_ollama() -> None:
    """Ollama says it where a conversation has none."""

    def render(messages: list[dict[str, Any]]) -> str:
        if messages[0]["role"] != "system":
            messages = [{"role": "system", "content": "Be brief."}, *messages]
        return "".join(f"<{one['role']}>{one['content']}</>" for one in messages) + "<assistant>"

    text = modelfile("a.gguf", find_form(render), ["</>", "<eos>"])
    assert text.splitlines()[0] == "FROM ./a.gguf"
    assert 'SYSTEM """Be brief."""' in text
    assert text.endswith('PARAMETER stop """</>"""\nPARAMETER stop """<eos>"""\n')
    assert by_ollama(text, TALK) == render(TALK)


def test_a_template_that_counts_its_turns_is_refused() -> None:
    """What it says before a message depends on more than the role."""
    with pytest.raises(ArkorError, match="does more than Ollama's form of a template can say"):
        find_form(lambda messages: "".join(f"{n}:{one['content']};" for n, one in enumerate(messages)))


def test_marks_of_go_templates_are_said_as_text() -> None:
    """And what ends a text of a Modelfile is refused."""
    form = ChatForm("{{x", None, ("u", ""), ("a", ""), "!")
    assert by_ollama(modelfile("a.gguf", form, []), TALK[:1]) == "{{xuHow do I mend a lamp?!"
    with pytest.raises(ArkorError, match="Ollama"):
        modelfile("a.gguf", ChatForm('"""', None, ("u", ""), ("a", ""), "!"), [])
