"""``arkor train`` as its users meet it: a file, no project, and a job that is followed to its end."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from arkor import CloudApiClient, TrainingJob
from arkor.client.project import ensure_project
from tests.support.backend import BackendProcess, own_backend
from tests.support.cloud import Cloud
from tests.support.commands import Command, run


@pytest.fixture
def backend(home: Path) -> Iterator[BackendProcess]:
    """This user's own backend, with the small model in place and workers that train nothing."""
    with own_backend(home, has_model=True) as running:
        yield running


@pytest.fixture
def rows(project: Path) -> Path:
    """Forty rows in a file."""
    return write_rows(project / "faq.csv", 40)


def write_rows(file: Path, count: int, columns: str = "question,answer") -> Path:
    file.write_text(f"{columns}\n" + "".join(f"q{number}?,a{number}\n" for number in range(count)))
    return file


def jobs(project: Path) -> list[TrainingJob]:
    """Return the jobs of the folder, newest first."""
    client = CloudApiClient.connect("local")
    found = client.list_jobs(ensure_project(client, project))
    client.close()
    return found


def test_a_file_is_trained_on_and_the_next_steps_follow(backend: BackendProcess, project: Path, rows: Path) -> None:
    """Without a project and without an option; the next command chats with the result."""
    ended = run("train", "faq.csv")
    assert ended.code == 0, ended.err
    assert "Training smollm2-135m on 36 of 40 rows: 90 steps of 4 rows, learning rate 0.001\n" in ended.err
    assert "faq.csv: columns are taken as follows: question as prompt, answer as completion" in ended.err
    (job,) = jobs(project)
    assert ended.out.splitlines()[-7:] == [
        f"Job {job.id} finished with status=completed",
        "The loss fell from 0.31 to 0.01.",  # as the stand-in reports it
        "On held-out rows it is 0.02.",
        "The model did not learn the held-out rows. For facts, let it learn all rows: --eval-fraction 0",
        "Next:",
        f"  arkor chat {job.id} --local",
        f"  arkor download {job.id} --local",
    ]
    assert job.name == "faq"
    assert {key: value for key, value in job.config.items() if key not in {"datasetSource", "model"}} == {
        "maxSteps": 90,
        "batchSize": 4,
        "learningRate": 1e-3,
        "warmupSteps": 4,
        "evalSteps": 22,
        "datasetSplit": {"evalFraction": 0.1, "seed": 42},
    }
    assert run("chat", job.id, "q1?", "--local").code == 0
    assert not (project / "src").exists()


def test_options_take_precedence(backend: BackendProcess, project: Path) -> None:
    """Several files, other columns, and every figure."""
    for name in ("a.csv", "b.csv"):
        write_rows(project / name, 10, "frage,antwort")
    columns = ("--column", "frage=prompt", "--column", "antwort=completion")
    figures = ("--epochs", "2", "--batch-size", "5", "--learning-rate", "0.01", "--eval-fraction", "0", "--name", "n")
    ended = run("train", "a.csv", "b.csv", *columns, *figures)
    assert ended.code == 0, ended.err
    (job,) = jobs(project)
    assert job.name == "n"
    assert [job.config.get(key) for key in ("maxSteps", "batchSize", "learningRate", "datasetSplit")] == [
        *(8, 5, 0.01, None),
    ]
    assert run("train", "*.csv", *columns, "--steps", "3", "--dry-run").code == 0
    newest = jobs(project)[0]
    assert (newest.config["maxSteps"], newest.is_dry_run) == (3, True)


def test_ctrl_c_leaves_the_job_running(backend: BackendProcess, project: Path, rows: Path) -> None:
    """And says how to go on."""
    command = Command("train", "faq.csv", "--name", "gated:2")
    assert command.process.stdout is not None
    started = command.process.stdout.readline()
    assert started.startswith("Started job job_")
    job_id = started.split()[-1]
    ended = command.interrupt()
    assert ended.code == 130
    assert f"arkor attach {job_id} --local" in ended.err
    backend.allow(job_id, 2)
    assert run("attach", job_id, "--local").code == 0


def test_a_job_that_fails_has_no_next_steps(backend: BackendProcess, rows: Path) -> None:
    """The reason is on stderr, and the exit code is 1."""
    ended = run("train", "faq.csv", "--name", "fail")
    assert ended.code == 1
    assert "Next:" not in ended.out


def test_a_detached_training_prints_its_id_alone(backend: BackendProcess, project: Path, rows: Path) -> None:
    """For scripts."""
    ended = run("train", "faq.csv", "--detach")
    assert ended.code == 0
    assert ended.out == f"{jobs(project)[0].id}\n"


def test_another_backend_of_the_environment_is_used(arkor_cloud: Cloud, rows: Path) -> None:
    """Arkor Cloud takes no rows of this machine, and says so; nothing is started."""
    ended = run("train", "faq.csv")
    assert ended.code == 3
    assert re.search(r"sending rows|upload", ended.err), ended.err
    assert arkor_cloud.jobs == {}


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "Missing argument 'FILE...'"),
        (("none.csv",), "Error: none.csv: cannot be read: No such file or directory"),
        (("empty.csv",), "Error: empty.csv: "),
        (("other.csv",), 'pass columns={"frage": "prompt", "antwort": "completion"}'),
        (("faq.csv", "--steps", "1", "--epochs", "1"), "--steps and --epochs cannot be combined"),
        (("faq.csv", "--name", " "), "name: must be a text of 1 to 200 characters"),
    ],
)
def test_bad_input_starts_nothing(arguments: tuple[str, ...], says: str, project: Path, rows: Path) -> None:
    """Not even a backend; the reason is one line."""
    (project / "empty.csv").write_text("")
    write_rows(project / "other.csv", 3, "frage,antwort")
    ended = run("train", *arguments)
    assert (ended.code, ended.out) == (2, "")
    assert says in ended.err
    assert not (Path.home() / ".arkor" / "local").exists()
