"""Finding the trainer in an entry, and running it."""

from __future__ import annotations

import io
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from arkor.entry.bundle import build
from arkor.entry.manifest import create_arkor
from arkor.entry.runner import find_trainer, follow, load_trainer, run_trainer, start_unless_running
from arkor.errors import EntryError, ProjectStateError
from arkor.trainer.trainer import Trainer, create_trainer
from tests.support.cloud import Cloud
from tests.support.events import failed, started
from tests.support.sources import write_sources

INDEX = "src/arkor/index.py"
SOURCE = """\
from arkor import create_arkor, create_trainer
arkor = create_arkor(trainer=create_trainer(name="run", model="m", dataset={"type": "huggingface", "name": "a/b"}))
"""


def make(name: str = "run", **settings: Any) -> Trainer:
    """Return a trainer."""
    return create_trainer(name=name, model="m", dataset={"type": "huggingface", "name": "a/b"}, **settings)


def module(**exports: Any) -> ModuleType:
    """Return an entry's module."""
    entry = ModuleType("entry")
    entry.__dict__.update(exports)
    return entry


ONE, TWO, THREE = make("one"), make("two"), make("three")


@pytest.mark.parametrize(
    ("exports", "found"),
    [
        ({"arkor": create_arkor(trainer=ONE)}, ONE),
        ({"trainer": ONE}, ONE),
        ({"default": ONE}, ONE),
        ({"default": create_arkor(trainer=ONE)}, ONE),
        ({"default": SimpleNamespace(trainer=ONE)}, ONE),
        ({"arkor": ONE}, ONE),
        ({"arkor": create_arkor(trainer=ONE), "trainer": TWO, "default": THREE}, ONE),
        ({"trainer": TWO, "default": THREE}, TWO),
        ({"arkor": "something else", "trainer": TWO}, TWO),
        ({"arkor": None, "trainer": None, "default": THREE}, THREE),
    ],
)
def test_the_trainer_is_found_by_name(exports: dict[str, Any], found: Trainer) -> None:
    """``arkor`` before ``trainer`` before ``default``, each as a manifest or a trainer."""
    assert find_trainer(module(**exports)) is found


@pytest.mark.parametrize("exports", [{}, {"other": ONE}, {"trainer": Trainer}, {"arkor": {"trainer": ONE}}])
def test_an_entry_without_a_trainer_says_what_to_export(exports: dict[str, Any]) -> None:
    """The message of the documentation, in Python's names."""
    with pytest.raises(EntryError) as raised:
        find_trainer(module(**exports))
    assert str(raised.value) == (
        "Training entry must export 'arkor' (from create_arkor(...)) or 'trainer' (from create_trainer(...)), "
        "or a 'default' that is one of them."
    )


def test_a_missing_entry_says_where_it_was_looked_for(project: Path) -> None:
    """The message of the documentation, with the whole path."""
    with pytest.raises(EntryError) as raised:
        run_trainer()
    assert str(raised.value) == (
        f"Training entry not found: {project}/{INDEX}. Provide a path or create src/arkor/index.py."
    )
    write_sources(project, {INDEX: SOURCE})
    with pytest.raises(EntryError, match="Training entry not found"):
        run_trainer("")  # a variable that is not set asks for nothing, not for the default
    for path in ("/nosuch/other.py", "/nosuch/./deep/../other.py"):
        with pytest.raises(EntryError, match=r"Training entry not found: /nosuch/other\.py"):
            run_trainer(path)


def test_an_entry_is_loaded_from_every_place(project: Path) -> None:
    """The default one, a relative or absolute source, an artifact."""
    write_sources(project, {INDEX: SOURCE})
    for path in (None, INDEX, Path(INDEX), project / INDEX, build()):
        assert load_trainer(path).name == "run"


def test_the_module_arkor_is_not_taken_for_a_manifest(project: Path) -> None:
    """``import arkor`` puts it under the very name."""
    write_sources(project, {INDEX: f"import arkor\nimport arkor.entry\n{SOURCE}".replace("\narkor =", "\ntrainer =")})
    assert load_trainer().name == "run"


@pytest.mark.usefixtures("arkor_cloud")
def test_an_entry_runs_fresh_each_time(project: Path) -> None:
    """What it imports relatively as well: one trainer, one job, and then another."""
    write_sources(project, {INDEX: SOURCE.replace('"run"', "NAME") + "", "src/arkor/name.py": "NAME = 'one'\n"})
    write_sources(project, {INDEX: "from .name import NAME\n" + (project / INDEX).read_text()})
    first = run_trainer()
    write_sources(project, {"src/arkor/name.py": "NAME = 'two'\n"})
    second = run_trainer()
    assert [(result.job.id, result.job.name) for result in (first, second)] == [("job_1", "one"), ("job_2", "two")]


@pytest.mark.usefixtures("arkor_cloud")
def test_running_an_entry_tells_its_start_and_its_end(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And returns how it ended."""
    write_sources(project, {INDEX: SOURCE})
    assert run_trainer().status == "completed"
    assert capsys.readouterr().out == "Started job job_1\nJob job_1 finished with status=completed\n"


@pytest.mark.usefixtures("arkor_cloud")
def test_the_id_is_in_a_log_at_once(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file's output is held back by Python, and lost where the process is killed hours later."""
    written = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(io.BufferedWriter(written)))
    write_sources(project, {INDEX: SOURCE})
    seen: list[bytes] = []
    run_trainer(on_event=lambda _: seen.append(written.getvalue()))
    assert seen[0] == b"Started job job_1\n"


@pytest.mark.usefixtures("arkor_cloud")
def test_an_entry_an_alternative_and_an_artifact_are_run(project: Path) -> None:
    """Each is a way to say what to run, and each run is a job of its own."""
    write_sources(project, {INDEX: SOURCE, "src/arkor/alt.py": SOURCE.replace('"run"', '"alt"')})
    artifact = build()
    jobs = [run_trainer(path).job for path in (None, "src/arkor/alt.py", artifact.relative_to(project))]
    assert [job.name for job in jobs] == ["run", "alt", "run"]
    assert len({job.id for job in jobs}) == 3


@pytest.mark.usefixtures("arkor_cloud")
def test_an_entry_reads_the_environment_at_every_run(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A script that sets a label for the night, or asks for a smoke test, reaches the trainer."""
    source = "import os\n" + SOURCE.replace('"run"', 'os.environ["RUN_LABEL"]')
    write_sources(project, {INDEX: source})
    for label in ("nightly-2026-01-30", "nightly-2026-01-31"):
        monkeypatch.setenv("RUN_LABEL", label)
        assert run_trainer().job.name == label


def test_a_failed_job_is_returned_not_raised(cloud: Cloud) -> None:
    """A caller that must notice looks at the result."""
    cloud.plan = [started(), failed("boom")]
    said: list[str] = []
    trainer = make(backend=cloud.url)
    result = follow(trainer, trainer.start(), say=said.append)
    assert result.job.error == "boom"
    assert said == ["Started job job_1", "Job job_1 finished with status=failed"]


def test_a_folder_that_takes_no_lock_is_an_error_of_the_project(project: Path, arkor_cloud: Cloud) -> None:
    """Nobody could tell whether one runs already, so nothing is started."""
    (project / ".arkor").write_text("in the way")
    with pytest.raises(ProjectStateError, match=r"start\.lock cannot be written: "):
        start_unless_running(make())
    assert not arkor_cloud.jobs
