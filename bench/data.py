"""From a file of rows to the first step: arkor's preparation beside that of TRL.

``python bench/data.py``: rows of three turns and about 80 tokens, tokenised with two processes by arkor and by TRL, in
turns, each in a process of its own. Prints rows a second, their ratio, the seconds from the file to the end of the
first step of a model of a few weights, and by how much the anonymous memory of all processes grew. Then it checks the
rows and sends them to a backend, beside ``json.loads`` of each line. ``--rows 1000000`` measures a million. It needs
the ``local`` extra and the model smollm2-135m, of which it takes the tokenizer: ``arkor models pull smollm2-135m``.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click
import psutil

MODEL = "smollm2-135m"
PROCESSES = 2
WORDS = ["the", "river", "stone", "light", "dark", "mountain", "answer", "question", "quick", "slow", "window"]
MIB = 2**20
LOOK_S = 0.1
PREPARING = ("arkor", "TRL", "arkor again")
READING = ("json.loads", "check", "upload")
BATCH = 4


@click.command()
@click.option("--rows", "counts", type=int, multiple=True, default=(10_000, 100_000), show_default=True)
@click.option("--model", help="A folder with a model's tokenizer. By default that of smollm2-135m, which was pulled.")
@click.option("--only", type=click.Choice((*PREPARING, *READING)), multiple=True, help="Measure these only.")
def main(counts: tuple[int, ...], model: str | None, only: tuple[str, ...]) -> None:
    """Compare how fast rows become examples and how fast they are read, and how much memory that takes."""
    folder = Path(model) if model else Path.home() / ".arkor" / "models" / MODEL
    if not folder.is_dir():
        raise click.UsageError(f"There is no folder {folder}: arkor models pull {MODEL} makes it, or pass --model.")
    for count in counts:
        with tempfile.TemporaryDirectory() as work:
            write_rows(Path(work) / "rows.jsonl", count)
            make_model(folder, Path(work) / "model")
            compare(count, Path(work), [who for who in PREPARING if who in (only or PREPARING)], "TRL")
            compare(count, Path(work), [who for who in READING if who in (only or READING)], "json.loads")


def compare(count: int, work: Path, contestants: list[str], standard: str) -> None:
    """Measure contestants in turns, and print them beside the one that is the standard."""
    found = {who: measured(who, work) for who in contestants}
    for who, figures in found.items():
        ratio = found[standard]["seconds"] / figures["seconds"] if standard in found else float("nan")
        step = f", first step after {figures['step']:.1f} s" if "step" in figures else ""
        click.echo(
            f"{count:9,} rows  {who:11}  {figures['seconds']:7.1f} s  {count / figures['seconds']:9,.0f} rows/s  "
            f"{ratio:5.2f} of {standard}{step}, memory grew by {figures['grown'] / MIB:,.0f} MiB"
        )


def write_rows(file: Path, count: int) -> None:
    """Write rows of three turns."""
    dice = random.Random(0)
    with file.open("w", encoding="utf-8") as lines:
        for number in range(count):
            said = [" ".join(dice.choices(WORDS, k=22)) for _ in range(2)]
            turns = ("You answer in one sentence.", f"{said[0]} {number}?", f"{said[1]}.")
            roles = ("system", "user", "assistant")
            messages = [{"role": role, "content": text} for role, text in zip(roles, turns, strict=True)]
            lines.write(json.dumps({"prompt": messages[:2], "completion": messages[2:]}) + "\n")


def make_model(tokenizer: Path, folder: Path) -> None:
    """Make a model of a few weights, with the tokenizer of another one."""
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    loaded = AutoTokenizer.from_pretrained(tokenizer)
    loaded.save_pretrained(folder)
    LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(loaded),
            hidden_size=8,
            intermediate_size=8,
            num_hidden_layers=1,
            num_attention_heads=1,
            num_key_value_heads=1,
        )
    ).save_pretrained(folder)


def measured(who: str, work: Path) -> dict[str, float]:
    """Run a contestant in a process of its own, and return its figures."""
    environment = {**os.environ, "HF_HOME": str(work / "hf"), "HF_DATASETS_DISABLE_PROGRESS_BARS": "1"}
    environment |= {"HOME": str(work / "home"), "TQDM_DISABLE": "1"}
    (work / "home").mkdir(exist_ok=True)
    command = [sys.executable, "-W", "ignore", __file__, "contestant", who, str(work)]
    done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return figures


def contestant(who: str, work: Path) -> None:
    """Do the work of a contestant, and print its figures: ``seconds``, ``grown`` in bytes, and ``step`` in seconds."""
    prepare = {"TRL": trl, "json.loads": decode, "check": check, "upload": upload}.get(who, arkor)(work)
    with peak() as grown:
        began = time.perf_counter()
        train = prepare()
        figures = {"seconds": time.perf_counter() - began}
        if train is not None:
            train()
            figures["step"] = time.perf_counter() - began
    print(json.dumps({**figures, "grown": max(grown)}))


Prepare = Callable[[], "Callable[[], object] | None"]


def arkor(work: Path) -> Prepare:
    """Return arkor's preparation; a second one finds what the first one kept."""
    from arkor.backend.training_worker.examples.cache import ExampleCache
    from arkor.backend.training_worker.examples.data import prepare_data
    from arkor.backend.training_worker.limits.device import choose_device, prepare_environment
    from arkor.backend.training_worker.limits.lengths import CPU_TOKENS, Lengths
    from arkor.backend.training_worker.longest_first import LongestFirst
    from arkor.backend.training_worker.model import build_trainer, load_tokenizer
    from arkor.backend.training_worker.spec import WorkerSpec
    from arkor.protocol.config import JobConfig
    from arkor.system.folder_cache import FolderCache

    prepare_environment(PROCESSES)
    folder = str(work / "model")
    spec = WorkerSpec(
        config=JobConfig(
            model=folder, dataset_source={"type": "dataset", "id": "0" * 64}, max_steps=1, batch_size=BATCH, lora_r=1
        ),
        dataset_path=work / "rows.jsonl",
        job_dir=work,
        job_id="job_1",
        attempt=1,
        token="",
        backend_url="",
        name="bench",
        threads=PROCESSES,
    )
    tokenizer, cache = load_tokenizer(folder), ExampleCache(FolderCache(work / "cache", 2**40), "job_1")
    import datasets  # noqa: F401  # what is loaded anyway does not count
    import pyarrow.compute  # noqa: F401
    import trl  # noqa: F401

    def prepare() -> Callable[[], object]:
        data = prepare_data(spec, tokenizer, Lengths(None, CPU_TOKENS), threads=PROCESSES, cache=cache)

        def train() -> None:
            trainer = build_trainer(spec, choose_device(PROCESSES), folder, tokenizer, data)
            trainer.add_callback(LongestFirst(trainer))
            trainer.train()

        return train

    return prepare


def trl(work: Path) -> Prepare:
    """Return TRL's preparation: it is nearly all of making a trainer for a model of a few weights."""
    from datasets import load_dataset
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import SFTConfig, SFTTrainer

    arguments = SFTConfig(
        output_dir=str(work / "trl"),
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        dataset_num_proc=PROCESSES,
        max_length=2048,
        max_steps=1,
        per_device_train_batch_size=BATCH,
        save_strategy="no",
        report_to="none",
    )

    def prepare() -> Callable[[], object]:
        rows = load_dataset("json", data_files=str(work / "rows.jsonl"), split="train", cache_dir=str(work / "hf"))
        trainer = SFTTrainer(
            model=AutoModelForCausalLM.from_pretrained(work / "model"),
            args=arguments,
            train_dataset=rows,
            processing_class=AutoTokenizer.from_pretrained(work / "model"),
            peft_config=LoraConfig(r=1, target_modules="all-linear", task_type="CAUSAL_LM"),
        )
        train: Callable[[], object] = trainer.train
        return train

    return prepare


def decode(work: Path) -> Prepare:
    """Return the least that reading JSONL takes: each line decoded, and nothing kept."""

    def read() -> None:
        with (work / "rows.jsonl").open("rb") as lines:
            for line in lines:
                json.loads(line)

    return read


def check(work: Path) -> Prepare:
    """Return arkor's check of every row."""
    from arkor import LocalDataset

    def read() -> None:
        LocalDataset(work / "rows.jsonl").check()

    return read


def upload(work: Path) -> Prepare:
    """Return all that comes before a job: the check, and the rows sent to a local backend, which checks them again."""
    from arkor import LocalDataset
    from arkor.client.client import CloudApiClient
    from arkor.client.project import ensure_project

    client = CloudApiClient.connect("local")
    scope = ensure_project(client, work)
    note = json.loads((Path.home() / ".arkor" / "local" / "server.json").read_text(encoding="utf-8"))

    def send() -> None:
        client.upload_dataset(scope, LocalDataset(work / "rows.jsonl"))
        os.kill(note["pid"], signal.SIGTERM)

    return send


@contextmanager
def peak() -> Iterator[list[int]]:
    """Yield a list of how many bytes the anonymous memory of this process and its children has grown by so far."""
    first, grown, over = anonymous_bytes(), [0], threading.Event()

    def watch() -> None:
        while not over.wait(LOOK_S):
            grown.append(anonymous_bytes() - first)

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        yield grown
    finally:
        over.set()
        watching.join()


def anonymous_bytes(pid: int | None = None) -> int:
    """Return RssAnon of a process, by default this one, and all below it, together."""
    first = psutil.Process(pid)
    return sum(map(_anonymous, [first.pid, *(child.pid for child in first.children(recursive=True))]))


def _anonymous(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    except OSError:  # it has ended meanwhile
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon:"))


if __name__ == "__main__":
    if sys.argv[1:2] == ["contestant"]:
        contestant(sys.argv[2], Path(sys.argv[3]))
    else:
        main()
