"""``arkor export``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from arkor.cli.chosen_job import named_or_last_completed
from arkor.cli.display.phase_bars import LABEL_WIDTH
from arkor.cli.exits import Interrupted
from arkor.cli.options import duration, local_option, project_of
from arkor.protocol.exports import FORMATS, QUANTIZATIONS
from arkor.text import one_line

if TYPE_CHECKING:
    from arkor.client.export_settings import ExportSettings
    from arkor.protocol.exports import Export


@click.command()
@click.argument("job_id", metavar="[JOB]", required=False)
@click.option(
    "--to",
    "to",
    type=click.Choice([*FORMATS, "hub"]),
    required=True,
    help="adapter, vllm: an adapter that PEFT or vLLM loads beside the base model. merged: a whole model. gguf: one of "
    "llama.cpp. ollama: the same with a Modelfile. hub: upload one of these to the Hugging Face hub.",
)
@click.option("--step", type=click.IntRange(1), help="Checkpoint to export. By default the final adapter.")
@click.option(
    "--dtype", type=click.Choice(["bfloat16", "float16"]), help="Number type of a merged model. By default bfloat16."
)
@click.option(
    "--quantization",
    type=click.Choice(QUANTIZATIONS),
    help="Number type of a GGUF file. By default bf16, which loses nothing.",
)
@click.option("--adapter-only", is_flag=True, help="Write a GGUF file of the adapter alone, for llama.cpp's --lora.")
@click.option("--repo", metavar="OWNER/NAME", help="Repository of the hub for --to hub. The token comes from HF_TOKEN.")
@click.option("--upload", type=click.Choice(FORMATS), help="Format of what --to hub uploads. By default adapter.")
@click.option("--public", is_flag=True, help="Make a public repository for --to hub. By default it is private.")
@click.option("--check/--no-check", default=True, help="Compare it with what chats get (the default), or do not.")
@click.option(
    "-o",
    "--output",
    "dest",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("exports"),
    show_default=True,
    help="Folder that gets the export.",
)
@click.option(
    "--timeout", metavar="TIME", callback=duration, help="Maximum wait, such as 2h, 15m or 90s. The export goes on."
)
@local_option
def export(
    job_id: str | None,
    *,
    to: str,
    step: int | None,
    dtype: str | None,
    quantization: str | None,
    adapter_only: bool,
    repo: str | None,
    upload: str | None,
    public: bool,
    check: bool,
    dest: Path,
    timeout: float | None,
    local: bool,
) -> None:
    """Make a folder of a job's adapter that other programs load.

    The backend makes it, and compares it with what chats get: a folder that answers otherwise is not handed out. Its
    README.md says what it is, and how to use it. Ctrl-C stops waiting; the export goes on.

    \b
    JOB: a job id, or a unique prefix of one. By default the job that
    completed last; dry runs do not count.

    \b
    Example: arkor export --to merged --local
    Example: arkor export job_x4k2 --to gguf --quantization q8_0
    """
    from arkor.client.exporting import Exporter

    client, scope = project_of(local)
    job = named_or_last_completed(client, scope, job_id)
    shown = _Steps()
    settings: ExportSettings = {
        "to": to,
        "step": step,
        "dtype": dtype,
        "quantization": quantization,
        "adapter_only": adapter_only,
        "check": check,
        **({"repo": repo} if repo else {}),
        **({"upload": upload} if upload else {}),
        **({"private": False} if public else {}),
        "dest": dest,
        "timeout": timeout,
        "on_progress": shown.update,
    }
    try:
        exported = Exporter(client=client, scope=scope).export(job.id, settings)
    except KeyboardInterrupt as exc:
        raise Interrupted(f"\nInterrupted. {shown.how_to_go_on(one_line(job.id))}") from exc
    if shown.verdict:
        click.echo(f"It {one_line(shown.verdict)}")
    click.echo(f"Exported: {exported.folder}")
    if exported.url:
        click.echo(f"Uploaded: {one_line(exported.url)}")


class _Steps:
    """Says on stderr what the backend is doing."""

    _words = ("Making the files …", "Comparing it with what chats get …", "Packing …")

    def __init__(self) -> None:
        self.verdict = ""
        self._artifact: str | None = None
        self._done = -1

    def update(self, export: Export) -> None:
        """Show how far an export is."""
        self.verdict = export.verdict
        self._artifact = export.artifact
        if export.total and export.done > self._done and export.done < len(self._words):
            self._done = export.done
            click.echo(f"{'Export':{LABEL_WIDTH}}{self._words[export.done]}", file=sys.stderr)

    def how_to_go_on(self, job_id: str) -> str:
        """Say what becomes of the export when nobody waits for it any more."""
        if self._artifact is None:
            return f"The export goes on: arkor jobs show {job_id}"
        return f"The export is made: arkor download {job_id} --artifact {one_line(self._artifact)}"
