"""Ollama's Modelfile for a model: its chat template in Ollama's form, its end tokens, its system message.

A chat template is a program; Ollama has a language of its own for it. What is said around the messages of each role is
found by rendering a few conversations. A template that does more than that cannot be said so, and is refused: answers
to other prompts are nonsense.

Source: https://github.com/ollama/ollama/blob/main/docs/modelfile.md, "TEMPLATE", "SYSTEM", "PARAMETER".
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import attrs

from arkor.errors import ArkorError
from arkor.serving.refusal import Refusal

Render = Callable[[list[dict[str, str]]], str]
"""Renders a conversation with the model's template, up to where the answer begins."""

_SYSTEM, _ASKED, _SAID, _ASKED_AGAIN = "Probe3system", "Probe5asked", "Probe7said", "Probe9again"
_CANNOT = (
    "The model's chat template does more than Ollama's form of a template can say, so Ollama would ask it otherwise "
    "than it was trained: export --to gguf, and serve it with llama.cpp, which runs the template itself."
)


@attrs.frozen
class ChatForm:
    """What a chat template says around the messages.

    Attributes:
        head: before all.
        system: before and behind a system message.
        user: before and behind a user's message.
        assistant: before and behind an earlier answer.
        answer: before the answer to come.
        default_system: the system message of a conversation without one; empty if there is none then.
    """

    head: str
    system: tuple[str, str] | None
    user: tuple[str, str]
    assistant: tuple[str, str]
    answer: str
    default_system: str = ""

    def render(self, messages: Sequence[dict[str, str]]) -> str:
        """Return a conversation as Ollama shows it to the model."""
        if self.default_system and messages[0]["role"] != "system":
            messages = [{"role": "system", "content": self.default_system}, *messages]
        around = {"system": self.system or ("", ""), "user": self.user, "assistant": self.assistant}
        said = [f"{around[one['role']][0]}{one['content']}{around[one['role']][1]}" for one in messages]
        return f"{self.head}{''.join(said)}{self.answer}"


def modelfile(file: str, form: ChatForm, stops: Sequence[str]) -> str:
    """Return the content of a Modelfile.

    Args:
        file: the name of the GGUF file beside it.
        form: what the template says.
        stops: the texts of the tokens that end an answer.

    Raises:
        ArkorError: a text cannot be said in a Modelfile.
    """
    roles = [("user", form.user), ("assistant", form.assistant)]
    if form.system is not None:
        roles.insert(0, ("system", form.system))
    branches = "{{ else ".join(
        f'if eq .Role "{role}" }}}}{_literal(before)}{{{{ .Content }}}}{_literal(behind)}'
        for role, (before, behind) in roles
    )
    turns = f"{{{{ range .Messages }}}}{{{{ {branches}{{{{ end }}}}{{{{ end }}}}"
    template = f"{_literal(form.head)}{turns}{_literal(form.answer)}"
    lines = [f"FROM ./{file}", f"TEMPLATE {_quoted(template)}"]
    if form.default_system:
        lines.append(f"SYSTEM {_quoted(form.default_system)}")
    lines += [f"PARAMETER stop {_quoted(stop)}" for stop in stops]
    return "\n".join(lines) + "\n"


def find_form(render: Render, bos: str = "") -> ChatForm:
    """Return what a chat template says around the messages.

    Args:
        render: renders with the template.
        bos: the text of the token that llama.cpp puts before a prompt by itself; empty if it puts none.

    Raises:
        ArkorError: Ollama's form cannot say it.
        Refusal: the template cannot render a conversation.
    """

    def rendered(messages: list[dict[str, str]]) -> str:
        return render(messages).removeprefix(bos)

    talk = [_message("user", _ASKED), _message("assistant", _SAID), _message("user", _ASKED_AGAIN)]
    plain = _between(rendered(talk), _ASKED, _SAID, _ASKED_AGAIN)
    try:
        led = _between(rendered([_message("system", _SYSTEM), *talk]), _SYSTEM, _ASKED, _SAID, _ASKED_AGAIN)
    except Refusal:  # the template knows no system message
        led = None
    form = _form(plain, led)
    conversations = [talk[:1], talk]
    if led is not None:
        conversations += [[_message("system", "Be kind."), *some] for some in (talk[:1], talk, [*talk[:2], *talk])]
    for conversation in conversations:
        if form.render(conversation) != rendered(conversation):
            raise ArkorError(_CANNOT)
    return form


def _form(plain: Sequence[str], led: Sequence[str] | None) -> ChatForm:
    first, between, again, last = plain
    if led is None:
        before_user = _shared_end(first, again)
        head, system, default_system = first.removesuffix(before_user), None, ""
    else:
        before_system, behind_system = led[0], led[1]
        before_user = _shared_end(behind_system, again, first)
        head, default_system = first.removesuffix(before_user), ""
        if not before_system.startswith(head):
            default_system = first.removeprefix(before_system).removesuffix(behind_system)
            head = ""
        system = (before_system.removeprefix(head), behind_system.removesuffix(before_user))
    behind_user = _shared_start(between, last)
    return ChatForm(
        head=head,
        system=system,
        user=(before_user, behind_user),
        assistant=(between.removeprefix(behind_user), again.removesuffix(before_user)),
        answer=last.removeprefix(behind_user),
        default_system=default_system,
    )


def _message(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


def _between(text: str, *probes: str) -> list[str]:
    """Return the texts around the probes, which have to be there once each, in their order."""
    parts = []
    for probe in probes:
        before, found, text = text.partition(probe)
        if not found or probe in text:
            raise ArkorError(_CANNOT)
        parts.append(before)
    return [*parts, text]


def _shared_start(*texts: str) -> str:
    return "".join(
        chars[0] for chars in itertools.takewhile(lambda chars: len(set(chars)) == 1, zip(*texts, strict=False))
    )


def _shared_end(*texts: str) -> str:
    return _shared_start(*(text[::-1] for text in texts))[::-1]


def _literal(text: str) -> str:
    """Return a text as it stands in Ollama's template."""
    return text.replace("{{", '{{ "{{" }}')


def _quoted(text: str) -> str:
    if '"""' in text:
        raise ArkorError(_CANNOT)
    return f'"""{text}"""'
