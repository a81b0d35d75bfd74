"""What reports say of real trainings of the triage example: ``python bench/reports.py``.

Two trainings that differ in their seed are of the same quality. Out of the report that compares them come 1,000 tables:
rows drawn with replacement, each the one way round or the other. 93 to 97 % of the intervals should have zero in them.

Then a training keeps 20 checkpoints. Of each, the check of the served adapter is made as it is, with another chat
template, with the adapter of another training, and with half the scale, in both number types. It should find the first
the same 20 times, and none of the others.

It needs the ``local`` extra, trains on this machine's own backend, and takes about half an hour on two cores.
"""

from __future__ import annotations

import json
import random
import shutil
import sys
import tempfile
import threading
from collections.abc import Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import click

from arkor import LocalDataset, LoraConfig, Trainer, TrainingResult
from arkor.backend.evaluation_worker.rows import job_rows
from arkor.backend.evaluation_worker.served import TOLERANCES, check_served
from arkor.backend.evaluations.task import Task
from arkor.backend.inference.request import read_request
from arkor.backend.inference_worker.engine import Engine, Question
from arkor.backend.jobs.job_folder import uploaded_rows
from arkor.backend.models.catalogue import models_dir
from arkor.backend.settings import Settings
from arkor.backend.training_worker.model import load_tokenizer
from arkor.evaluation.statistics import BETTER, mean_interval, verdict_of
from arkor.protocol.config import JobConfig
from arkor.protocol.evaluations import ADAPTER, BASE, EvaluationOptions
from arkor.serving.refusal import Refusal

MODEL = "smollm2-135m"
EXAMPLES = Path(__file__).parents[1] / "examples"
TICKETS, LABELS = EXAMPLES / "triage" / "data" / "tickets.jsonl", EXAMPLES / "labels" / "data" / "questions.csv"
RECIPE: Mapping[str, Any] = {
    "model": MODEL,
    "lora": LoraConfig(r=8, alpha=16),
    "batch_size": 4,
    "learning_rate": 1e-3,
    "warmup_steps": 5,
    "backend": "local",
}
STEPS, EVERY, TABLES, SEED = 60, 3, 1000, 11


def train(dataset: Path | LocalDataset, **settings: Any) -> TrainingResult:
    """Train as the triage example does."""
    return Trainer(name="reports", dataset=dataset, **{**RECIPE, "max_steps": STEPS, **settings}).wait(check=True)


def same_quality() -> bool:
    """Compare two trainings that differ in their seed; say whether the intervals are right."""
    first, second = (train(TICKETS, seed=seed, dataset_split={"eval_fraction": 0.15}) for seed in (1, 2))
    report = second.evaluate(limit=60, against=first.job.id, retention=False)
    click.echo(str(report))
    chance, good = random.Random(SEED), True
    for score in report.scores:
        rows = [case.scores[score.name] for case in report.table if score.name in case.scores]
        differences = [row[ADAPTER] - row[report.against] for row in rows]
        if not any(differences):
            continue
        tables = [[chance.choice((-1, 1)) * chance.choice(differences) for _ in rows] for _ in range(TABLES)]
        found = [(mean_interval(table), sum(map(bool, table))) for table in tables]
        covered = sum(interval.low <= 0 <= interval.high for interval, _ in found) / TABLES
        better = sum(verdict_of(interval, differing) == BETTER for interval, differing in found) / TABLES
        good &= covered >= 0.93 and better <= 0.05
        click.echo(f"{score.label:20} zero within {covered:6.1%}   better {better:6.1%}")
    return good


class Line:
    """The chat engine, in this process, as the process of an evaluation asks the server.

    Args:
        engine: answers.
        replies: what it said, by the questions' numbers.
        base: the base model's folder.
        adapter: the adapter's folder.
        dtype: the number type of what is asked in none.
    """

    def __init__(self, engine: Engine, replies: dict[int, Future[Any]], base: Path, adapter: Path, dtype: str) -> None:
        self._engine, self._replies = engine, replies
        self._base, self._adapter, self._dtype = str(base), (str(adapter), str(adapter)), dtype

    def send(self, kind: str, *, candidate: str, **fields: Any) -> Future[Mapping[str, Any]]:
        """Ask; see ``ServerLine.send``."""
        number, reply = len(self._replies), Future[Any]()
        self._replies[number] = reply
        question = Question(
            number,
            self._base,
            self._adapter if candidate == ADAPTER else None,
            read_request(fields["request"]) if kind == "render" else None,
            score=(fields["ids"], fields["start"]) if kind == "score" else None,
            renders=kind == "render",
            dtype=fields.get("dtype") or self._dtype,
        )
        self._engine.ask(question)
        return reply


def served() -> bool:
    """Check 20 checkpoints, each as it is and in three ways that are wrong; say whether all were told apart."""
    split = {"eval_fraction": 0.05}
    result = train(TICKETS, seed=3, dataset_split=split, eval_steps=EVERY, save_steps=EVERY)
    questions = LocalDataset(LABELS, columns={"question": "prompt", "intent": "completion"})
    other = train(questions, max_steps=20, dataset_split=split)
    losses = {log.step: log.eval_loss for log in result.metrics() if log.eval_loss is not None}
    replies: dict[int, Future[Any]] = {}

    def heard(id: int, **said: Any) -> None:  # the engine's word
        if "error" in said:
            replies[id].set_exception(Refusal(said["error"]["status"], said["error"]["message"]))
        elif "rendered" in said:
            replies[id].set_result({"rendered": said["rendered"]["ids"]})
        elif "scored" in said:
            replies[id].set_result(said)

    engine = Engine(heard)
    threading.Thread(target=engine.run, daemon=True).start()
    good = True
    with tempfile.TemporaryDirectory() as name:
        folder, base = Path(name), models_dir() / MODEL
        wrong_base, wrong_adapter = with_other_template(base, folder), next(iter(other.download(folder / "other")))
        folders = {path.name: path for path in result.download(folder / "checkpoints")}
        for dtype in TOLERANCES:
            same = dict.fromkeys(("as it is", "another template", "another adapter", "half the scale"), 0)
            farthest = 0.0
            for step in range(EVERY, STEPS + 1, EVERY):
                adapter = folders[f"checkpoint-{step}"]
                ways = {
                    "as it is": (base, adapter),
                    "another template": (wrong_base, adapter),
                    "another adapter": (base, wrong_adapter),
                    "half the scale": (base, with_half_the_scale(adapter, folder)),
                }
                for way, files in ways.items():
                    task = task_of(result, files[0], folder, losses[step])
                    line: Any = Line(engine, replies, *files, dtype)
                    found = check_served(task, job_rows(task), load_tokenizer(str(files[0])), line)
                    assert found is not None
                    same[way] += found.is_same
                    farthest = max(farthest, found.difference) if way == "as it is" else farthest
            for way, count in same.items():
                click.echo(f"{dtype:9} {way:17} the same {count:2} of {STEPS // EVERY}")
                good &= count == (STEPS // EVERY if way == "as it is" else 0)
            click.echo(
                f"{dtype:9} farthest apart, as it is: {farthest:.2e} nats a token; tolerance {TOLERANCES[dtype]}"
            )
    engine.close()
    return good


def task_of(result: TrainingResult, base: Path, folder: Path, loss: float) -> Task:
    """Return the task of a check.

    Args:
        result: the training.
        base: the base model's folder.
        folder: for what the check writes.
        loss: what the trainer measured on the held-out rows, in nats a token.
    """
    config = JobConfig.from_wire(result.job.config)
    rows = uploaded_rows(Settings(data=Path.home() / ".arkor" / "local" / "data"), config.dataset_source)
    return Task(
        id="eval_bench",
        job_id=result.job.id,
        config=config,
        prompt_form=result.job.prompt_form,
        options=EvaluationOptions(),
        candidates=[BASE, ADAPTER],
        model_path=str(base),
        dataset_path=rows,
        eval_dataset_path=None,
        rows_path=None,
        folder=folder,
        artifacts_folder=folder,
        artifact="report",
        allow_private_urls=False,
        record=result.record,
        max_length=None,
        trained_loss=loss,
        created_at="",
    )


def with_other_template(base: Path, folder: Path) -> Path:
    """Return a copy of a model whose chat template has a blank more behind the mark that opens a message."""
    copied = Path(shutil.copytree(base, folder / "model"))
    template = copied / "chat_template.jinja"
    template.write_text(template.read_text().replace("<|im_start|>", "<|im_start|> "))
    return copied


def with_half_the_scale(adapter: Path, folder: Path) -> Path:
    """Return a copy of an adapter that acts half as strongly."""
    copied = Path(shutil.copytree(adapter, folder / "weak" / adapter.name, dirs_exist_ok=True))
    config = json.loads((copied / "adapter_config.json").read_text())
    (copied / "adapter_config.json").write_text(json.dumps({**config, "lora_alpha": config["lora_alpha"] / 2}))
    return copied


@click.command(help=__doc__)
def main() -> None:
    sys.exit(0 if all([same_quality(), served()]) else 1)


if __name__ == "__main__":
    main()
