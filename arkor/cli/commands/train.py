"""``arkor train``."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from arkor.cli.display.loss_trend import LossTrend
from arkor.cli.display.output import showing
from arkor.cli.exits import COMPLETED
from arkor.cli.job_run import next_commands, run_job, run_options
from arkor.cli.options import DEFAULT_MODEL, columns_option, local_option, named_folder, result_code
from arkor.data.split import split_rows
from arkor.protocol.checks import MAX_NAME_CHARS
from arkor.text import many, one_line

if TYPE_CHECKING:
    from arkor.trainer.recipe import Recipe


@click.command()
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=click.Path(path_type=Path))
@columns_option
@click.option("--model", default=DEFAULT_MODEL, show_default=True, help="A model name, a Hugging Face id or a folder.")
@click.option("--steps", "max_steps", type=click.IntRange(1), metavar="N", help="Optimizer steps.")
@click.option(
    "--epochs", type=click.FloatRange(0, min_open=True), metavar="N", help="Passes over the rows, instead of --steps."
)
@click.option("--batch-size", type=click.IntRange(1), metavar="N", help="Rows in a step.")
@click.option("--learning-rate", type=click.FloatRange(0, min_open=True), metavar="R", help="Peak step size.")
@click.option(
    "--eval-fraction",
    type=click.FloatRange(0, 1, max_open=True),
    metavar="F",
    help="Share of the rows to hold out: 0.1, or 0 for fewer than 20 rows, unless you set it.",
)
@click.option("--name", help="Name of the job. By default the file's name.")
@local_option
@run_options
def train(
    files: tuple[Path, ...],
    *,
    columns: dict[str, str] | None,
    model: str,
    max_steps: int | None,
    epochs: float | None,
    name: str | None,
    local: bool,
    dry_run: bool,
    as_json: bool,
    batch_size: int | None,
    learning_rate: float | None,
    eval_fraction: float | None,
    **options: Any,
) -> int:
    """Train a model on a file of rows, without a project.

    Trains on this machine unless ARKOR_CLOUD_API_URL names another backend. Chooses the steps, the batch size and the
    learning rate by the number of rows and the size of the model; your options take precedence. Holds out a tenth of
    the rows and says at the end if the loss fell. Ctrl-C stops following; the job keeps running unless you pass
    --on-interrupt cancel.

    FILE: a file of rows (JSONL, CSV, a JSON array, Parquet or Arrow, also within gzip), a folder or a quoted pattern of
    such files; or several of them.

    \b
    Example: arkor train questions.csv
             arkor train faq.csv --column frage=prompt --column antwort=completion
    """
    from arkor.data.datasets import LocalDataset
    from arkor.trainer.recipe import recipe_for
    from arkor.trainer.trainer import Trainer

    if max_steps and epochs:
        raise click.UsageError("--steps and --epochs cannot be combined: both say how long to train.")
    trend = LossTrend()
    with showing(as_json=as_json) as shown, contextlib.closing(LocalDataset(files, columns=columns).open()) as rows:
        recipe = recipe_for(
            rows.summary.rows,
            model,
            max_steps=max_steps,
            num_train_epochs=epochs,
            batch_size=batch_size,
            learning_rate=learning_rate,
            eval_fraction=eval_fraction,
        )
        trainer = Trainer(
            name=_name(files[0]) if name is None else name,
            model=str(named_folder(model) or model),
            dataset=rows,
            dry_run=dry_run or None,
            backend=_backend(local),
            **recipe,
        )
        click.echo(_plan(rows.summary.rows, model, recipe), err=True)
        hints = _of_held_out(recipe, eval_fraction)
        ended = run_job(trainer, shown, on_event=trend.take, hints=hints, **options)
        code = result_code(ended)
        if ended is not None and code == COMPLETED and not dry_run and not shown.is_for_people:
            for line in (*trend.lines(), *hints, *next_commands(trainer, ended.job)):
                shown.say(line)
    return code


def _name(file: Path) -> str:
    """Return the name of a job: that of its file, without the suffixes."""
    return file.name.partition(".")[0].strip()[:MAX_NAME_CHARS] or "rows"


def _backend(local: bool) -> str | None:
    """Return the backend: this machine's, unless the environment names another; None for that one."""
    return None if "ARKOR_CLOUD_API_URL" in os.environ and not local else "local"


def _of_held_out(recipe: Recipe, eval_fraction: float | None) -> list[str]:
    """Return what to do about rows that are held out because nobody said otherwise."""
    if eval_fraction is not None or "dataset_split" not in recipe:
        return []
    return ["The model did not learn the held-out rows. For facts, let it learn all rows: --eval-fraction 0"]


def _plan(rows: int, model: str, recipe: Recipe) -> str:
    """Return in a line what is going to be trained."""
    split = recipe.get("dataset_split")
    held_out = len(split_rows(rows, split["eval_fraction"], split["seed"])[1]) if split and rows > 1 else 0
    of = f"{rows - held_out:,} of {many(rows, 'row')}" if held_out else many(rows, "row")
    rate = f"learning rate {recipe['learning_rate']:g}" if "learning_rate" in recipe else "the default learning rate"
    steps, batch = many(recipe["max_steps"], "step"), many(recipe["batch_size"], "row")
    return f"Training {one_line(model)} on {of}: {steps} of {batch}, {rate}"
