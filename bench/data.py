"""From a file of rows to examples for the first step: arkor's preparation beside that of TRL.

``python bench/data.py``: rows of three turns and about 80 tokens, tokenised with two processes by arkor and by TRL, in
turns, each in a process of its own. Prints rows a second, their ratio, and by how much the anonymous memory of all
processes grew. ``--rows 1000000`` measures a million.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import psutil

MODEL = "smollm2-135m"
PROCESSES = 2
WORDS = ["the", "river", "stone", "light", "dark", "mountain", "answer", "question", "quick", "slow", "window"]
MIB = 2**20
LOOK_S = 0.1
CONTESTANTS = ("arkor", "TRL", "arkor again")


@click.command()
@click.option("--rows", "counts", type=int, multiple=True, default=(10_000, 100_000), show_default=True)
@click.option("--model", help="A folder with a model's tokenizer. By default that of smollm2-135m, which was pulled.")
def main(counts: tuple[int, ...], model: str | None) -> None:
    """Compare how fast rows become examples, and how much memory that takes."""
    folder = model or str(Path.home() / ".arkor" / "models" / MODEL)
    click.echo(f"{'rows':>9}  {'who':11}  {'seconds':>7}  {'rows/s':>7}  {'of TRL':>6}  {'growth MiB':>10}")
    for count in counts:
        with tempfile.TemporaryDirectory() as work:
            write_rows(Path(work) / "rows.jsonl", count)
            found = {who: measured(who, Path(work), folder) for who in CONTESTANTS}
        for who, (seconds, grown) in found.items():
            ratio = found["TRL"][0] / seconds
            click.echo(f"{count:9,}  {who:11}  {seconds:7.1f}  {count / seconds:7,.0f}  {ratio:6.2f}  {grown:10.0f}")


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


def measured(who: str, work: Path, model: str) -> tuple[float, float]:
    """Return the seconds that a contestant took, and by how many MiB the memory of its processes grew."""
    environment = {**os.environ, "HF_HOME": str(work / "hf"), "HF_DATASETS_DISABLE_PROGRESS_BARS": "1"}
    command = [sys.executable, "-W", "ignore", __file__, "contestant", who, str(work), model]
    done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    seconds, grown = json.loads(done.stdout.splitlines()[-1])
    return float(seconds), float(grown)


def contestant(who: str, work: Path, model: str) -> None:
    """Prepare the rows, and print the seconds and the growth."""
    prepare = trl(work, model) if who == "TRL" else arkor(work, model)
    with peak() as grown:
        began = time.perf_counter()
        prepare()
        seconds = time.perf_counter() - began
    print(json.dumps([seconds, max(grown) / MIB]))


def arkor(work: Path, model: str) -> Callable[[], Any]:
    """Return arkor's preparation; a second one finds what the first one kept."""
    from arkor.backend.training_worker.data import prepare_data
    from arkor.backend.training_worker.device import prepare_environment
    from arkor.backend.training_worker.example_cache import ExampleCache
    from arkor.backend.training_worker.lengths import CPU_TOKENS, Lengths
    from arkor.backend.training_worker.model import load_tokenizer
    from arkor.backend.training_worker.spec import RowsSpec
    from arkor.protocol.config import JobConfig
    from arkor.system.folder_cache import FolderCache

    prepare_environment(PROCESSES)
    spec = RowsSpec(
        config=JobConfig(model=model, dataset_source={"type": "dataset", "id": "0" * 64}),
        dataset_path=work / "rows.jsonl",
        job_dir=work,
    )
    tokenizer, cache = load_tokenizer(model), ExampleCache(FolderCache(work / "cache", 2**40), "job_1")
    import datasets  # noqa: F401  # what is loaded anyway does not count
    import pyarrow.compute  # noqa: F401

    return lambda: prepare_data(spec, tokenizer, Lengths(None, CPU_TOKENS), threads=PROCESSES, cache=cache)


def trl(work: Path, model: str) -> Callable[[], Any]:
    """Return TRL's preparation: it is nearly all of making a trainer for a model of a few weights."""
    from datasets import load_dataset
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM
    from trl import SFTConfig, SFTTrainer

    tokenizer = AutoTokenizer.from_pretrained(model)
    small = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=8,
        intermediate_size=8,
        num_hidden_layers=1,
        num_attention_heads=1,
        num_key_value_heads=1,
    )
    network = LlamaForCausalLM(small)
    arguments = SFTConfig(
        output_dir=str(work / "trl"),
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        dataset_num_proc=PROCESSES,
        max_length=2048,
        report_to="none",
    )

    def prepare() -> Any:
        rows = load_dataset("json", data_files=str(work / "rows.jsonl"), split="train", cache_dir=str(work / "hf"))
        return SFTTrainer(model=network, args=arguments, train_dataset=rows, processing_class=tokenizer)

    return prepare


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


def anonymous_bytes() -> int:
    """Return RssAnon of this process and all below it, together."""
    this = psutil.Process()
    return sum(map(_anonymous, [this.pid, *(child.pid for child in this.children(recursive=True))]))


def _anonymous(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    except OSError:  # it has ended meanwhile
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon:"))


if __name__ == "__main__":
    if sys.argv[1:2] == ["contestant"]:
        contestant(sys.argv[2], Path(sys.argv[3]), sys.argv[4])
    else:
        main()
