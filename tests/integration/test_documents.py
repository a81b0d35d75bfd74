"""What the documents show is run: their scripts, the README's first commands, and the examples."""

from __future__ import annotations

import itertools
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import click
import pytest
import requests

from arkor import recipe_for
from arkor.cli import cli
from tests.support.backend import ROOT, BackendProcess, own_backend
from tests.support.cloud import Cloud
from tests.support.contract import Answer
from tests.support.elsewhere import write_adapter

TIMEOUT_S = 30.0


@pytest.fixture
def backend(home: Path) -> Iterator[BackendProcess]:
    """This user's own backend, with the small model in place and workers that train nothing."""
    with own_backend(home, has_model=True) as running:
        yield running


def run_python(*arguments: str, cwd: Path) -> str:
    """Run Python in a folder; return what it printed."""
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env={**os.environ, "PYTHONWARNINGS": "error"},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def blocks(document: str, language: str) -> list[str]:
    """Return the code blocks of a document in one language."""
    text = (ROOT / document).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def run_snippets(document: str, project: Path) -> str:
    """Run the Python of a document, where a later block goes on where the one before ended; return what it printed."""
    (project / "examples").symlink_to(ROOT / "examples")
    (project / "script.py").write_text("\n".join(blocks(document, "python")))
    return run_python("script.py", cwd=project)


def shown_commands(console: str) -> Iterator[tuple[list[str], list[str]]]:
    """Yield the commands of a console block, each with the lines that the document shows below it."""
    for part in re.split(r"^\$ ", console, flags=re.MULTILINE)[1:]:
        command, *lines = part.splitlines()
        yield shlex.split(command, comments=True), lines


def run_arkor(arguments: Sequence[str], cwd: Path) -> str:
    """Run a command; it succeeds."""
    return run_python("-m", "arkor", *arguments, cwd=cwd)


def test_the_first_commands_of_the_readme_run_as_they_stand(backend: BackendProcess, project: Path) -> None:
    """A new project, a training, a question to what it trained; only the figures and the answer are a real model's."""
    (install, *steps), (wheel, _) = (list(shown_commands(block)) for block in blocks("README.md", "console")[:2])
    assert install == (["pip", "install", "./arkor[local]"], [])
    assert wheel[0][:2] == ["pip", "wheel"]
    folder, printed = project, {}
    for (program, *arguments), lines in steps:
        if program == "cd":
            folder /= arguments[0]
        else:
            assert program == "arkor"
            printed[arguments[0]] = run_arkor(arguments, folder)
            assert lines, arguments  # its output is shown
    assert list(printed) == ["init", "start", "chat"]
    shown = [line for _, lines in steps for line in lines if re.match("Started job|✓ completed", line)]
    said = [line for line in printed["start"].splitlines() if re.match("Started job|Job ", line)]
    assert [re.sub(r"job_\w+", "ID", line) for line in said] == [
        "Started job ID",
        "Job ID finished with status=completed",  # to a pipe; the README shows a terminal
    ]
    assert [line.split()[0] for line in shown] == ["Started", "✓"]
    assert printed["chat"] == '{"category": "technical"}\n'  # what the scripted model always says


def test_the_script_of_the_readme_runs_in_the_new_project(backend: BackendProcess, project: Path) -> None:
    """The twelve lines, in the folder that ``arkor init`` made."""
    (script,) = blocks("README.md", "python")
    assert len(script.splitlines()) == 12
    run_arkor(["init", "my-bot", "--template", "local"], project)
    (project / "my-bot" / "script.py").write_text(script)
    first, *_, answer = run_python("script.py", cwd=project / "my-bot").splitlines()
    assert re.fullmatch(r"1 \d+\.\d+", first)
    assert answer == '{"category": "technical"}'


def test_the_first_screen_of_the_readme_is_short() -> None:
    """At most 45 lines before the first one that says that there is more."""
    lines = (ROOT / "README.md").read_text(encoding="utf-8").lower().splitlines()
    assert next(place for place, line in enumerate(lines) if re.search(r"\bmore\b", line)) <= 45


def test_the_commands_of_the_quickstart_run_as_they_stand(backend: BackendProcess, project: Path) -> None:
    """From a clone to a download; the figures and the answers alone are a real model's."""
    (project / "arkor").symlink_to(ROOT)
    folder, printed = project, {}
    steps = [step for block in blocks("docs/quickstart.md", "console") for step in shown_commands(block)]
    for command, lines in steps:
        match command:
            case ["pip", "install", "./arkor[local]"]:
                continue
            case ["mkdir" | "cp", *_]:
                subprocess.run(command, cwd=folder, check=True)
            case ["cd", name]:
                folder /= name
            case ["arkor", word, *rest]:
                printed[word] = run_arkor([word, *rest], folder)
                assert lines, command  # its output is shown
            case _:
                pytest.fail(f"{command} is not run by this test")
    shown = {command[1]: lines for command, lines in steps if command[0] == "arkor"}
    assert list(shown) == ["dataset", "train", "chat", "download"]
    assert printed["dataset"].splitlines()[0] == shown["dataset"][0]
    (job_id,) = {*re.findall(r"job_\w+", printed["train"])}
    said = [re.sub(r"job_\w+", job_id, line) for line in shown["train"] if "job" in line or line == "Next:"]
    # A pipe has a line with the status; the quickstart shows a terminal.
    printed_lines = [line for line in printed["train"].splitlines() if "finished with status=completed" not in line]
    assert [line for line in printed_lines if "job" in line or line == "Next:"] == said
    assert any(line.startswith("✓ completed in ") for line in shown["train"])
    assert recipe_for(60, "smollm2-135m")["max_steps"] == int(re.findall(r": (\d+) steps", shown["train"][0])[0])
    assert printed["chat"] == '{"category": "technical"}\n'  # what the scripted model always says
    assert printed["download"].splitlines()[0] == shown["download"][0]


def test_the_scripts_of_the_quickstart_run_as_they_stand(backend: BackendProcess, project: Path) -> None:
    """Beside the file: a check, a training, a question, the held-out rows, and a download."""
    shutil.copy(ROOT / "examples" / "shop" / "questions.csv", project)
    check, *lines = run_snippets("docs/quickstart.md", project).splitlines()
    assert check == "60 rows of prompt_completion"
    logs = list(itertools.takewhile(re.compile(r"\d+ [\d.]+").fullmatch, lines))
    trained, answer, *held_out, folder = lines[len(logs) :]
    assert logs
    assert re.fullmatch(r"job_\w+: completed", trained)
    assert answer == '{"category": "technical"}'
    assert len(held_out) == 6
    assert all(", expected '" in line or ', expected "' in line for line in held_out)
    assert folder == "adapters/adapter"


def test_the_scripts_about_training_run_as_they_stand(backend: BackendProcess, project: Path) -> None:
    """From the repository's folder: a training leaves an adapter, which answers, and its metrics."""
    printed = run_snippets("docs/training.md", project)
    assert "step 20: loss 0.05" in printed
    assert "finished with status=completed" in printed
    assert "60 answer 1 of step 60" in printed
    answer, last = printed.splitlines()[-2:]
    assert answer == '{"category": "technical"}'
    assert re.fullmatch(r"20 steps, epoch .*", last)
    assert (project / "adapters" / "adapter" / "adapter_model.safetensors").is_file()


def test_the_script_of_the_same_adapter_again_runs_as_it_stands(backend: BackendProcess, project: Path) -> None:
    """A training, and a second one with the same bytes; its hash alone is a real model's."""
    (backend.home / "record.json").write_text('{"versions": {"torch": "2.13.0"}}')
    printed = run_snippets("docs/choosing-settings.md", project)
    (shown,) = (line for block in blocks("docs/choosing-settings.md", "text") for line in block.splitlines())
    assert re.sub("[0-9a-f]{64}", "HASH", printed.strip()) == re.sub("[0-9a-f]+…", "HASH", shown)


def test_the_script_about_evaluation_runs_as_it_stands(
    backend: BackendProcess, project: Path, cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A training ends with a report, scored by a function of its own and by a judge; a page is written."""
    monkeypatch.setenv("JUDGE_URL", f"{cloud.url}/v1")
    judged = Answer(body={"choices": [{"message": {"content": '{"reason": "It is short.", "score": 3}'}}]})
    cloud.answer("POST", "/v1/chat/completions", *[judged] * 14)
    verdict, *scores = run_snippets("docs/evaluation.md", project).splitlines()
    assert verdict.startswith("better: +100 points exactly right, 95 % interval ")
    assert scores == ["exact_match 0.0 1.0", "short 1.0 1.0", "judge {'base': 0.5, 'adapter': 0.5}"]
    assert "<h1>Evaluation of job_" in (project / "report.html").read_text()


def test_the_scripts_about_exports_and_imports_run_as_they_stand(backend: BackendProcess, project: Path) -> None:
    """A training ends with a folder, and an adapter from elsewhere answers."""
    write_adapter(project / "outputs" / "my-lora")
    exported, answer = run_snippets("docs/use-it-elsewhere.md", project).splitlines()
    assert (exported, answer) == ("['README.md']", '{"category": "technical"}')


def test_the_scripts_of_the_notebook_guide_run_as_they_stand(backend: BackendProcess, project: Path) -> None:
    """A result in a line, a job watched in lines, and two jobs side by side, which are the same one."""
    printed = run_snippets("docs/notebooks.md", project).splitlines()
    assert re.fullmatch(r"<TrainingResult job_\w+ 'questions', completed, 1 artifact>", printed[0])
    assert printed[-1] == "{}"
    assert any(line.startswith("completed  100%  step 5/5") for line in printed)
    assert (project / "loss.svg").read_text().startswith("<svg")


def test_the_scripts_about_waiting_run_as_they_stand(backend: BackendProcess, project: Path) -> None:
    """An abort and another wait, a remembered job, a loop over events, and a job that need not be resumed."""
    printed = run_snippets("docs/waiting.md", project)
    left, *statuses, last = printed.splitlines()
    assert last == "completed"
    assert re.fullmatch(r"left job job_\w+ alone after event \d+", left)
    assert statuses[:2] == ["completed", "completed"]
    assert [line.split()[0] for line in statuses[2:-1]] == ["1", "2", "3", "4", "5"]
    assert statuses[-1] == "True training.completed"
    assert not (project / "nightly.json").exists()


def test_the_demo_of_the_triage_example_runs(backend: BackendProcess, project: Path) -> None:
    """The script behind ``make demo``: falling losses, the status, and where the adapter is."""
    for name in ("src", "data", "demo.py"):
        (project / name).symlink_to(ROOT / "examples" / "triage" / name)
    printed = run_python("demo.py", "here", cwd=project)
    assert "step 60  loss 0.017" in printed
    assert re.search(r"The loss fell from 1\.000 to 0\.017", printed)
    assert "finished with status=completed" in printed
    assert f"Adapter: {project / 'here' / 'adapter'}" in printed
    assert "step 60  asked ticket 1, it says 'answer 1 of step 60'" in printed
    assert re.search(r"^better: \+100 points exactly right, 95 % interval ", printed, re.MULTILINE)
    assert f"Report: {project / 'here' / 'report.html'}" in printed


def test_the_probes_that_are_shown_are_answered(backend: BackendProcess) -> None:
    """For systemd and for Kubernetes; a probe sends no header of arkor's clients."""
    shown = "".join(blocks("docs/commands.md", "ini") + blocks("docs/commands.md", "yaml"))
    paths = re.findall(r"http://127\.0\.0\.1:4747(/\w+)", shown)
    assert paths == ["/readyz", "/healthz", "/readyz"]
    assert [requests.get(backend.url + path, timeout=TIMEOUT_S).status_code for path in paths] == [200] * 3


def commands(group: click.Group, path: str) -> Iterator[tuple[str, click.Command]]:
    """Yield every command below a group with its whole name."""
    for name in group.list_commands(click.Context(group)):
        command = group.get_command(click.Context(group), name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from commands(command, f"{path} {name}")
        if not isinstance(command, click.Group) or command.invoke_without_command:
            yield f"{path} {name}", command


def test_every_command_and_option_is_documented() -> None:
    """What there is no word about does not exist for its users."""
    rows = [line for line in (ROOT / "docs" / "commands.md").read_text().splitlines() if line.startswith("| `arkor ")]
    for name, command in commands(cli, "arkor"):
        row = "".join(row for row in rows if f"`{name}" in row)
        assert row, name
        options = [option for option in command.params if isinstance(option, click.Option)]
        assert [option.opts for option in options if not any(word in row for word in option.opts)] == [], name


def test_every_page_is_in_the_table_of_contents() -> None:
    """With a link that leads to it."""
    contents = (ROOT / "docs" / "README.md").read_text(encoding="utf-8")
    for page in (ROOT / "docs").glob("*.md"):
        assert page.name == "README.md" or f"]({page.name})" in contents, page.name


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", *(f"docs/{p.name}" for p in ROOT.glob("docs/*.md"))])
def test_links_lead_to_files_and_headings_that_exist(page: str) -> None:
    """Those to other sites are not followed."""
    for target in re.findall(r"\]\(([^)\s]+)\)", (ROOT / page).read_text(encoding="utf-8")):
        if "://" not in target:
            name, _, anchor = target.partition("#")
            file = (ROOT / page).parent / name if name else ROOT / page
            assert file.exists(), target
            assert not anchor or anchor in headings(file), target


def headings(file: Path) -> set[str]:
    """Return the anchors of a page's headings, as the hosts of repositories make them."""
    found = re.findall(r"^#+ (.*)$", file.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in found}
