"""What reports say of real trainings of the triage example: ``python bench/reports.py``.

Two trainings that differ in their seed are of the same quality. Out of the report that compares them come 1,000 tables:
rows drawn with replacement, each the one way round or the other. 93 to 97 % of the intervals should have zero in them.

Then a training keeps 20 checkpoints. Of each, the check of the served adapter is made as it is, with another chat
template, with the adapter of another training, and with half the scale, in both number types. It should find the first
the same 20 times, and none of the others.

It needs the ``local`` extra, trains on this machine's own backend, and takes about half an hour on two cores.
"""

from __future__ import annotations

import itertools
import json
import random
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from arkor import LocalDataset, LoraConfig, Trainer, TrainingResult
from arkor.backend.evaluation_worker.served import TOLERANCES, check_served
from arkor.backend.evaluations.task import Task
from arkor.backend.inference.request import read_request
from arkor.backend.jobs.job_files import uploaded_rows
from arkor.backend.models.catalogue import models_dir
from arkor.backend.storage.local import LocalStorage
from arkor.backend.task_worker.rows import job_rows
from arkor.backend.training_worker.model import load_tokenizer
from arkor.evaluation.parts import ServedCheck
from arkor.evaluation.statistics import BETTER, mean_interval, verdict_of
from arkor.protocol.config import JobConfig
from arkor.protocol.evaluations import ADAPTER, BASE, EvaluationOptions
from arkor.serving.refusal import Refusal

if TYPE_CHECKING:
    from arkor.backend.task_worker.server_line import ServerLine

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


class Chats:
    """A chat process. What was asked once is not computed again."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "arkor.backend.inference_worker"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self._replies: list[Future[Any]] = []
        self._known: dict[str, Future[Any]] = {}
        threading.Thread(target=self._hear, daemon=True).start()

    def ask(self, kind: str, base: str, adapter: str | None, dtype: str, **fields: Any) -> Future[Any]:
        """Ask for the score of tokens, or for a rendered prompt; see ``ServerLine.send``."""
        key = json.dumps([kind, base, adapter, dtype, fields])
        if key not in self._known:
            self._known[key] = Future[Any]()
            self._replies.append(self._known[key])
            request = read_request(fields["request"]).to_line() if kind == "render" else None
            score = {**fields, "top": 0} if kind == "score" else None
            self._say(
                id=len(self._replies) - 1,
                base=base,
                adapter=adapter and {"name": adapter, "path": adapter},
                request=request,
                score=score,
                renders=kind == "render",
                dtype=dtype,
            )
        return self._known[key]

    def _say(self, **line: Any) -> None:
        assert self._process.stdin is not None  # PIPE
        usual = {"templateOptions": {}, "escapeSpecialTokens": False, "isBackground": True}
        self._process.stdin.write(json.dumps({**usual, **line}).encode() + b"\n")
        self._process.stdin.flush()

    def _hear(self) -> None:
        assert self._process.stdout is not None  # PIPE
        for said in map(json.loads, self._process.stdout):
            reply = self._replies[said["id"]]
            if "error" in said:
                reply.set_exception(Refusal(said["error"]["status"], said["error"]["message"]))
            elif "rendered" in said:
                reply.set_result({"rendered": said["rendered"]["ids"]})
            elif "scored" in said:
                reply.set_result(said)


class Line:
    """The chat process, as the process of an evaluation asks the server.

    Args:
        chats: the chat process.
        base: the base model's folder.
        adapter: the adapter's folder.
        dtype: the number type of what is asked in none.
    """

    def __init__(self, chats: Chats, base: Path, adapter: Path, dtype: str) -> None:
        self._chats, self._base, self._adapter, self._dtype = chats, str(base), str(adapter), dtype

    def send(self, kind: str, *, candidate: str, dtype: str | None = None, **fields: Any) -> Future[Mapping[str, Any]]:
        """Ask; see ``ServerLine.send``."""
        adapter = self._adapter if candidate == ADAPTER else None
        return self._chats.ask(kind, self._base, adapter, dtype or self._dtype, **fields)


class Checks:
    """Checks of 20 checkpoints of a training.

    Args:
        chats: the chat process.
        folder: for what is written.
        result: the training.
        other: another training, whose adapter is the wrong one.
    """

    ways = ("as it is", "another template", "another adapter", "half the scale")

    def __init__(self, chats: Chats, folder: Path, result: TrainingResult, other: TrainingResult) -> None:
        self._chats, self._folder, self._base, self._result = chats, folder, models_dir() / MODEL, result
        self._losses = {log.step: log.eval_loss for log in result.metrics() if log.eval_loss is not None}
        self._adapters = {path.name: path for path in result.download(folder / "checkpoints")}
        self._other = next(iter(other.download(folder / "other")))
        self._other_base = with_other_template(self._base, folder)

    def make(self, way: str, step: int, dtype: str) -> ServedCheck:
        """Check the checkpoint of a step, as it is or in a way that is wrong."""
        right = self._adapters[f"checkpoint-{step}"]
        base = self._other_base if way == "another template" else self._base
        adapter = self._other if way == "another adapter" else right
        adapter = with_half_the_scale(right, self._folder) if way == "half the scale" else adapter
        loss = self._losses[step]
        assert loss is not None  # it was evaluated
        task, line = task_of(self._result, base, self._folder, loss), Line(self._chats, base, adapter, dtype)
        found = check_served(task, job_rows(task), load_tokenizer(str(base)), cast("ServerLine", line))
        assert found is not None  # rows are held out
        return found


def served() -> bool:
    """Train, and make the checks; say whether all were right."""
    split = {"eval_fraction": 0.025}
    result = train(TICKETS, seed=3, dataset_split=split, eval_steps=EVERY, save_steps=EVERY)
    questions = LocalDataset(LABELS, columns={"question": "prompt", "intent": "completion"})
    other = train(questions, max_steps=20, dataset_split=split)
    return all_right(Chats(), result, other)


def all_right(chats: Chats, result: TrainingResult, other: TrainingResult) -> bool:
    """Make the checks; say whether all were right."""
    steps, good = range(EVERY, STEPS + 1, EVERY), True
    with tempfile.TemporaryDirectory() as name:
        checks = Checks(chats, Path(name), result, other)
        for dtype, way in itertools.product(TOLERANCES, Checks.ways):
            found = [checks.make(way, step, dtype) for step in steps]
            count, apart = sum(one.is_same for one in found), [one.difference for one in found]
            good &= count == (len(steps) if way == Checks.ways[0] else 0)
            between = f"{min(apart):.1e} to {max(apart):.1e} nats a token apart"
            click.echo(f"{dtype:9} {way:17} the same {count:2} of {len(steps)}, {between}")
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
    rows = uploaded_rows(LocalStorage(Path.home() / ".arkor" / "local" / "data"), config.dataset_source, folder)
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
