"""A training beside TRL alone: ``python bench/training.py``.

Both train SmolLM2 135M on the rows of examples/triage, with the same settings and rows: LoRA of rank 16 on all linear
layers, four rows in a batch, the loss of the answers alone. TRL gets the rows as prompts and completions, on as many
threads, and its own defaults for the rest.

*start* is the time from the start of a script until the first step is done. Each script is started so often, in turns;
arkor's backend does not run before. *step* is the processor time of a step of each, taking turns step by step, so that
other work of the machine costs both alike. The medians and their ratios are printed, and where arkor's start goes.

It needs the ``local`` extra and the model (``arkor models pull smollm2-135m``), and takes about five minutes.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any
from unittest.mock import patch

import click
from backend_process import ROOT

from arkor.system.files import arkor_home

MODEL = "smollm2-135m"
ROWS = ROOT / "examples" / "triage" / "data" / "tickets.jsonl"
BATCH, RATE, RANK = 4, 2e-4, 16
WARM_UP = 3  # steps that are not counted
MODES = ("arkor", "TRL")

_SCRIPT = """
import sys, time
from arkor import LocalDataset, Trainer

trainer = Trainer(name="bench", model="smollm2-135m", dataset=LocalDataset(sys.argv[1]), max_steps=3, backend="local")
created = trainer.start()
print("created", time.time(), flush=True)
for event in trainer.events():
    print(event.type, event.timestamp, flush=True)
    if event.type == "training.log":
        break
print("first", time.time(), flush=True)
trainer.cancel()
"""


@click.command()
@click.option("--steps", default=20, show_default=True, type=click.IntRange(min=1), help="Steps that are counted.")
@click.option("--starts", default=3, show_default=True, type=click.IntRange(min=1), help="Starts of each script.")
@click.option("--threads", default=os.cpu_count() or 1, show_default=True, type=click.IntRange(min=1))
@click.option("--as", "mode", type=click.Choice(["arkor-step", "TRL-step", "TRL-start"]), hidden=True)
def main(steps: int, starts: int, threads: int, mode: str | None) -> None:
    """Measure a start and a step."""
    if mode is not None:
        {"arkor-step": _train_with_arkor, "TRL-step": _train_with_trl, "TRL-start": _start_trl}[mode](steps, threads)
        return
    model = arkor_home() / "models" / MODEL
    if not model.is_dir():
        raise click.ClickException(f"there is no model in {model}: arkor models pull {MODEL}")
    with tempfile.TemporaryDirectory(prefix="arkor-training-") as folder:
        _print_starts(Path(folder), model, starts, threads)
        _print_steps(steps, threads)


def _print_starts(folder: Path, model: Path, count: int, threads: int) -> None:
    totals: dict[str, list[float]] = {mode: [] for mode in MODES}
    parts: list[dict[str, float]] = []
    for number in range(count):
        found = _arkor_start(folder / str(number), model)
        parts.append(found)
        totals["arkor"].append(sum(found.values()))
        began = time.monotonic()
        _own("TRL-start", 1, threads).wait()
        totals["TRL"].append(time.monotonic() - began)
    ours, theirs = (statistics.median(totals[mode]) for mode in MODES)
    click.echo(f"start   arkor {ours:.1f} s   TRL {theirs:.1f} s   ratio {ours / theirs:.2f}")
    for name in parts[0]:
        click.echo(f"  {statistics.median(part[name] for part in parts):4.1f} s  {name}")


def _arkor_start(home: Path, model: Path) -> dict[str, float]:
    """Run the script in a HOME of its own, and return the seconds of each part of its start."""
    (home / ".arkor" / "models").mkdir(parents=True)
    (home / ".arkor" / "models" / MODEL).symlink_to(model)
    (home / "project").mkdir()
    began = time.time()
    script = subprocess.run(
        [sys.executable, "-c", _SCRIPT, str(ROWS)],
        env={**os.environ, "HOME": str(home), "PYTHONPATH": str(ROOT)},
        cwd=home / "project",
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    moments = {"began": began}
    for line in script.stdout.splitlines():
        name, at = line.split()
        moments.setdefault(name, float(at) if at[:4].isdecimal() and "-" not in at else _seconds(at))
    subprocess.run(["pkill", "-f", str(home)], check=False)
    order = {
        "the job is submitted: the script, the backend, the rows": "created",
        "the rows are read: the worker and its libraries": "training.preparing",
        "the training starts: the tokens, the model and its adapter": "training.started",
        "the first step is told": "first",
    }
    found, before = {}, began
    for what, name in order.items():
        found[what], before = moments[name] - before, moments[name]
    return found


def _seconds(at: str) -> float:
    return datetime.fromisoformat(at.replace("Z", "+00:00")).astimezone(timezone.utc).timestamp()


def _print_steps(count: int, threads: int) -> None:
    total = WARM_UP + count
    children = {mode: _own(f"{mode}-step", total, threads) for mode in MODES}
    seconds: dict[str, list[float]] = {mode: [] for mode in MODES}
    for _ in range(total):
        for mode, child in children.items():
            assert child.stdin is not None
            assert child.stdout is not None
            child.stdin.write("go\n")
            child.stdin.flush()
            seconds[mode].append(float(_answer(mode, child)))
    for child in children.values():
        child.kill()
        child.wait()
    ours, theirs = (statistics.median(seconds[mode][WARM_UP:]) for mode in MODES)
    click.echo(f"step    arkor {ours:.2f} s   TRL {theirs:.2f} s   ratio {ours / theirs:.2f}   (processor time)")


def _answer(mode: str, child: subprocess.Popen[str]) -> str:
    assert child.stdout is not None
    for line in child.stdout:
        if line.startswith("took "):
            return line.split()[1]
    raise click.ClickException(f"the process that trains with {mode} has ended")


def _own(mode: str, steps: int, threads: int) -> subprocess.Popen[str]:
    command = [sys.executable, __file__, "--as", mode, "--steps", str(steps), "--threads", str(threads)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "TOKENIZERS_PARALLELISM": "false"}
    return subprocess.Popen(
        command,
        env={**environment, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


def _taking_turns() -> Any:
    """Return what lets a trainer of transformers do a step when it is told to, and say what it took."""
    from transformers import TrainerCallback

    class Turns(TrainerCallback):  # type: ignore[misc]  # transformers is not followed
        def on_step_begin(self, *_: Any, **__: Any) -> None:
            sys.stdin.readline()
            self.began = time.process_time()

        def on_step_end(self, *_: Any, **__: Any) -> None:
            print(f"took {time.process_time() - self.began}", flush=True)

    return Turns()


def _train_with_arkor(steps: int, threads: int) -> None:
    sys.path.insert(0, str(ROOT))  # for the stand-ins of the tests
    from arkor.backend.training_worker import model, training
    from arkor.backend.training_worker.limits.device import prepare_environment
    from arkor.backend.training_worker.stopping import Position, StopSwitch
    from arkor.protocol.config import JobConfig
    from tests.support.attempts import UPLOADED, Events, attempt

    prepare_environment(threads)
    build = model.build_trainer

    def build_with_turns(*arguments: Any) -> Any:
        trainer = build(*arguments)
        trainer.add_callback(_taking_turns())
        return trainer

    config = JobConfig(
        model=MODEL, dataset_source=UPLOADED, max_steps=steps, batch_size=BATCH, learning_rate=RATE, lora_r=RANK
    )
    folder = Path(tempfile.mkdtemp(prefix="arkor-training-"))
    try:
        stop = StopSwitch()
        with patch.object(model, "build_trainer", build_with_turns):
            training.train(attempt(config, folder, ROWS, threads=threads), Events(stop), stop, Position())  # type: ignore[arg-type]
    finally:
        shutil.rmtree(folder)


def _train_with_trl(steps: int, threads: int) -> None:
    trainer = _trl(steps, threads)
    trainer.add_callback(_taking_turns())
    trainer.train()


def _start_trl(steps: int, threads: int) -> None:
    _trl(steps, threads).train()


def _trl(steps: int, threads: int) -> Any:
    """Return TRL's trainer, as its own documents make one."""
    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from trl import SFTConfig, SFTTrainer

    torch.set_num_threads(threads)
    arguments = SFTConfig(
        output_dir=tempfile.mkdtemp(prefix="arkor-training-"),
        max_steps=steps,
        per_device_train_batch_size=BATCH,
        learning_rate=RATE,
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        disable_tqdm=True,
        model_init_kwargs={"dtype": "float32"},
    )
    return SFTTrainer(
        model=str(arkor_home() / "models" / MODEL),
        args=arguments,
        train_dataset=Dataset.from_list(list(_conversations(ROWS))),
        peft_config=LoraConfig(r=RANK, lora_alpha=RANK, target_modules="all-linear", task_type="CAUSAL_LM"),
    )


def _conversations(file: Path) -> Iterator[dict[str, Sequence[Any]]]:
    for line in file.read_text().splitlines():
        turns = json.loads(line)["messages"]
        yield {"prompt": turns[:-1], "completion": turns[-1:]}


if __name__ == "__main__":
    main()
