"""``arkor download``."""

from __future__ import annotations

from pathlib import Path

import click

from arkor.cli.chosen_job import named_or_last_completed
from arkor.cli.options import local_option, project_of
from arkor.protocol.jobs import ADAPTER_KIND
from arkor.text import one_line


@click.command()
@click.argument("job_id", metavar="[ID]", required=False)
@click.option(
    "-o",
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("adapters"),
    show_default=True,
    help="Output folder.",
)
@click.option("--artifact", "names", multiple=True, metavar="NAME", help="Artifact, such as an export; repeatable.")
@local_option
def download(job_id: str | None, *, output: Path, names: tuple[str, ...], local: bool) -> None:
    """Download a job's adapter and checkpoints.

    Each artifact becomes a folder inside the output folder. Reports and exports are artifacts too: 'arkor jobs show'
    lists them, and --artifact downloads them.

    ID: a job id, or a unique prefix of one. By default the job that completed last; dry runs do not count.

    \b
    Example: arkor download job_x4k2 -o adapters --local
    """
    client, scope = project_of(local)
    job = named_or_last_completed(client, scope, job_id)
    there = client.list_artifacts(scope, job.id)
    if not there:
        click.echo(one_line(f"Job {job.id} ({job.status}) has no artifacts."), err=True)
    artifacts = [one for one in there if (one.name in names if names else one.kind == ADAPTER_KIND)]
    missing = set(names) - {one.name for one in artifacts}
    if missing:
        found = ", ".join(one.name for one in there) or "none"
        raise click.BadParameter(one_line(f"there is no {', '.join(sorted(missing))}; the job has {found}"))
    for artifact in artifacts:
        was_there = (output / artifact.name).exists()
        folder = client.download_artifact(scope, job.id, artifact, output)
        click.echo(folder)
        if was_there:
            click.echo(
                f"Replaced the {one_line(str(folder))} of an earlier download; -o names another folder.", err=True
            )
