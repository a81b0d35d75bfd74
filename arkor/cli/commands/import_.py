"""``arkor import``."""

from __future__ import annotations

import click

from arkor.cli.exits import Interrupted
from arkor.cli.options import backend_of, duration, local_option, named_folder, with_same_backend
from arkor.text import one_line


@click.command("import")
@click.argument("source")
@click.option(
    "--model",
    help="Base model: a model name, a Hugging Face id or a folder. By default the one that the adapter names.",
)
@click.option("--name", help="Name of the job. By default the folder's or the repository's name.")
@click.option("--revision", metavar="R", help="Branch, tag or commit of a SOURCE on the Hugging Face hub.")
@click.option("--timeout", metavar="TIME", callback=duration, help="Maximum time, such as 15m or 90s.")
@local_option
def import_(
    source: str, *, model: str | None, name: str | None, revision: str | None, timeout: float | None, local: bool
) -> None:
    """Make a finished job of a LoRA adapter that was trained elsewhere.

    The backend checks every tensor against the base model. Then you chat with the job, evaluate it with rows, export it
    and continue it, as any other job. The base model has to be on the backend's machine.

    SOURCE: a folder with adapter_config.json and adapter_model.safetensors, or owner/name of the Hugging Face hub.

    \b
    Example: arkor import outputs/my-lora --local
             arkor import owner/my-lora --revision v2 --model smollm2-135m --local
    """
    from arkor.trainer.importing import import_adapter

    base = model if model is None else str(named_folder(model) or model)
    try:
        result = import_adapter(
            source, model=base, name=name, revision=revision, backend=backend_of(local), timeout=timeout
        )
    except KeyboardInterrupt as exc:
        command = with_same_backend("arkor jobs")
        raise Interrupted(f"\nInterrupted. The job may have been made: {command} lists the project's jobs.") from exc
    job_id = one_line(result.job.id)
    click.echo(f"Imported job {job_id}")
    click.echo(f"  chat with it:  {with_same_backend(f'arkor chat {job_id}')}")
    click.echo(f"  evaluate it:   {with_same_backend(f'arkor evaluate {job_id} FILE')}")
