"""The memory that a training takes on a CPU, beside the estimate that refuses jobs: ``python bench/memory.py``.

Trains twelve jobs that differ in model, batch, length, rank, optimizer, number type and gradient checkpointing, each in
a process of its own: three steps, and an evaluation. The peak is that of the process's anonymous memory (``RssAnon``,
read every few milliseconds) with the weights that it maps from files; other files the kernel can take back. The command
prints the estimate, the peak and their ratio. If a ratio is below 1 or above 1.3, it exits with 1.

One model is SmolLM2 135M; the two others are made from their configuration, with random weights: a wide one of few
layers, and one with a large vocabulary. It needs Linux, the ``local`` extra, the model (``arkor models pull
smollm2-135m``) and up to 10 GiB of memory, and takes about ten minutes.
"""

from __future__ import annotations

import contextlib
import json
import random
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
from backend_process import ROOT

from arkor.system.files import arkor_home

MOST = 1.3
PAUSE_S = 0.003
LOOKS_A_MAP = 100  # looks at the anonymous memory, between two at what is mapped from files
TRAINED, HELD_OUT = 4, 2  # times the rows of a step
REAL = "smollm2-135m"
# What differs from SmolLM2's configuration.
MODELS: dict[str, dict[str, Any]] = {
    "wide": {
        "hidden_size": 1024,
        "intermediate_size": 2816,
        "num_hidden_layers": 6,
        "num_attention_heads": 16,
        "num_key_value_heads": 16,
        "tie_word_embeddings": False,
    },
    "many words": {
        "hidden_size": 512,
        "intermediate_size": 2048,
        "num_hidden_layers": 8,
        "num_attention_heads": 8,
        "num_key_value_heads": 2,
        "vocab_size": 151_936,
    },
}
# The model, tokens of each row, the share of them that counts, and the settings.
CONFIGURATIONS: tuple[tuple[str, int, float, dict[str, Any]], ...] = (
    (REAL, 128, 0.4, {"batch_size": 4}),
    (REAL, 128, 0.4, {"batch_size": 4, "lora_r": 256, "optim": "adafactor"}),
    (REAL, 64, 0.9, {"batch_size": 1, "lora_r": 8, "optim": "sgd"}),
    (REAL, 512, 0.9, {"batch_size": 2, "lora_r": 64}),
    (REAL, 512, 0.2, {"batch_size": 8, "lora_target_modules": ["q_proj", "v_proj"]}),
    (REAL, 2048, 0.5, {"batch_size": 2, "gradient_checkpointing": True}),
    (REAL, 1024, 0.5, {"batch_size": 2, "dtype": "bfloat16"}),
    (REAL, 256, 0.5, {"batch_size": 8, "modules_to_save": ["lm_head"], "gradient_accumulation_steps": 2}),
    ("wide", 256, 0.5, {"batch_size": 8}),
    ("wide", 1024, 0.3, {"batch_size": 1, "gradient_checkpointing": True, "dtype": "bfloat16", "lora_r": 128}),
    ("many words", 256, 0.5, {"batch_size": 4}),
    ("many words", 1024, 0.9, {"batch_size": 4, "eval_batch_size": 4}),
)

_CHILD = """
import json, sys
from pathlib import Path
from unittest.mock import patch

from arkor.backend.training_worker.limits.device import prepare_environment

given = json.loads(sys.argv[1])
prepare_environment(2)
import attrs

from arkor.backend.models.sizes import ModelSizes
from arkor.backend.training_worker import training
from arkor.backend.training_worker.memory import Fitted, estimator
from arkor.backend.training_worker.spec import WorkerSpec
from arkor.backend.training_worker.stopping import Position, StopSwitch
from arkor.protocol.config import JobConfig


class Reporter:
    threads = None

    def send(self, kind, **fields):
        pass


def note(config, data, model_path):
    needed = estimator(ModelSizes.of_folder(Path(model_path)), data)(config)
    print(json.dumps(attrs.asdict(needed) | {"total": needed.total}), flush=True)
    return Fitted(config)


folder = Path(given["folder"])
config = JobConfig(
    model=given["model"],
    dataset_source={"type": "dataset", "id": "0" * 64},
    dataset_split={"evalFraction": given["evalFraction"]},
    excess_length="truncate",
    max_steps=3,
    eval_steps=3,
    **given["settings"],
)
spec = WorkerSpec(
    job_id="job_1", attempt=1, token="", backend_url="http://127.0.0.1:1", name="memory", config=config,
    dataset_path=given["rows"], job_dir=folder, threads=2, model_root=Path("/"),
)
with patch.object(training, "fitted", note):
    training.train(spec, Reporter(), StopSwitch(), Position())
"""


@click.command()
@click.option("--only", type=click.IntRange(1, len(CONFIGURATIONS)), multiple=True, help="The number of a job.")
def main(only: tuple[int, ...]) -> None:
    """Compare the estimate with what trainings take."""
    click.echo(f"{'':2} {'model':13} {'rows':>4} {'tokens':>6} {'counted':>7}  estimate MiB  peak MiB  ratio  settings")
    worst = []
    with tempfile.TemporaryDirectory() as work:
        for number, (name, tokens, counted, settings) in enumerate(CONFIGURATIONS, start=1):
            if only and number not in only:
                continue
            folder = Path(work) / str(number)
            folder.mkdir()
            needed, peak = _measured(folder, _model(Path(work), name), tokens, counted, settings)
            worst.append(needed / peak)
            others = ", ".join(f"{key}={value}" for key, value in settings.items() if key != "batch_size")
            click.echo(
                f"{number:2} {name:13} {settings['batch_size']:4} {tokens:6} {counted:7.0%}  {needed / 2**20:12,.0f}  "
                f"{peak / 2**20:8,.0f}  {needed / peak:5.2f}  {others}"
            )
    if not 1 <= min(worst) <= max(worst) <= MOST:
        raise click.ClickException(f"a ratio is below 1 or above {MOST}")


def _model(work: Path, name: str) -> str:
    """Return the folder of a model, made if it is none of the catalogue."""
    real = arkor_home() / "models" / REAL
    if name == REAL:
        return str(real)
    folder = work / name.replace(" ", "-")
    if not folder.is_dir():
        code = (
            "import sys, torch, json; from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer\n"
            "real, folder, others = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])\n"
            "config = AutoConfig.from_pretrained(real, **others)\n"
            "config.head_dim = config.hidden_size // config.num_attention_heads\n"
            "AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16).save_pretrained(folder)\n"
            "AutoTokenizer.from_pretrained(real).save_pretrained(folder)\n"
        )
        subprocess.run([sys.executable, "-c", code, str(real), str(folder), json.dumps(MODELS[name])], check=True)
    return str(folder)


def _measured(folder: Path, model: str, tokens: int, counted: float, settings: Mapping[str, Any]) -> tuple[int, int]:
    """Train, and return the estimate and the peak, in bytes."""
    rows = folder / "rows.jsonl"
    most = max(settings["batch_size"] * settings.get("gradient_accumulation_steps", 1), 4)
    count, held_out = TRAINED * most, HELD_OUT * most
    rows.write_text("".join(_row(number, tokens, counted) + "\n" for number in range(count + held_out)))
    given = {
        "folder": str(folder),
        "model": model,
        "rows": str(rows),
        "evalFraction": held_out / (count + held_out),
        "settings": {**settings, "max_length": tokens},
    }
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", _CHILD, json.dumps(given)], stdout=subprocess.PIPE, stderr=log, cwd=ROOT
        )
        peak = weights = looks = 0
        while process.poll() is None:
            weights = weights if looks % LOOKS_A_MAP else _mapped_weights_bytes(process.pid)
            looks += 1
            peak = max(peak, _anonymous_bytes(process.pid) + weights)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(PAUSE_S)
    assert process.stdout is not None
    said = process.stdout.read()
    if process.returncode:
        raise click.ClickException(f"the training failed:\n{(folder / 'log').read_text()[-3000:]}")
    return int(json.loads(said.splitlines()[0])["total"]), peak


def _row(number: int, tokens: int, counted: float) -> str:
    """Return a row of more than so many tokens, whose answer begins where the share to be counted does."""
    rng = random.Random(number)
    words = ["tea", "cup", "red", "sun", "map", "car", "box", "key", "pen", "hat"]
    question = " ".join(rng.choice(words) for _ in range(max(1, round(tokens * (1 - counted)) - 30)))
    answer = " ".join(rng.choice(words) for _ in range(tokens))
    return json.dumps({"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]})


def _mapped_weights_bytes(pid: int) -> int:
    """Return how much of the model's files is in memory: weights of their own number type are not copied."""
    try:
        maps = Path(f"/proc/{pid}/smaps").read_text()
    except OSError:
        return 0
    return sum(int(size) for size in re.findall(r"\.safetensors\n(?:.*\n)*?Rss:\s+(\d+) kB\n", maps)) * 1024


def _anonymous_bytes(pid: int) -> int:
    try:
        found = re.search(r"^RssAnon:\s+(\d+) kB$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    except OSError:
        return 0
    return int(found[1]) * 1024 if found else 0


if __name__ == "__main__":
    main()
