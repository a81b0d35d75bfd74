"""A conversation on the terminal: messages, answers as they arrive, and commands that begin with a slash."""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import attrs
import click

from arkor.cli.display.closed_pipes import is_closed
from arkor.cli.display.screen import is_terminal
from arkor.cli.exits import message
from arkor.cli.signals import Terminated
from arkor.errors import ArkorError
from arkor.options import nearest_name
from arkor.protocol.jobs import Scope
from arkor.text import one_line

if TYPE_CHECKING:
    from arkor.client.chat import ChatResponse
    from arkor.client.choices import ChatDelta
    from arkor.client.client import CloudApiClient

PROMPT = "> "
REASONING = "Reasoning: "
HELP = """\
/system TEXT  set the system message; without TEXT, show it
/base         switch between the adapter and its base model
/reset        forget the conversation, keep the system message
/help         show this list
/quit         leave (also Ctrl-D)
Ctrl-C stops an answer; at an empty prompt it leaves. To send a message that starts with /, type a space first."""
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


@attrs.frozen
class Model:
    """A model that answers: an adapter or a base model.

    Attributes:
        name: its name for people.
        request: the part of a chat request that names it.
        base: the base model of an adapter; None for a base model, or if it is unknown.
        is_raw: whether it continues plain text, without a chat template.
    """

    name: str
    request: Mapping[str, Any]
    base: str | None = None
    is_raw: bool = False

    def ask(
        self, client: CloudApiClient, scope: Scope, messages: Sequence[Mapping[str, str]], **options: Any
    ) -> ChatResponse:
        """Ask it.

        Args:
            client: the backend.
            scope: the project.
            messages: the conversation, the question last; of plain text the question alone counts.
            options: how to answer, see ``arkor.client.chat.AnswerOptions``.
        """
        if self.is_raw:
            return client.complete(scope, prompt=messages[-1]["content"], **self.request, **options)
        return client.chat(scope, messages=messages, **self.request, **options)


def print_answer(answer: ChatResponse, printed: list[ChatDelta]) -> None:
    """Print an answer as it arrives.

    A terminal shows reasoning above the answer, dimmed, and drops control characters; a file or a pipe gets
    the answer's text alone, unchanged. If the reader of a pipe has left, the rest of the answer is not waited for.

    Args:
        answer: it is read to its end.
        printed: gets each piece just before it is printed.
    """
    on_terminal, is_reasoning = is_terminal(sys.stdout), False
    for delta in answer.deltas():
        printed.append(delta)
        if delta.reasoning_content and on_terminal:
            label = "" if is_reasoning else REASONING
            click.echo(click.style(label + _CONTROLS.sub("", delta.reasoning_content), dim=True), nl=False)
            is_reasoning = True
        if delta.content:
            apart = "\n\n" if is_reasoning else ""
            click.echo(apart + (_CONTROLS.sub("", delta.content) if on_terminal else delta.content), nl=False)
            is_reasoning = False
        if is_closed(sys.stdout):  # as of arkor chat … | head -c 80: nobody needs the rest
            return


class Conversation:
    """A chat with one model, and with its base model on request. Thread-safety: one thread.

    Args:
        client: the backend.
        scope: the project.
        model: the model that answers.
        options: options of every request, such as ``temperature``.
        system: the system message, or None.
    """

    def __init__(
        self, client: CloudApiClient, scope: Scope, model: Model, options: Mapping[str, Any], system: str | None
    ) -> None:
        self._client = client
        self._scope = scope
        self._model = self._answers = model
        self._options = options
        self._system = system
        self._messages: list[dict[str, str]] = []
        self._commands = {
            "/base": self._toggle_base,
            "/help": lambda _: _note(HELP),
            "/reset": self._reset,
            "/system": self._set_system,
        }

    def run(self) -> None:
        """Answer message after message, until the user leaves.

        Raises:
            KeyboardInterrupt: Ctrl-C at an empty prompt; or SIGTERM or SIGHUP, at any time.
        """
        with contextlib.suppress(ImportError):  # it lets the user edit a line, and get earlier ones back
            import readline  # noqa: F401

        answers = "continues each line as plain text" if self._model.is_raw else "answers"
        _note(f"{self._model.name} {answers}. /help lists the commands; /quit or Ctrl-D leaves.")
        while (line := _line()) is not None:
            command, _, rest = line.rstrip().partition(" ")
            if command == "/quit":
                return
            if command.startswith("/"):
                self._commands.get(command, lambda _, name=command: self._note_unknown(name))(rest.strip())
            elif line.strip():
                self._ask(line.strip())

    def _ask(self, text: str) -> None:
        """Send a message and print the answer.

        An answer that Ctrl-C stopped stays in the conversation as far as it was printed. A message without any answer
        is forgotten.
        """
        question = {"role": "user", "content": text}
        printed: list[ChatDelta] = []
        is_whole = False
        try:
            system = [{"role": "system", "content": self._system}] if self._system else []
            messages = [*system, *self._messages, question]
            with self._answers.ask(self._client, self._scope, messages, **self._options) as answer:
                print_answer(answer, printed)
            click.echo()
            is_whole = True
        except Terminated:
            raise
        except KeyboardInterrupt:
            _note("\n(stopped)")
        except ArkorError as exc:
            _note(f"\n{message(exc)}" if printed else message(exc))
            return
        reply = {"role": "assistant", "content": "".join(delta.content for delta in printed)}
        reasoning = "".join(delta.reasoning_content for delta in printed)
        if is_whole or reply["content"]:
            self._messages += [question, reply | ({"reasoning_content": reasoning} if reasoning else {})]

    def _set_system(self, text: str) -> None:
        if self._answers.is_raw:
            _note("A plain text has no system message. To chat instead: arkor chat --no-raw")
            return
        if text:
            self._system = text
        _note(f"System message: {self._system}" if self._system else "There is no system message.")

    def _toggle_base(self, _: str) -> None:
        base = self._model.base
        if base is None:
            _note(f"{self._model.name} is the only model here: its base model is not known, or it is one itself.")
            return
        if self._answers is self._model:
            name = f"Base model {one_line(base)}"
            self._answers = Model(name, {"base_model": base}, is_raw=self._model.is_raw)
        else:
            self._answers = self._model
        _note(f"{self._answers.name} answers.")

    def _note_unknown(self, command: str) -> None:
        nearest = nearest_name(command, [*self._commands, "/quit"])
        meant = f" Did you mean {nearest}?" if nearest else ""
        _note(f"There is no command {one_line(command)}.{meant} /help lists the commands. Nothing was sent.")

    def _reset(self, _: str) -> None:
        self._messages.clear()
        _note("The conversation is forgotten" + ("; the system message stays." if self._system else "."))


def _note(text: str) -> None:
    """Print a line that is not part of an answer."""
    click.echo(text, err=True)


def _line() -> str | None:
    """Read a line; None at the end of input.

    Raises:
        KeyboardInterrupt: Ctrl-C at an empty prompt; or SIGTERM or SIGHUP.
    """
    while True:
        try:
            return input(PROMPT)
        except EOFError:
            click.echo()
            return None
        except KeyboardInterrupt as exc:
            if isinstance(exc, Terminated) or not _is_typed():
                raise
            click.echo()


def _is_typed() -> bool:
    """Say whether Ctrl-C discarded a line that the user had begun; False without readline."""
    readline = sys.modules.get("readline")
    return readline is not None and bool(readline.get_line_buffer())
