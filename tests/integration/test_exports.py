"""Exports of a real training: loaded by plain transformers, compared with what chats get, and refused if they differ.

The model is real and very small; its process, the trainer and the processes that export and check are real.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest
from safetensors.torch import load_file, save_file

from arkor import ExportFailed, Trainer, TrainingResult
from arkor.errors import ArkorError
from tests.support.backend import BackendProcess
from tests.support.by_heart import SETTINGS, line, real_backend, write_lines, write_sure_model
from tests.support.engine_line import EngineLine
from tests.support.export_task import export_task

if TYPE_CHECKING:
    from arkor.backend.task_worker.server_line import ServerLine

pytestmark = [
    pytest.mark.slow,
    pytest.mark.training,
    pytest.mark.timeout(400),
    pytest.mark.filterwarnings("default"),  # of the libraries'
]

WORDS = 30


@pytest.fixture(scope="module")
def backend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BackendProcess]:
    """A backend whose processes are real."""
    backend = real_backend(tmp_path_factory.mktemp("exports"))
    yield backend
    backend.close()


@pytest.fixture(scope="module")
def trained(backend: BackendProcess, tmp_path_factory: pytest.TempPathFactory) -> TrainingResult:
    """A job that learnt lines by heart, with a checkpoint."""
    folder = tmp_path_factory.mktemp("rows")
    trainer = Trainer(
        name="Words by heart",
        model=str(write_sure_model(folder / "model")),
        dataset=write_lines(folder / "rows.jsonl", range(WORDS)),
        backend=backend.url,
        project_dir=folder,
        save_steps=36,
        **SETTINGS,
    )
    return trainer.wait(timeout=300, check=True)


def export(result: TrainingResult, dest: Path, **settings: Any) -> Path:
    """Export, and return the folder."""
    return result.export(**{"to": "merged", "dest": dest, "timeout": 300, **settings})


@pytest.mark.parametrize("to", ["adapter", "merged"])
def test_an_export_answers_as_chats_do(trained: TrainingResult, tmp_path: Path, to: str) -> None:
    """In plain transformers, with the tokenizer and the template beside it; the card says what was found."""
    from peft import AutoPeftModelForCausalLM
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = export(trained, tmp_path, to=to)
    asked = line(28)["messages"][:1]
    loader = AutoPeftModelForCausalLM if to == "adapter" else AutoModelForCausalLM
    model, tokenizer = loader.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    prompt = tokenizer.apply_chat_template(asked, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    answer = model.generate(**prompt, do_sample=False, max_new_tokens=20)[0, prompt["input_ids"].shape[1] :]
    said = tokenizer.decode(answer, skip_special_tokens=True)
    assert said == trained.chat(messages=asked, temperature=0, max_tokens=20).text
    card = (folder / "README.md").read_text()
    assert "# Words by heart" in card
    assert "| learned | 24 rows to train on, 6 held out: 24 answers, " in card
    assert re.search(
        r"\| check \| answers as chats do: the likeliest token is the same at ([1-9]\d*) of \1 places of 6 rows", card
    )
    assert json.loads((folder / "arkor.json").read_text())["settings"]["learningRate"] == 0.03


def test_a_checkpoint_is_exported_in_the_type_that_is_asked_for(trained: TrainingResult, tmp_path: Path) -> None:
    """Without the check the card says so."""
    folder = export(trained, tmp_path, step=36, dtype="float16", check=False)
    weights = load_file(folder / "model.safetensors")
    assert {str(value.dtype) for value in weights.values()} == {"torch.float16"}
    card = (folder / "README.md").read_text()
    assert "from the checkpoint of step 36" in card
    assert "| check | not checked |" in card
    with pytest.raises(ExportFailed, match="no checkpoint of step 35"):
        export(trained, tmp_path, step=35)


def other_template(folder: Path) -> None:
    """Put a blank more into the chat template."""
    file = folder / "chat_template.jinja"
    file.write_text(file.read_text().replace("<{{", "say <{{"))


def no_end(folder: Path) -> None:
    """Let the model and its tokenizer name another end token."""
    config = json.loads((folder / "generation_config.json").read_text())
    (folder / "generation_config.json").write_text(json.dumps({**config, "eos_token_id": 7}))
    tokenizer = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps({**tokenizer, "eos_token": "w3"}))


def other_base(folder: Path) -> None:
    """Put other weights into the base model."""
    file = folder / "model.safetensors"
    found = load_file(file)
    found["lm_head.weight"] = found["lm_head.weight"].flip(0).contiguous()
    save_file(found, file, {"format": "pt"})


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (other_template, "is another prompt to the export than to a chat: its chat template or tokenizer is not that"),
        (no_end, r"The export does not end its answers: chats end that of row \d+ with token 0 \('</s>'\)"),
        (
            other_base,
            r"The export is not the model that chats get: the likeliest token is the same at \d+ of \d+ places",
        ),
    ],
)
def test_an_export_that_answers_otherwise_fails_the_check(
    backend: BackendProcess, trained: TrainingResult, tmp_path: Path, spoil: Callable[[Path], None], says: str
) -> None:
    """With what differs."""
    from arkor.backend.export_worker.check import check
    from arkor.backend.export_worker.making import make

    task = export_task(backend, trained, tmp_path, to="merged")
    make(task)
    with EngineLine(task.model_path, str(task.adapter_path)) as engine:
        line = cast("ServerLine", engine)
        assert check(task, line)["rows"] == 6
        spoil(task.made)
        with pytest.raises(ArkorError, match=says):
            check(task, line)
