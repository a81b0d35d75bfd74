"""``arkor init`` as its users meet it: on terminals and in scripts, and what they can do with what it leaves."""

from __future__ import annotations

import gzip
import json
import os
import re
import shlex
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest

from arkor.cli import cli
from arkor.entry.bundle import build
from arkor.scaffold.layout import plan
from arkor.scaffold.templates import TEMPLATES, Template, of_rows
from arkor.system.origin import requirement
from arkor.trainer.recipe import recipe_for
from tests.support.backend import ROOT, BackendProcess, own_backend
from tests.support.cloud import Cloud
from tests.support.commands import Command, run
from tests.support.contract import Answer, Stream
from tests.support.events import ADAPTER, DONE, checkpoint, chunk, completed, log, started
from tests.support.terminal import Terminal

TIMEOUT_S = 60.0
NEXT = """\
Next:
  cd my-bot
  pip install -r requirements.txt
"""
# What each template's check is glad about, and an answer of the right form that it is not glad about.
ANSWERS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "triage": (
        {"category": "auth", "urgency": "high", "summary": "Locked out", "nextAction": "Reset the password"},
        {"category": "auth", "urgency": "low", "summary": "Locked out", "nextAction": "Wait"},
    ),
    "translate": (
        {"translation": "I forgot my password.", "detectedLanguage": "de"},
        {"translation": "I forgot my password.", "detectedLanguage": "nl"},
    ),
    "redaction": (
        {"redactedText": "Write to [REDACTED] or [REDACTED].", "redactedCount": 2, "tags": ["EMAIL", "PHONE"]},
        {"redactedText": "Write to jane.doe@example.com.", "redactedCount": 2, "tags": ["EMAIL"]},
    ),
}


def files(folder: Path) -> dict[str, bytes]:
    """Return the content of every file of a project, but for those of git."""
    return {
        str(file.relative_to(folder)): file.read_bytes()
        for file in folder.rglob("*")
        if file.is_file() and ".git" not in file.relative_to(folder).parts
    }


def set_up(folder: Path, template: Template) -> None:
    """Set a project up without the command, where a test is about what comes after it."""
    list(plan(folder, template, "bot").apply())


# In scripts


@pytest.mark.parametrize("template", TEMPLATES)
def test_a_project_of_each_template_can_be_built(template: str, project: Path) -> None:
    """Every file is listed, the next steps follow, and nothing is asked."""
    ended = run("init", "my-bot", "--template", template)
    assert (ended.code, ended.err) == (0, "")
    listed = re.findall(r"^  created  (.+)$", ended.out, re.MULTILINE)
    assert set(listed) == {*files(project / "my-bot"), ".git"}
    before = "".join(f"  {line}\n" for line in TEMPLATES[template].before)
    assert ended.out.endswith(f"\n{NEXT}{before}  arkor start{' --local' if TEMPLATES[template].is_local else ''}\n")
    assert ("# put your rows into data/rows.jsonl\n" in ended.out) is (template == "blank")
    assert build(project_dir=project / "my-bot").is_file()


def test_a_script_gets_the_local_template_in_its_own_folder(project: Path) -> None:
    """Named after the folder, as its project will be; also where a scheduler gives it no standard input."""
    words = [sys.executable, "-m", "arkor.cli", "init", "--skip-git"]
    printed = subprocess.check_output(["sh", "-c", 'exec "$@" <&- 2>&1', "sh", *words], text=True, timeout=TIMEOUT_S)
    assert 'name="my-project",' in (project / "src" / "arkor" / "trainer.py").read_text()
    assert (project / "data" / "orders.jsonl").is_file()
    assert printed.endswith("Next:\n  pip install -r requirements.txt\n  arkor start --local\n")


def test_a_project_that_is_there_is_kept(project: Path) -> None:
    """It needs no template, and gets neither the files of the default one nor a repository."""
    set_up(project, TEMPLATES["triage"])
    before = files(project)
    ended = run("init")
    assert (ended.code, ended.err) == (0, "")
    assert set(re.findall(r"^  (\w+) ", ended.out.partition("Next:")[0], re.MULTILINE)) == {"kept"}
    assert files(project) == before
    assert not (project / ".git").exists()


def test_what_is_there_is_kept_or_patched_and_what_is_left_to_do_is_said(project: Path) -> None:
    """On stderr, a line each; the exit code says that the project can be used."""
    (project / "pyproject.toml").write_text("[project]\ndynamic = ['dependencies']\n")
    (project / ".gitignore").write_bytes(b"*.log\r\n")
    (project / "src" / "arkor").mkdir(parents=True)
    (project / "src" / "arkor" / "__init__.py").write_text("")
    ended = run("init", "--template", "blank")
    assert ended.code == 0
    assert "  kept     pyproject.toml\n" in ended.out
    assert "  patched  .gitignore: added .arkor/, adapters/\n" in ended.out
    assert (project / ".gitignore").read_bytes() == b"*.log\r\n.arkor/\r\nadapters/\r\n"
    assert ended.err.splitlines() == [
        f'Note: pyproject.toml: its dependencies are dynamic. Add this requirement: "{requirement("local")}"',
        "Note: src/arkor/__init__.py hides the installed arkor when the project runs; move or remove it.",
    ]


def test_a_name_with_quotes_does_not_break_the_code(project: Path) -> None:
    """It is the trainer's name, to the letter."""
    name = """it's "mine" \\"""
    assert run("init", "--template", "blank", "--name", name).code == 0
    show = "from arkor.entry.runner import load_trainer; print(load_trainer().name)"
    assert subprocess.check_output([sys.executable, "-c", show], text=True, timeout=TIMEOUT_S) == f"{name}\n"


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("there",), "there is a file, not a folder. Nothing was changed."),
        (("--name", ""), "The name must be one line of printable text, not ''."),
    ],
)
def test_bad_input_changes_nothing(arguments: tuple[str, ...], reason: str, project: Path) -> None:
    """One line says why."""
    (project / "there").write_text("x")
    ended = run("init", *arguments)
    assert ended.code == 2
    assert reason in ended.err
    assert files(project) == {"there": b"x"}


def test_a_disk_that_fails_in_the_middle_leaves_what_is_listed(project: Path) -> None:
    """And says how to go on."""
    script = (
        "import errno, pathlib\n"
        "from arkor.scaffold import layout\n"
        "write = layout.write_atomically\n"
        "def full(path, data, **options):\n"
        "    if path.name == 'trainer.py': raise OSError(errno.ENOSPC, 'No space left on device')\n"
        "    write(path, data, **options)\n"
        "layout.write_atomically = full\n"
        "from arkor.cli import main\n"
        "main(['init', 'a b', '--template', 'triage'])\n"
    )
    ended = Command(program=("-c", script)).end()
    assert ended.code == 2
    assert set(re.findall(r"^  created  (.+)$", ended.out, re.MULTILINE)) == set(files(project / "a b"))
    assert ended.err.endswith(
        "trainer.py cannot be written: No space left on device. "
        "The listed files are in place; run the command again to add the rest.\n"
    )


def test_nobody_who_listens_is_no_reason_to_stop(project: Path) -> None:
    """``arkor init | head -1`` makes the whole project."""
    with subprocess.Popen([sys.executable, "-m", "arkor.cli", "init"], stdout=subprocess.PIPE, stdin=None) as process:
        assert process.stdout is not None
        process.stdout.close()
        process.wait(TIMEOUT_S)
    assert (project / "src" / "arkor" / "index.py").is_file()


# On a terminal


@pytest.mark.parametrize(
    ("answers", "template", "name"), [(("triage", "No Names"), "triage", "No Names"), (("", ""), "local", "my-bot")]
)
def test_a_terminal_is_asked_for_the_template_and_the_name(
    answers: tuple[str, str], template: str, name: str, project: Path
) -> None:
    """Each template with a line about it; what is not one is asked again; Return takes what is in brackets."""
    with Terminal("init", "my-bot") as terminal:
        seen = terminal.expect("Template [local]: ")
        terminal.type("nosuch")
        terminal.expect("Error: 'nosuch' is not one of")
        terminal.type(answers[0])
        terminal.expect("Name [my-bot]: ")
        terminal.type(answers[1])
        code, _ = terminal.end()
    assert code == 0
    assert all(f"  {kind:9}  {each.summary}\n" in seen for kind, each in TEMPLATES.items())
    set_up(project / "same", TEMPLATES[template])
    trainer = Path("src", "arkor", "trainer.py")
    expected = (project / "same" / trainer).read_text().replace('"bot"', f'"{name}"')
    assert (project / "my-bot" / trainer).read_text() == expected


@pytest.mark.parametrize("arguments", [("-y",), ("--template", "local")])
def test_a_terminal_is_asked_nothing_where_all_is_said(arguments: tuple[str, ...], project: Path) -> None:
    """With -y, and with a template."""
    with Terminal("init", "my-bot", *arguments) as terminal:
        code, seen = terminal.end()
    assert code == 0
    assert "Template" not in seen
    assert (project / "my-bot" / "data" / "orders.jsonl").is_file()


def test_an_answer_that_is_not_given_changes_nothing(project: Path) -> None:
    """Ctrl-D at the first question."""
    with Terminal("init", "my-bot") as terminal:
        terminal.expect("Template [local]: ")
        terminal.type("\x04")
        code, _ = terminal.end()
    assert code == 130
    assert list(project.iterdir()) == []


# git


def test_a_new_project_is_a_repository_without_a_commit(project: Path) -> None:
    """Unless it is in one already, or is told not to be."""
    assert "  created  .git\n" in run("init", "outer", "--template", "blank").out
    assert (project / "outer" / ".git").is_dir()
    assert list((project / "outer" / ".git" / "refs" / "heads").iterdir()) == []
    assert ".git\n" not in run("init", "outer/inner", "--template", "blank", "--git").out
    assert ".git\n" not in run("init", "other", "--template", "blank", "--skip-git").out
    assert not (project / "outer" / "inner" / ".git").exists()
    assert not (project / "other" / ".git").exists()


def test_without_git_there_is_no_repository(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which is fine, unless --git asked for one: then nothing is changed."""
    monkeypatch.setenv("PATH", str(project))
    ended = run("init", "first", "--git")
    assert ended.code == 2
    assert "--git needs git, which is not installed" in ended.err
    assert not (project / "first").exists()
    assert run("init", "second", "--template", "blank").code == 0
    assert not (project / "second" / ".git").exists()


def test_a_git_that_fails_is_no_reason_to_fail(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told; the project can be used. Where --git asked for it, it is an error."""
    (project / "bin").mkdir()
    (project / "bin" / "git").write_text("#!/bin/sh\necho 'fatal: no' >&2\nexit 128\n")
    (project / "bin" / "git").chmod(0o755)
    monkeypatch.setenv("PATH", f"{project / 'bin'}:{os.environ['PATH']}")
    ended = run("init", "first", "--template", "blank")
    assert (ended.code, ended.err) == (0, "Note: git init failed in first: fatal: no\n")
    assert "Next:\n" in ended.out
    asked = run("init", "second", "--template", "blank", "--git")
    assert (asked.code, asked.err) == (2, "Error: git init failed in second: fatal: no\n")


# What is left


def test_what_is_generated_is_clean(project: Path, installed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For ruff and for mypy, in their strict forms, with nothing set up in the project."""
    monkeypatch.setenv("MYPYPATH", str(installed.parent))
    for name, template in TEMPLATES.items():
        set_up(project / name, template)
    (project / "faq.csv").write_text(QUESTIONS)
    settings = recipe_for(40, "smollm2-135m")
    columns = {"frage": "prompt", "antwort": "completion"}
    rows = of_rows(project / "faq.csv", rows=40, asks=True, columns=columns, model="smollm2-135m", settings=settings)
    set_up(project / "rows", rows)
    config = ["--config", str(ROOT / "ruff.toml")]
    for command in (
        ["ruff", "check", "--no-cache", *config, "."],
        ["ruff", "format", "--no-cache", "--check", *config, "."],
        ["mypy", "--strict", "--explicit-package-bases", "--config-file=", "--cache-dir", os.devnull, "."],
    ):
        ended = subprocess.run(
            [sys.executable, "-m", *command], capture_output=True, text=True, timeout=TIMEOUT_S, check=False
        )
        assert ended.returncode == 0, ended.stdout + ended.stderr


def test_every_command_of_the_generated_readmes_exists(project: Path) -> None:
    """With its options."""
    for name, template in TEMPLATES.items():
        set_up(project / name, template)
    lines = [line for name in TEMPLATES for line in (project / name / "README.md").read_text().splitlines()]
    commands = [part for line in lines for part in line.strip(" $").split(" && ") if part.startswith("arkor ")]
    assert len(commands) > 15
    for command in commands:
        words = shlex.split(command, comments=True)[1:]
        found = cli.get_command(click.Context(cli), words[0])
        options = {option for parameter in (found.params if found else []) for option in parameter.opts}
        assert found is not None, command
        assert {word for word in words if word.startswith("--")} <= options, command


@pytest.mark.parametrize("template", ANSWERS)
def test_a_project_for_the_cloud_runs_to_its_end(template: str, arkor_cloud: Cloud, project: Path) -> None:
    """100 steps of the demo's rows, and a verdict at each checkpoint; a check that cannot be made ends nothing."""
    set_up(project, TEMPLATES[template])
    saved = [event for step in (25, 50, 75, 100) for event in (log(step, evalLoss=step / 100), checkpoint(step))]
    arkor_cloud.plan = [started(), *saved, completed(ADAPTER)]
    good, bad = ANSWERS[template]
    answers = [json.dumps(good), json.dumps(bad), "no JSON at all"]
    arkor_cloud.says(*(Stream(frames=[chunk(text), DONE]) for text in answers), Answer(status=500, body={"error": "x"}))
    ended = run("start")
    assert (ended.code, ended.err) == (0, "")
    said = [line for line in ended.out.splitlines() if line.startswith("Step ")]
    assert said[::2] == [
        f"Step 25: check passed: {good}",
        f"Step 50: check failed: {bad}",
        *[line for line in said[::2] if line.startswith("Step 75: check failed: StreamError(")],
        "Step 100: check failed: ServerError(500, 'x', None)",
    ]
    worse = "no better on the held-out rows than before; fewer steps may do"
    assert said[1::2] == [f"Step {step}: {worse}" for step in (50, 75, 100)]
    config = arkor_cloud.jobs["job_1"]["config"]
    assert config == {
        "model": "unsloth/gemma-4-E4B-it",
        "datasetSource": {"type": "huggingface", "name": f"arkorlab/{template}-demo"},
        "datasetFormat": {"type": "chatml"},
        "loraR": 16,
        "loraAlpha": 16,
        "maxSteps": 100,
        "evalSteps": 25,
        "saveSteps": 25,
    }
    asked = arkor_cloud.calls("POST", "/v1/inference/chat")[0].json()
    schema = asked["responseFormat"]["json_schema"]["schema"]
    assert asked["adapter"] == {"kind": "checkpoint", "jobId": "job_1", "step": 25}
    assert set(schema["required"]) == set(schema["properties"]) == set(good)


@pytest.fixture
def backend(home: Path) -> Iterator[BackendProcess]:
    """This user's own backend, with the small model in place and workers that train nothing."""
    with own_backend(home, has_model=True) as running:
        yield running


def test_the_local_project_trains_and_compares(backend: BackendProcess) -> None:
    """Samples at each checkpoint, and the script that fetches the adapter, as the last line names it."""
    assert run("init", "-y").code == 0
    ended = run("start", "--local")
    assert (ended.code, ended.err) == (0, "")
    assert "sample 1 at step 40: answer 1 of step 40\n" in ended.out
    job_id = re.findall(r"python compare\.py (job_\w+)\n", ended.out)[0]
    compared = Command(job_id, program=("compare.py",)).end()
    assert compared.code == 0, compared.err
    assert "Adapter: adapters/adapter\n" in compared.out
    assert Path("adapters", "adapter", "adapter_model.safetensors").is_file()
    assert compared.out.endswith("Exactly right, of 8 held-out orders: base model 0, adapter 0\n")


# With rows of one's own

QUESTIONS = "frage,antwort\n" + "".join(f"Question {number}?,Answer {number}\n" for number in range(40))
COLUMNS = ("--column", "frage=prompt", "--column", "antwort=completion")


def test_a_project_of_own_rows_trains_and_compares(backend: BackendProcess, project: Path) -> None:
    """The file is copied, its columns are in the trainer, and the held-out rows are asked."""
    (project / "faq.csv").write_text(QUESTIONS)
    ended = run("init", "my-bot", "--data", "faq.csv", *COLUMNS)
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.endswith(f"\n{NEXT}  arkor start --local\n  python compare.py JOB\n")
    made = project / "my-bot"
    assert (made / "data" / "faq.csv").read_text() == (project / "faq.csv").read_text() == QUESTIONS
    os.chdir(made)
    started = run("start", "--local")
    assert started.code == 0, started.err
    job_id = re.findall(r"Started job (job_\w+)", started.out)[0]
    shown = json.loads(run("jobs", "show", job_id, "--local", "--json").out)
    assert shown["config"]["datasetSplit"] == {"evalFraction": 0.1, "seed": 42}
    assert (shown["config"]["maxSteps"], shown["config"]["learningRate"]) == (90, 0.001)
    compared = Command(job_id, program=("compare.py",)).end()
    assert compared.code == 0, compared.err
    assert re.search(
        r"\nQuestion (\d+)\?\n  expected    'Answer \1'\n  base model  '.*'\n  adapter     '", compared.out
    )
    assert compared.out.endswith("Exactly right, of 4 held-out rows: base model 0, adapter 0\n")
    assert (made / "adapters" / "adapter" / "adapter_model.safetensors").is_file()


def test_rows_within_gzip_are_copied_as_they_are(project: Path) -> None:
    """And so are rows of plain text, which have no questions to compare."""
    content = gzip.compress(b'{"text": "a row"}\n' * 3)
    (project / "rows.jsonl.gz").write_bytes(content)
    (project / "rows.jsonl.gz").chmod(0o600)
    ended = run("init", "my-bot", "--data", "rows.jsonl.gz", "--model", "owner/model-8b", "--name", "mine")
    assert ended.code == 0, ended.err
    assert "compare.py" not in ended.out
    made = files(project / "my-bot")
    assert made["data/rows.jsonl.gz"] == content
    assert stat.S_IMODE((project / "my-bot" / "data" / "rows.jsonl.gz").stat().st_mode) == 0o600
    trainer = made["src/arkor/trainer.py"].decode()
    assert 'name="mine",' in trainer
    assert 'model="owner/model-8b",' in trainer
    assert "learning_rate" not in trainer
    assert "dataset_split" not in trainer


def test_rows_that_lie_in_the_project_stay(project: Path) -> None:
    """They are their own copy."""
    (project / "data").mkdir()
    (project / "data" / "faq.csv").write_text(QUESTIONS)
    ended = run("init", "--data", "data/faq.csv", *COLUMNS)
    assert ended.code == 0, ended.err
    assert "  kept     data/faq.csv\n" in ended.out


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("bot", "--data", "faq.csv"), 'pass columns={"frage": "prompt", "antwort": "completion"}'),
        (("bot", "--data", "none.csv"), "none.csv: cannot be read: No such file or directory"),
        (("bot", "--data", "empty.csv"), "empty.csv: "),
        (("bot", "--data", "bell\a.csv"), "has characters that cannot be printed: rename the file"),
        (("bot", "--data", "folder", *COLUMNS), "folder is not a single file: --data takes one"),
        (("bot", "--data", "faq.csv", "--template", "blank"), "--data and --template cannot be combined"),
        (("bot", *COLUMNS), "--column and --model go with --data"),
        (("old", "--data", "faq.csv", *COLUMNS), "old is a project already"),
        (("has-rows", "--data", "faq.csv", *COLUMNS), "faq.csv exists, and is not faq.csv: rename one of the two"),
    ],
)
def test_rows_that_cannot_be_used_change_nothing(arguments: tuple[str, ...], reason: str, project: Path) -> None:
    """As ``arkor dataset check`` says it."""
    (project / "faq.csv").write_text(QUESTIONS)
    (project / "empty.csv").write_text("")
    (project / "bell\a.csv").write_text("prompt,completion\na,b\n")
    set_up(project / "old", TEMPLATES["blank"])
    (project / "has-rows" / "data").mkdir(parents=True)
    (project / "has-rows" / "data" / "faq.csv").write_text("other")
    (project / "folder").mkdir()
    (project / "folder" / "faq.csv").write_text(QUESTIONS)
    before = files(project)
    ended = run("init", *arguments)
    assert (ended.code, ended.out) == (2, "")
    assert reason in ended.err
    assert files(project) == before


def test_the_blank_project_says_what_it_still_needs(backend: BackendProcess, project: Path) -> None:
    """Its rows; then it trains."""
    set_up(project, TEMPLATES["blank"])
    ended = run("start", "--local")
    assert ended.code == 2
    assert "data/rows.jsonl" in ended.err
    Path("data").mkdir()
    Path("data/rows.jsonl").write_text('{"text": "a row"}\n' * 3)
    assert run("start", "--local").code == 0
