"""What a training step takes of a GPU's memory, beside the estimate that limits the length of rows there.

``python bench/gpu_memory.py MODEL``: trains two steps for each length, all rows full, and prints the estimate of
``arkor/backend/training_worker/gpu_memory.py``, what torch allocated at most, and their ratio. It should be a little
above 1. The first length that does not fit ends the run.
"""

from __future__ import annotations

import random
import sys
import tempfile
from pathlib import Path

import click
import torch
from datasets import Dataset

from arkor.backend.training_worker.examples.data import Data
from arkor.backend.training_worker.limits.device import Device, choose_device, free_gpu_bytes
from arkor.backend.training_worker.limits.gpu_memory import StepMemory
from arkor.backend.training_worker.model import build_trainer, load_config, load_tokenizer
from arkor.backend.training_worker.spec import WorkerSpec
from arkor.protocol.config import JobConfig
from arkor.protocol.receipt import Receipt

STEPS = 2
GIB = 2**30


@click.command()
@click.argument("model")
@click.option("--batch-size", default=4, show_default=True)
@click.option("--four-bits", is_flag=True, help="Keep the base model in 4 bits.")
@click.option("--tokens", type=int, multiple=True, default=(512, 1024, 2048, 4096, 8192), show_default=True)
def main(model: str, batch_size: int, four_bits: bool, tokens: tuple[int, ...]) -> None:
    """Compare the estimate for MODEL, a folder or a Hugging Face id, with the memory that training takes."""
    device = choose_device(threads=2)
    if not device.is_cuda:
        raise click.ClickException("there is no CUDA device here")
    config = JobConfig(
        model=model,
        dataset_source={"type": "dataset", "id": "0" * 64},
        batch_size=batch_size,
        load_in_4bit=four_bits,
        max_steps=STEPS,
    )
    memory = StepMemory.of(load_config(model), config)
    click.echo(f"{torch.cuda.get_device_name()}: {free_gpu_bytes(device) / GIB:.1f} GiB free, ", nl=False)
    click.echo(f"so the limit is {memory.most_tokens(free_gpu_bytes(device)):,} tokens; torch {torch.__version__}")
    click.echo("tokens  estimate GiB  allocated GiB  ratio")
    for length in tokens:
        allocated = trained(config, device, length)
        estimate = memory.total(length)
        click.echo(f"{length:6}  {estimate / GIB:12.2f}  {allocated / GIB:13.2f}  {estimate / allocated:5.2f}")


def trained(config: JobConfig, device: Device, length: int) -> int:
    """Train, and return the most bytes that torch had allocated."""
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    with tempfile.TemporaryDirectory() as folder:
        trainer = build_trainer(
            spec(config, Path(folder)), device, config.model, load_tokenizer(config.model), rows(config, length)
        )
        trainer.train()
    return int(torch.cuda.max_memory_allocated())


def spec(config: JobConfig, folder: Path) -> WorkerSpec:
    return WorkerSpec(
        job_id="job_1",
        attempt=1,
        token="",
        backend_url="http://127.0.0.1:1",
        name="memory",
        config=config,
        dataset_path=None,
        job_dir=folder,
        threads=2,
    )


def rows(config: JobConfig, length: int) -> Data:
    """Return rows of random tokens, all counted; one of each batch is a token shorter, so that a mask is made."""
    dice, vocabulary = random.Random(0), load_config(config.model).get_text_config().vocab_size
    count = STEPS * config.value("batch_size")
    ids: list[list[int]] = [[dice.randrange(vocabulary) for _ in range(length - (n % 2))] for n in range(count)]
    return Data(
        format="text",
        train=Dataset.from_dict({"input_ids": ids, "labels": ids}),
        train_rows=count,
        eval=[],
        eval_rows=0,
        longest=length,
        receipt=Receipt(max_length=length),
        prompt_form="raw",
    )


if __name__ == "__main__":
    try:
        main()
    except torch.cuda.OutOfMemoryError as exc:
        sys.exit(f"this length does not fit: {exc}")
