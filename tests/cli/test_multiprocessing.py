"""``multiprocessing`` in an entry: its children import what runs, and none of them starts the job again."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.support.cloud import Cloud
from tests.support.commands import Command, run
from tests.support.sources import write_sources

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no fork server")

INDEX = "src/arkor/index.py"
POOLS = """\
import multiprocessing
from concurrent.futures import ProcessPoolExecutor

from arkor import HuggingFaceDataset, Trainer

from .settings import FACTOR


def times(number):
    return FACTOR * number


def both(method):
    context = multiprocessing.get_context(method)
    with context.Pool(1) as pool, ProcessPoolExecutor(1, mp_context=context) as executor:
        return pool.map(times, [1, 2]) + list(executor.map(times, [3]))


def on_log(log):
    print("callback", log.step, both("spawn"), flush=True)


if multiprocessing.parent_process() is None:
    for method in ("spawn", "forkserver"):
        print(method, both(method), flush=True)
trainer = Trainer(name="run", model="m", dataset=HuggingFaceDataset("a/b"), callbacks={"on_log": on_log})
"""
UNGUARDED = """\
import multiprocessing
from concurrent.futures import ProcessPoolExecutor

from arkor import HuggingFaceDataset, Trainer


def double(number):
    return 2 * number


trainer = Trainer(name="run", model="m", dataset=HuggingFaceDataset("a/b"))
{start}
with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as executor:
    print(list(executor.map(double, [1])))
"""
SCRIPT = """\
import multiprocessing
import sys

from arkor import HuggingFaceDataset, Trainer

trainer = Trainer(name="run", model="m", dataset=HuggingFaceDataset("a/b"))
trainer.start()
if __name__ == "__main__":
    child = multiprocessing.get_context("spawn").Process(target=print, args=("in the child",))
    child.start()
    child.join()
    sys.exit(child.exitcode)
"""


@pytest.mark.parametrize("from_artifact", [False, True], ids=["sources", "artifact"])
def test_pools_of_processes_work_in_an_entry(arkor_cloud: Cloud, project: Path, from_artifact: bool) -> None:
    """While it is imported and in a callback, with a function that needs another module of the project."""
    write_sources(project, {INDEX: POOLS, "src/arkor/settings.py": "FACTOR = 10\n"})
    if from_artifact:
        run("build")
        (project / INDEX).unlink()
        (project / "src/arkor/settings.py").write_text("FACTOR = 0\n")
        command = Command(program=[str(project / ".arkor/build/index.pyz")])
    else:
        command = Command("start")
    ended = command.end()
    assert ended.code == 0, ended.err
    lines = ended.out.splitlines()
    assert lines[:2] == ["spawn [10, 20, 30]", "forkserver [10, 20, 30]"]
    assert "callback 1 [10, 20, 30]" in lines
    assert len(arkor_cloud.jobs) == 1


@pytest.mark.parametrize(
    ("start", "says", "jobs"),
    [("trainer.start()", "Put the call that starts the job under if __name__", 1), ("", "bootstrapping phase", 0)],
    ids=["job", "children"],
)
def test_a_child_starts_neither_the_job_nor_children_of_its_own(
    arkor_cloud: Cloud, project: Path, start: str, says: str, jobs: int
) -> None:
    """Where the entry does so without asking whether it is the parent; the child's error says what to do."""
    write_sources(project, {INDEX: UNGUARDED.format(start=start)})
    ended = Command("start", "--debug").end()
    assert ended.code == 2
    assert "BrokenProcessPool" in ended.err
    assert says in ended.err
    assert len(arkor_cloud.jobs) == jobs


def test_a_child_of_a_script_does_not_start_its_job_again(arkor_cloud: Cloud, project: Path) -> None:
    """The script runs without the command; the child ends with the error."""
    write_sources(project, {"train.py": SCRIPT})
    ended = Command("--debug", program=["train.py"]).end()
    assert ended.code == 1
    assert "Put the call that starts the job under if __name__ == '__main__'." in ended.err
    assert "in the child" not in ended.out
    assert len(arkor_cloud.jobs) == 1
