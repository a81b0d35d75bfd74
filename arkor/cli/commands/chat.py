"""``arkor chat``."""

from __future__ import annotations

import sys
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

import attrs
import click

from arkor.cli.chosen_job import last_completed
from arkor.cli.conversation import Conversation, Model, print_answer
from arkor.cli.display.output import json_line
from arkor.cli.display.screen import is_terminal
from arkor.cli.options import backend_of, local_option, named_folder
from arkor.errors import NotFound
from arkor.protocol import wire
from arkor.protocol.jobs import AdapterRef, Scope, TrainingJob
from arkor.text import one_line

if TYPE_CHECKING:
    from arkor.client.client import CloudApiClient


@click.command()
@click.argument("target", required=False, metavar="[JOB|MODEL]")
@click.argument("prompt", required=False, metavar="[QUESTION]")
@click.option("--step", type=click.IntRange(1), help="Ask the job's checkpoint of this step.")
@click.option("--system", help="System message.")
@click.option(
    "--temperature",
    type=click.FloatRange(0),
    default=0.0,
    show_default=True,
    help="Randomness; 0 always gives the same answer.",
)
@click.option(
    "--max-tokens",
    type=click.IntRange(1),
    help="Maximum length of an answer, in tokens; on a self-hosted backend 512 unless you set it.",
)
@click.option("--seed", type=int, help="Repeats an answer: the same seed gives the same one, at any temperature.")
@click.option(
    "--raw/--no-raw",
    default=None,
    help="Continue the QUESTION as plain text, without the chat template. By default as the job was trained.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the backend's whole answer as JSON.")
@local_option
def chat(
    target: str | None,
    prompt: str | None,
    *,
    step: int | None,
    system: str | None,
    temperature: float,
    max_tokens: int | None,
    seed: int | None,
    raw: bool | None,
    as_json: bool,
    local: bool,
) -> None:
    """Chat with a trained adapter or a base model.

    With a QUESTION, or a question on stdin, prints one answer. Otherwise starts a conversation; type /help in it.

    \b
    JOB: a job id, or a unique prefix of one. By default the job that
    completed last; dry runs do not count.
    MODEL: a model name, a Hugging Face id (owner/name) or a folder.

    \b
    Example: arkor chat "Is my lamp covered by the warranty?" --local
    Example: arkor chat job_x4k2 "Is my lamp covered?" --local
    """
    from arkor.client.client import CloudApiClient
    from arkor.client.project import ensure_project

    if prompt is None and target and _is_question(target):
        target, prompt = None, target
    is_alone = prompt is None and target is not None
    if prompt is None and not is_terminal(sys.stdin):
        prompt = _piped()
    if prompt is None and as_json:
        raise click.UsageError("--json needs a QUESTION.")
    client = CloudApiClient.connect(backend_of(local))
    scope = ensure_project(client, Path.cwd(), create=bool(target))
    model = _model(client, scope, target, step, is_alone=is_alone)
    if raw is not None:
        model = attrs.evolve(model, is_raw=raw)
    if system and model.is_raw:
        raise click.UsageError("A plain text has no system message: put it into the QUESTION, or pass --no-raw.")
    options: dict[str, Any] = {"temperature": temperature, "max_tokens": max_tokens, "seed": seed}
    if prompt is None:
        Conversation(client, scope, model, options, system).run()
        return
    start = [{"role": "system", "content": system}] if system else []
    messages = [*start, {"role": "user", "content": prompt if model.is_raw else prompt.strip()}]
    with model.ask(client, scope, messages, stream=not as_json, **options) as answer:
        if as_json:
            click.echo(json_line(answer.response.json()))
        else:
            print_answer(answer, [])
            click.echo()


def _is_question(text: str) -> bool:
    """Say whether the only argument is a question: a text with a blank in it that is not the path of a folder."""
    return len(text.split()) > 1 and named_folder(text) is None


def _piped() -> str:
    """Return the question on stdin, which is not a terminal and may be closed."""
    question = "" if sys.stdin is None else sys.stdin.read()
    if not question.strip():
        raise click.UsageError("There is no question: pass a QUESTION, or a text on stdin.")
    return question


def _model(client: CloudApiClient, scope: Scope, target: str | None, step: int | None, *, is_alone: bool) -> Model:
    """Return the model that answers.

    Args:
        client: the backend.
        scope: the project.
        target: a job, a model, or None for the last completed job.
        step: the checkpoint to ask, or None for the final adapter.
        is_alone: whether the target may be a question of one word: nothing else was given on the command line.

    Raises:
        UsageError: no job has completed yet; or the target is neither a job nor a model.
    """
    if not target:
        return _adapter(last_completed(client, scope), step)
    folder = named_folder(target)
    if folder is not None:
        return Model(one_line(f"Base model {target}"), {"base_model": str(folder)})
    try:
        return _adapter(client.find_job(scope, target), step)
    except NotFound:
        if step is not None:
            raise
    if not _may_be_model(client, target):
        hint = f" To ask a question of one word, name the job too: arkor chat JOB {quote(target)}" if is_alone else ""
        raise click.UsageError(
            f"{target!r} is neither a job of this project nor a model. To chat with a job's adapter, pass its id "
            "('arkor jobs'); with a model, its name ('arkor models list'), its id (owner/name) or its folder "
            f"(./name).{hint}"
        )
    return Model(one_line(f"Base model {target}"), {"base_model": target})


def _may_be_model(client: CloudApiClient, name: str) -> bool:
    """Say whether the backend may know a model of this name; only some backends list their models."""
    if "/" in name or "models" not in client.features:
        return True
    return any(model.id == name for model in client.list_models())


def _adapter(job: TrainingJob, step: int | None) -> Model:
    """Return a job's final adapter, or its checkpoint of a step."""
    name = f"job {job.id} ({job.name})" if job.name else f"job {job.id}"
    adapter = AdapterRef("final", job.id) if step is None else AdapterRef("checkpoint", job.id, step)
    kind = "Adapter" if step is None else f"Checkpoint {step}"
    base = wire.optional_text(job.config.get("model"))
    return Model(one_line(f"{kind} of {name}"), {"adapter": adapter}, base, is_raw=job.is_raw)
