"""A training, its resuming and its chats on a GPU, beside TRL and transformers alone: ``python bench/gpu.py``.

Both train the same model on the rows of examples/triage with the same settings: LoRA of rank 16 on all linear layers,
four rows in a batch, bfloat16, the loss of the answers alone. arkor trains twice through its backend; the second time
its worker is killed in the middle. Then the adapter answers by arkor and by ``generate`` of transformers. The table has
the median of a step, what both have learned, and the largest difference of a loss after the kill.

No network is used. The model is a folder; ``--random-init`` makes one with the shape of SmolLM2 135M and random
weights, and a tokenizer of the rows. It needs the ``local`` extra, and one CUDA device for each of ``--devices``; TRL
always has one. ``--cpu`` tries it out without one, with a small model.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import attrs
import click
from backend_process import ROOT, BackendProcess

ROWS = ROOT / "examples" / "triage" / "data" / "tickets.jsonl"
BATCH, RATE, RANK = 4, 2e-4, 16
TOKENS = 64  # of an answer
ANSWERS = 5  # of which the first does not count: it loads the model
WARM_UP = 3  # steps that do not count
PATIENCE_S = 3600
SMOLLM2 = {
    "vocab_size": 49152,
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "tie_word_embeddings": True,
    "max_position_embeddings": 8192,
    "rope_parameters": {"rope_theta": 100000.0, "rope_type": "default"},
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 2,
}
SMALL = {"vocab_size": 4096, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2}
SMALL |= {"num_attention_heads": 4, "num_key_value_heads": 2}
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@attrs.frozen
class Case:
    """What is measured.

    Attributes:
        model: the model's folder.
        steps: optimizer steps.
        devices: how many of them train.
        cpu: whether it is only tried out.
    """

    model: str
    steps: int
    devices: int
    cpu: bool

    @property
    def settings(self) -> dict[str, Any]:
        """Those of arkor's trainer."""
        return {
            "model": self.model,
            "max_steps": self.steps,
            "batch_size": BATCH,
            "learning_rate": RATE,
            "devices": self.devices,
            "dtype": "float32" if self.cpu else "bfloat16",
            "save_steps": max(2, self.steps // 4),
            "lora": {"r": RANK, "alpha": RANK},
        }


@attrs.define
class Run:
    """A training.

    Attributes:
        device: what it ran on, as the worker says.
        first_s: seconds until the first step was told.
        step_s: seconds of each step.
        losses: by step.
        resumed_s: seconds from a kill of the worker until the next step.
        chat: tokens a second of its adapter's answers.
    """

    device: str = ""
    first_s: float = 0.0
    step_s: list[float] = attrs.field(factory=list)
    losses: dict[int, float] = attrs.field(factory=dict)
    resumed_s: float | None = None
    chat: float = 0.0


@click.command()
@click.argument("model", required=False, type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--random-init", is_flag=True, help="Make a model with the shape of SmolLM2 135M and random weights.")
@click.option("--steps", default=60, show_default=True, type=click.IntRange(min=WARM_UP + 5))
@click.option("--devices", default=1, show_default=True, type=click.IntRange(min=1))
@click.option("--cpu", is_flag=True, help="Only try it out: a small model, on the processor.")
@click.option("--as", "mode", type=click.Choice(["trl", "transformers"]), hidden=True)
@click.option("--adapter", hidden=True)
def main(
    *, model: Path | None, random_init: bool, steps: int, devices: int, cpu: bool, mode: str | None, adapter: str
) -> None:
    """Train, resume and chat with MODEL, a folder: by default SmolLM2 135M, as arkor has fetched it."""
    if mode is not None:
        case = Case(str(model), steps, devices, cpu=cpu)
        print(json.dumps(_trl(case) if mode == "trl" else _generate(case, adapter)), flush=True)
        return
    found = model or Path.home() / ".arkor" / "models" / "smollm2-135m"
    with tempfile.TemporaryDirectory(prefix="arkor-gpu-") as name:
        folder = Path(name)
        os.environ.update(HOME=name, HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false")
        if random_init or cpu:
            _write_model(folder / "model" / "random", SMALL if cpu else {})
            found = folder / "model" / "random"
        elif not found.is_dir():
            raise click.ClickException(f"there is no model in {found}: name a folder, or use --random-init")
        _measure(Case(str(found.resolve()), steps, devices, cpu=cpu), folder)


def _measure(case: Case, folder: Path) -> None:
    backend = BackendProcess(folder, {"model-root": Path(case.model).parent, "chat-engine": "transformers"})
    backend.start()
    try:
        whole = _train(case, backend, folder)
        killed = _train(case, backend, folder, kill_at=case.steps // 2)
    finally:
        backend.stop()
    alone = _own(case, "trl")
    chat = _own(case, "transformers", "--adapter", str(folder / "out" / "adapter"))["chat"]
    _print(whole, killed, alone, chat)


def _train(case: Case, backend: BackendProcess, folder: Path, kill_at: int | None = None) -> Run:
    """Train through the backend, and let the adapter answer if the worker was not killed."""
    import arkor

    trainer = arkor.Trainer(
        name="gpu", dataset=arkor.LocalDataset(ROWS), backend=backend.url, project_dir=folder, **case.settings
    )
    run, began = Run(), time.monotonic()
    killed_at = 0.0
    moments: list[float] = []
    trainer.start()
    for event in trainer.events(timeout=PATIENCE_S):
        now = time.monotonic()
        if isinstance(event, arkor.TrainingStartedEvent):
            run.device = str(event.metadata["device"])
            if run.device == "cpu" and not case.cpu:
                raise click.ClickException("the worker found no GPU; --cpu tries this out on the processor")
        if not isinstance(event, arkor.TrainingLogEvent) or event.loss is None:
            continue
        run.losses[event.step] = event.loss
        run.first_s = run.first_s or now - began
        moments.append(datetime.fromisoformat(event.timestamp.replace("Z", "+00:00")).timestamp())
        if killed_at:
            run.resumed_s, killed_at = now - killed_at, 0.0
        if event.step == kill_at:
            for worker in backend.workers().values():
                worker.kill()
            killed_at = time.monotonic()
    result = trainer.wait(timeout=PATIENCE_S, check=True)
    run.step_s = [after - before for before, after in pairwise(moments)]
    if kill_at is None:
        result.download(folder / "out")
        run.chat = _chat(lambda: _answered(result.chat(messages=_question(), max_tokens=TOKENS, temperature=0)))
    return run


def _answered(response: Any) -> int:
    """Read an answer, and return how many tokens it has."""
    return len(response.text) and int(response.usage["completion_tokens"])


def _question() -> list[dict[str, str]]:
    return list(json.loads(ROWS.read_text().splitlines()[-1])["messages"][:-1])


def _chat(answer: Callable[[], int]) -> float:
    """Have answers made, and return their tokens a second."""
    rates = []
    for _ in range(ANSWERS):
        began = time.monotonic()
        rates.append(answer() / (time.monotonic() - began))
    return statistics.median(rates[1:])


def _own(case: Case, mode: str, *arguments: str) -> dict[str, Any]:
    """Measure TRL or transformers alone, in a process of its own."""
    command = [sys.executable, __file__, case.model, "--as", mode, "--steps", str(case.steps), *arguments]
    command += ["--cpu"] if case.cpu else []
    environment = {**os.environ, "OMP_WAIT_POLICY": "PASSIVE"}  # as arkor's processes have it
    ended = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if ended.returncode:
        raise click.ClickException(f"{mode} failed:\n{ended.stderr[-3000:]}")
    return dict(json.loads(ended.stdout.splitlines()[-1]))


def _trl(case: Case) -> dict[str, Any]:
    """Train with TRL's trainer, as its own documents make one."""
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import TrainerCallback
    from trl import SFTConfig, SFTTrainer

    moments, losses = [time.monotonic()], {}

    class Note(TrainerCallback):  # type: ignore[misc]  # transformers is not followed
        def on_log(self, _args: Any, state: Any, _control: Any, logs: Mapping[str, float], **_: Any) -> None:
            if "loss" in logs:
                moments.append(time.monotonic())
                losses[state.global_step] = logs["loss"]

    rows = [json.loads(line)["messages"] for line in ROWS.read_text().splitlines()]
    SFTTrainer(
        model=case.model,
        args=SFTConfig(
            output_dir=tempfile.mkdtemp(),
            max_steps=case.steps,
            per_device_train_batch_size=BATCH,
            learning_rate=RATE,
            logging_steps=1,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            use_cpu=case.cpu,
            bf16=not case.cpu,
            gradient_checkpointing=not case.cpu,
            model_init_kwargs={"dtype": case.settings["dtype"]},
        ),
        train_dataset=Dataset.from_list([{"prompt": turns[:-1], "completion": turns[-1:]} for turns in rows]),
        peft_config=LoraConfig(r=RANK, lora_alpha=RANK, target_modules="all-linear", task_type="CAUSAL_LM"),
        callbacks=[Note()],
    ).train()
    return {
        "first_s": moments[1] - moments[0],
        "step_s": statistics.median(after - before for before, after in pairwise(moments[1 + WARM_UP :])),
        "losses": losses,
    }


def _generate(case: Case, adapter: str) -> dict[str, Any]:
    """Answer with transformers alone."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(case.model)
    base = AutoModelForCausalLM.from_pretrained(case.model, dtype=torch.bfloat16)
    model = PeftModel.from_pretrained(base, adapter).to("cpu" if case.cpu else "cuda").eval()
    prompt = tokenizer.apply_chat_template(
        _question(), add_generation_prompt=True, return_tensors="pt", return_dict=True
    ).to(model.device)

    def answer() -> int:
        said = model.generate(**prompt, max_new_tokens=TOKENS, do_sample=False)
        return int(said.shape[1] - prompt["input_ids"].shape[1])

    return {"chat": _chat(answer)}


def _print(whole: Run, killed: Run, alone: Mapping[str, Any], chat: float) -> None:
    step_s = statistics.median(whole.step_s[WARM_UP:])
    last = max(whole.losses)
    apart = max(abs(killed.losses[step] - loss) for step, loss in whole.losses.items())
    lines = [
        ("start to first step, s", f"{whole.first_s:.1f}", f"{alone['first_s']:.1f}", ""),
        ("a step, s", f"{step_s:.4f}", f"{alone['step_s']:.4f}", f"{step_s / alone['step_s']:.2f}"),
        (f"loss at step {last}", f"{whole.losses[last]:.4f}", f"{alone['losses'][str(last)]:.4f}", ""),
        ("kill to next step, s", f"{killed.resumed_s or 0.0:.1f}", "", ""),
        ("largest difference of a loss after it", f"{apart:.1e}", "", ""),
        ("an answer, tokens/s", f"{whole.chat:.1f}", f"{chat:.1f}", f"{whole.chat / chat:.2f}"),
    ]
    click.echo(f"on {_machine(whole.device)}\n| what | arkor | alone | ratio |\n|---|---|---|---|")
    for line in lines:
        click.echo(f"| {' | '.join(line)} |")


def _machine(device: str) -> str:
    """Return the device and the versions, in words."""
    import torch
    import transformers
    import trl

    name = torch.cuda.get_device_name() if device == "cuda" else device
    return f"{name}: torch {torch.__version__}, transformers {transformers.__version__}, TRL {trl.__version__}"


def _write_model(folder: Path, shape: Mapping[str, Any]) -> None:
    """Write a model of random weights, with a tokenizer of the rows."""
    import torch
    from tokenizers import ByteLevelBPETokenizer
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    learned = ByteLevelBPETokenizer()
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    learned.train_from_iterator(ROWS.read_text().splitlines(), vocab_size=4096, special_tokens=special)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=learned._tokenizer, eos_token="<|im_end|>", pad_token="<|im_end|>", bos_token="<|im_start|>"
    )
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(**{**SMOLLM2, **shape}))
    model.to(torch.bfloat16).save_pretrained(folder)


if __name__ == "__main__":
    main()
