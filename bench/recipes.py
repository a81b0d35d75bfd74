"""Which steps, batches and learning rates teach a model a file: ``python bench/recipes.py FILE``.

Trains the file on this machine as ``arkor train`` would, or once for each combination of ``--epochs``, ``--batch`` and
``--rate``. Then it asks the adapter rows that it was trained on, the held-out rows, and the rows of ``--also``, and
prints a line for each training. An answer is right if it is exactly the expected one. The figures in
docs/training.md come from

    python bench/recipes.py examples/shop/questions.csv --also examples/shop/paraphrases.csv
    python bench/recipes.py arkor/scaffold/files/local/orders.jsonl
    python bench/recipes.py BANKING77/train.csv --column text=prompt --column category=completion --labels 8 --each 40

with the options that its tables name; BANKING77 is the folder of that data set. It needs the ``local`` extra, and some
minutes for each training.
"""

from __future__ import annotations

import collections
import itertools
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import click

from arkor import (
    CheckedDataset,
    LocalDataset,
    Question,
    Trainer,
    TrainingResult,
    dataset_from,
    recipe_for,
    split_questions as split,
)

MOST_ASKED = 60
AT_ONCE = 8
MAX_TOKENS = 96
LAST_LOSSES = 5
HEAD = ("rows", "epochs", "batch", "rate", "steps", "loss", "eval losses", "trained", "held out", "also", "minutes")


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--column", "columns", multiple=True, metavar="OLD=NEW", help="Rename a column.")
@click.option("--labels", type=int, help="Keep the rows of so many answers, the most frequent ones.")
@click.option("--each", type=int, help="With --labels: keep so many rows of each.")
@click.option("--also", type=click.Path(path_type=Path), help="Ask the questions of this file, too.")
@click.option("--model", default="smollm2-135m", show_default=True)
@click.option("--epochs", type=float, multiple=True)
@click.option("--batch", "batches", type=int, multiple=True)
@click.option("--rate", "rates", type=float, multiple=True)
def main(
    file: Path,
    *,
    columns: tuple[str, ...],
    labels: int | None,
    each: int | None,
    also: Path | None,
    model: str,
    epochs: tuple[float, ...],
    batches: tuple[int, ...],
    rates: tuple[float, ...],
) -> None:
    """Train a file in one or several ways, and count right answers."""
    rows = LocalDataset(file, columns=dict(pair.split("=") for pair in columns)).open()
    dataset = rows if labels is None else with_labels(rows, labels, each)
    further = [] if also is None else split(also, eval_fraction=0)[0]
    click.echo(in_columns(HEAD))
    click.echo("|---" * len(HEAD) + "|")
    for chosen in itertools.product(epochs or (None,), batches or (None,), rates or (None,)):
        click.echo(in_columns(measured(dataset, further, model, *chosen)))


def with_labels(rows: CheckedDataset, labels: int, each: int | None) -> CheckedDataset:
    """Return the rows of the most frequent answers."""
    by_label = collections.defaultdict(list)
    for row in rows.rows():
        by_label[row["completion"]].append(row)
    frequent = sorted(by_label.values(), key=len, reverse=True)[:labels]
    return dataset_from([row for found in frequent for row in found[:each]])


def measured(  # noqa: PLR0917  # the last three are a combination
    dataset: CheckedDataset,
    further: Sequence[Question],
    model: str,
    epochs: float | None,
    batch: int | None,
    rate: float | None,
) -> list[object]:
    """Train once, ask, and return the line of the table."""
    recipe = recipe_for(dataset.summary.rows, model, num_train_epochs=epochs, batch_size=batch, learning_rate=rate)
    steps, batch = recipe["max_steps"], recipe["batch_size"]
    trained, held_out = split(dataset, **recipe["dataset_split"])
    began = time.monotonic()
    trainer = Trainer(name="recipes", model=model, dataset=dataset, backend="local", **recipe)
    result = trainer.wait(check=True)
    minutes = (time.monotonic() - began) / 60
    losses = [log.loss for log in result.metrics() if log.loss is not None][-LAST_LOSSES:]
    evaluations = [f"{log.eval_loss:.2f}" for log in result.metrics() if log.eval_loss is not None]
    return [
        *(dataset.summary.rows, f"{steps * batch / len(trained):.1f}", batch, recipe.get("learning_rate", "default")),
        *(steps, f"{sum(losses) / len(losses):.2f}", " ".join(evaluations)),
        *(right(result, questions[:MOST_ASKED]) for questions in (trained, held_out, further)),
        f"{minutes:.1f}",
    ]


def right(result: TrainingResult, questions: Sequence[Question]) -> str:
    """Ask the adapter, several questions at a time, and count the answers that are exactly the expected ones."""

    def is_right(question: Question) -> bool:
        answer = result.chat(messages=question.messages, temperature=0, max_tokens=MAX_TOKENS)
        return answer.text.strip() == question.expected.strip()

    with ThreadPoolExecutor(AT_ONCE) as pool:
        return f"{sum(pool.map(is_right, questions))} of {len(questions)}"


def in_columns(cells: Iterable[object]) -> str:
    """Return a line of a table in Markdown."""
    return f"| {' | '.join(map(str, cells))} |"


if __name__ == "__main__":
    main()
