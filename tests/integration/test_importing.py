"""Adapters that plain PEFT has trained and saved, imported: they answer as in PEFT, and are jobs like any other.

The model is real and very small; its process, the trainer and the processes that check, evaluate and export are real.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from arkor import AdapterRef, CloudApiError, Conflict, ModelError, Trainer, TrainingResult, import_adapter
from tests.support.backend import BackendProcess
from tests.support.by_heart import line, real_backend, write_lines, write_sure_model
from tests.support.elsewhere import train_elsewhere

pytestmark = [
    pytest.mark.slow,
    pytest.mark.training,
    pytest.mark.timeout(400),
    pytest.mark.filterwarnings("default"),  # of the libraries'
]

WORDS = 12
WEIGHTS = "adapter_model.safetensors"
FIRST = line(3)["messages"][:1]


@pytest.fixture(scope="module")
def backend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BackendProcess]:
    """A backend whose processes are real."""
    backend = real_backend(tmp_path_factory.mktemp("importing"))
    yield backend
    backend.close()


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The base model."""
    return write_sure_model(tmp_path_factory.mktemp("base") / "model")


@pytest.fixture(scope="module")
def adapter(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The adapter, trained elsewhere; its configuration names the folder of the base model."""
    return train_elsewhere(base, tmp_path_factory.mktemp("elsewhere") / "my-lora", range(WORDS))


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder whose project the jobs belong to."""
    return tmp_path_factory.mktemp("project")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The user's HOME, which keeps the identity that the jobs belong to."""
    return str(tmp_path_factory.mktemp("home"))


@pytest.fixture(autouse=True)
def _one_user(home: str, monkeypatch: pytest.MonkeyPatch, _own_world: None) -> None:
    """Let all tests be of one user."""
    monkeypatch.setenv("HOME", home)


@pytest.fixture(scope="module")
def imported(backend: BackendProcess, adapter: Path, project: Path, home: str) -> TrainingResult:
    """Its job."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", home)
        return import_adapter(adapter, backend=backend.url, project_dir=project, timeout=200)


def plain_answer(base: Path, adapter: Path) -> tuple[str, list[float]]:
    """Return what plain PEFT answers to the first question, and how likely it finds each token, in nats."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(base)
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), adapter)
    prompt = tokenizer.apply_chat_template(FIRST, add_generation_prompt=True, return_dict=False)
    ids = model.generate(input_ids=torch.tensor([prompt]), do_sample=False, max_new_tokens=4)[0]
    with torch.inference_mode():
        likely = torch.log_softmax(model(input_ids=ids[None]).logits[0].float(), -1)
    theirs = [float(likely[place - 1, ids[place]]) for place in range(len(prompt), len(ids))]
    return tokenizer.decode(ids[len(prompt) :], skip_special_tokens=True), theirs


def test_an_imported_adapter_is_a_finished_job(imported: TrainingResult, base: Path, adapter: Path) -> None:
    """Its settings say its shape, and where it comes from; its weights come back byte by byte."""
    assert (imported.status, imported.job.name, imported.job.prompt_form) == ("completed", "my-lora", "chat")
    assert imported.job.config == {
        "model": str(base),
        "datasetSource": {"type": "imported", "name": "my-lora"},
        "loraR": 8,
        "loraAlpha": 16,
        "loraDropout": 0.0,
        "loraTargetModules": ["down_proj", "q_proj", "up_proj", "v_proj"],
        "useRslora": False,
        "useDora": False,
    }
    assert (imported.receipt, imported.record, len(imported.metrics())) == (None, None, 0)


def test_its_weights_come_back(imported: TrainingResult, adapter: Path, tmp_path: Path) -> None:
    """Byte by byte, in an archive like that of a job that trained."""
    [folder] = imported.download(tmp_path)
    assert sorted(file.name for file in folder.iterdir()) == ["adapter_config.json", WEIGHTS]
    assert (folder / WEIGHTS).read_bytes() == (adapter / WEIGHTS).read_bytes()


def test_it_answers_as_plain_peft_does(imported: TrainingResult, base: Path, adapter: Path) -> None:
    """With the same tokens, which are as likely."""
    answer = imported.chat(messages=FIRST, temperature=0, max_tokens=4, logprobs=True)
    text, likelihoods = plain_answer(base, adapter)
    assert answer.text == text == "<assistant> w3 w1 w2"
    assert answer.text != imported.chat(messages=FIRST, base=True, temperature=0, max_tokens=4).text
    assert [one.logprob for one in answer.logprobs] == pytest.approx(likelihoods, abs=0.05)


def test_it_is_evaluated_on_rows_that_are_named(imported: TrainingResult, tmp_path: Path) -> None:
    """Without rows, it is said at once that it has none of its own."""
    with pytest.raises(CloudApiError, match=r"rows: job job_\w+ was imported, so it held no rows out: name the rows"):
        imported.evaluate(timeout=200)
    rows = write_lines(tmp_path / "rows.jsonl", range(WORDS))
    report = imported.evaluate(rows=rows, scorers=["overlap"], retention=False, timeout=200)
    assert report.rows is not None
    assert (report.rows.asked, report.rows.leaked) == (WORDS, [])
    assert report.verdict.startswith("better: ")


@pytest.mark.parametrize("to", ["adapter", "merged"])
def test_its_export_is_checked_with_general_questions(imported: TrainingResult, tmp_path: Path, to: str) -> None:
    """And its card says that it was imported."""
    folder = imported.export(to=to, dest=tmp_path, timeout=200)
    card = (folder / "README.md").read_text()
    assert "| imported from | my-lora |" in card
    assert "places of 20 rows" in card
    assert "Made with [arkor]" in card


def test_a_training_goes_on_from_it(
    backend: BackendProcess, imported: TrainingResult, base: Path, project: Path, tmp_path: Path
) -> None:
    """Its first loss is that of the adapter, and resuming the imported job itself is refused."""
    rows = write_lines(tmp_path / "rows.jsonl", range(WORDS))
    settings: dict[str, Any] = {"num_train_epochs": 1, "learning_rate": 1e-6}
    trainer = Trainer(
        name="on",
        model=str(base),
        base_adapter=AdapterRef("final", imported.job.id),
        dataset=rows,
        backend=backend.url,
        project_dir=project,
        **settings,
    )
    result = trainer.wait(timeout=300, check=True)
    assert result.job.config["loraR"] == 8
    assert (result.metrics()[0].loss or 9) < 0.5
    with pytest.raises(Conflict, match="was imported, so there is no training to resume: name it as base_adapter"):
        Trainer.attach(imported.job.id, backend=backend.url, project_dir=project).resume()


def test_every_kind_of_adapter_that_trainings_make_can_come_and_go_on(
    backend: BackendProcess, base: Path, project: Path, tmp_path: Path
) -> None:
    """DoRA in 16 bits, modules that a pattern names, ranks of their own, and a module that was trained whole."""
    folder = train_elsewhere(
        base,
        tmp_path / "many",
        range(WORDS),
        steps=20,
        use_dora=True,
        use_rslora=True,
        target_modules=r".*(q_proj|up_proj)",
        rank_pattern={"q_proj": 4},
        alpha_pattern={"up_proj": 4},
        modules_to_save=["lm_head"],
    )
    weights = load_file(folder / WEIGHTS)
    save_file({name: value.bfloat16() for name, value in weights.items()}, folder / WEIGHTS)
    result = import_adapter(folder, name="many", backend=backend.url, project_dir=project, timeout=200)
    assert result.job.config["loraTargetModules"] == ["q_proj", "up_proj"]
    assert result.job.config["modulesToSave"] == ["lm_head"]
    said = result.chat(messages=FIRST, temperature=0, max_tokens=4).text
    assert said == plain_answer(base, folder)[0]
    trainer = Trainer(
        name="on",
        model=str(base),
        base_adapter=result,
        dataset=write_lines(tmp_path / "rows.jsonl", range(WORDS)),
        backend=backend.url,
        project_dir=project,
        max_steps=1,
        learning_rate=1e-6,
    )
    went_on = trainer.wait(timeout=300, check=True)
    assert went_on.chat(messages=FIRST, temperature=0, max_tokens=4).text == said
    [made] = went_on.download(tmp_path / "made")
    assert json.loads((made / "adapter_config.json").read_text())["rank_pattern"] == {"q_proj": 4}


def test_an_adapter_of_another_model_is_refused_and_nothing_is_kept(
    backend: BackendProcess, adapter: Path, project: Path, tmp_path: Path
) -> None:
    """The text names the tensor; one without its weights does not even reach the backend."""
    jobs = set(backend.data.glob("jobs/*"))
    other = shutil.copytree(adapter, tmp_path / "other")
    weights = load_file(other / WEIGHTS)
    save_file({name.replace("layers.0", "layers.7"): value for name, value in weights.items()}, other / WEIGHTS)
    with pytest.raises(
        ModelError, match=r"other was not imported: .*layers\.7.* belongs to a module that .* does not have"
    ):
        import_adapter(other, backend=backend.url, project_dir=project, timeout=200)
    (other / WEIGHTS).rename(other / "adapter_model.bin")
    with pytest.raises(ModelError, match=r"adapter_model\.bin, a pickle"):
        import_adapter(other, backend=backend.url, project_dir=project, timeout=200)
    assert set(backend.data.glob("jobs/*")) == jobs
