"""``arkor chat``."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

import click

from arkor.cli.display.output import json_line
from arkor.cli.display.screen import is_terminal
from arkor.cli.options import backend_of, local_option
from arkor.errors import NotFound
from arkor.protocol.jobs import AdapterRef, JobStatus, Scope

if TYPE_CHECKING:
    from arkor.client.client import CloudApiClient

_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


@click.command()
@click.argument("target", required=False, metavar="[JOB|MODEL]")
@click.argument("prompt", required=False)
@click.option("--step", type=click.IntRange(1), help="Ask the checkpoint of this step.")
@click.option("--system", help="What the model is told before the conversation.")
@click.option("--temperature", type=click.FloatRange(0), default=0.0, show_default=True, help="0 always says the same.")
@click.option("--max-tokens", type=click.IntRange(1), help="Longest answer in tokens.")
@click.option("--json", "as_json", is_flag=True, help="Print the whole body of the answer.")
@local_option
def chat(
    target: str | None,
    prompt: str | None,
    *,
    step: int | None,
    system: str | None,
    temperature: float,
    max_tokens: int | None,
    as_json: bool,
    local: bool,
) -> None:
    """Talk to what a job trained, or to a model.

    JOB is a job's id, or so much of its beginning that it is the only one; MODEL is a model's name. By default it is
    the job that completed last, dry runs aside. With PROMPT, or with a question on stdin, it answers once; else it goes
    on until Ctrl-D.

    \b
    Example: arkor chat job_x4k2 "Where is my lamp?" --local
    """
    from arkor.client.client import CloudApiClient
    from arkor.client.project import ensure_project

    if prompt is None and target and " " in target and "/" not in target:
        raise click.UsageError(
            f"{target!r} is no JOB or MODEL. A question comes after one: arkor chat JOB {quote(target)}; or on stdin."
        )
    if prompt is None and not is_terminal(sys.stdin):
        prompt = _piped()
    client = CloudApiClient.connect(backend_of(local))
    scope = ensure_project(client, Path.cwd(), create=bool(target))
    who = _who(client, scope, target, step)
    options: dict[str, Any] = {"temperature": temperature, "max_tokens": max_tokens}
    start = [{"role": "system", "content": system}] if system else []
    if prompt is None:
        _converse(client, scope, {**who, **options}, start)
        return
    question = [*start, {"role": "user", "content": prompt}]
    if as_json:
        with client.chat(scope, messages=question, stream=False, **who, **options) as answer:
            click.echo(json_line(answer.response.json()))
    else:
        _say(client, scope, {**who, **options}, question)


def _piped() -> str:
    """Return the question on stdin, which is no terminal and may be closed."""
    question = "" if sys.stdin is None else sys.stdin.read().strip()
    if not question:
        raise click.UsageError("There is no question: give a PROMPT, or a text on stdin.")
    return question


def _who(client: CloudApiClient, scope: Scope, target: str | None, step: int | None) -> dict[str, Any]:
    """Return who answers: an adapter or a base model."""
    if not target:
        done = [job for job in client.list_jobs(scope) if job.status == JobStatus.COMPLETED]
        trained = [job for job in done if not job.is_dry_run]
        if not trained:
            what = "Only dry runs have completed" if done else "No job has completed yet"
            raise click.UsageError(f"{what} in this project: name a job or a model.")
        target = max(trained, key=lambda job: job.completed_at or job.created_at).id
    else:
        try:
            target = client.find_job(scope, target).id
        except NotFound:
            if step is not None:
                raise
            return {"base_model": target}
    return {"adapter": AdapterRef("final", target) if step is None else AdapterRef("checkpoint", target, step)}


def _converse(client: CloudApiClient, scope: Scope, request: dict[str, Any], messages: list[dict[str, Any]]) -> None:
    while True:
        try:
            said = input("> ").strip()
        except EOFError:
            click.echo()
            return
        if said:
            messages.append({"role": "user", "content": said})
            messages.append({"role": "assistant", "content": _say(client, scope, request, messages)})


def _say(client: CloudApiClient, scope: Scope, request: dict[str, Any], messages: list[dict[str, Any]]) -> str:
    """Print an answer as it arrives, and return it. No terminal obeys it; a file or a pipe gets it as it is."""
    with client.chat(scope, messages=messages, **request) as answer:
        for piece in answer:
            click.echo(_CONTROLS.sub("", piece) if is_terminal(sys.stdout) else piece, nl=False)
        click.echo()
        return answer.text
