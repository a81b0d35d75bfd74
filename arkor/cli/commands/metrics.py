"""``arkor metrics``."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING

import click

from arkor.cli.chosen_job import named_or_newest, newest_job_argument
from arkor.cli.display.loss_plot import plotted
from arkor.cli.display.output import json_line
from arkor.cli.display.style import columns_of, signs_for
from arkor.cli.options import local_option, project_of
from arkor.text import one_line

if TYPE_CHECKING:
    from arkor.protocol.job_metrics import Metrics


@click.command()
@newest_job_argument
@click.option("--csv", "as_csv", is_flag=True, help="Print comma-separated values with a header line.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array of objects.")
@click.option("--plot", is_flag=True, help="Print a plot of the loss, with the losses on held-out rows.")
@local_option
def metrics(job_id: str | None, *, as_csv: bool, as_json: bool, plot: bool, local: bool) -> None:
    """Print a job's metrics: loss, learning rate, speed.

    Each log event is one line. An evaluation has a line of its own.

    ID: a job id, or a unique prefix of one. By default the newest job.

    \b
    Example: arkor metrics job_x4k2 --plot --local
             arkor metrics job_x4k2 --csv --local > metrics.csv
    """
    if as_csv + as_json + plot > 1:
        raise click.UsageError("Use only one of --csv, --json and --plot.")
    client, scope = project_of(local)
    job = named_or_newest(client, scope, job_id)
    found = client.job_metrics(scope, job.id)
    if as_csv:
        _print_csv(found)
    elif as_json:
        _print_json(found)
    elif plot and (lines := plotted(found, columns_of(sys.stdout), is_braille=signs_for(sys.stdout).is_braille)):
        click.echo("\n".join(lines))
    elif found and not plot:
        _print_table(found)
    else:
        click.echo(one_line(f"Job {job.id} ({job.status}) has no metrics."), err=True)


def _print_csv(found: Metrics) -> None:
    from arkor.protocol.metrics import COLUMNS, plain_time

    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(COLUMNS)
    table.writerows((*figures, plain_time(at)) for *figures, at in found.rows())
    click.echo(text.getvalue(), nl=False)


def _print_json(found: Metrics) -> None:
    from arkor.protocol.metrics import COLUMNS

    objects = (json_line(dict(zip(COLUMNS, row, strict=True))) for row in found.rows())
    click.echo("[" + ",\n ".join(objects) + "]")


def _print_table(found: Metrics) -> None:
    from arkor.protocol.metrics import METRICS

    columns = []
    shown = [("step", "STEP", "d"), *((metric.name, metric.label.upper(), metric.form) for metric in METRICS)]
    for name, title, form in shown:
        cells = _cells((getattr(entry, name) for entry in found), form)
        if any(cells):
            width = max(map(len, (title, *cells)))
            columns.append([cell.rjust(width) for cell in (title, *cells)])
    click.echo("\n".join("  ".join(row).rstrip() for row in zip(*columns, strict=True)))


def _cells(figures: Iterable[float | None], form: str) -> list[str]:
    return ["" if figure is None else format(figure, form) for figure in figures]
