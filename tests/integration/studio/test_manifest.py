"""What the project's entry exports, as the page asks for it: the user's code never runs in the server."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from arkor.entry.bundle import build
from arkor.serving.refusal import Refusal
from arkor.studio.manifest import Manifest
from tests.support.cloud import Cloud
from tests.support.eventually import eventually
from tests.support.studio import StudioProcess, write_entry


@pytest.fixture
def manifest(project: Path) -> Manifest:
    """The manifest of a project without an entry."""
    return Manifest(project)


def _refused(manifest: Manifest) -> str:
    with pytest.raises(Refusal) as caught:
        manifest.read()
    assert caught.value.status == 400
    return caught.value.error


def test_a_project_without_an_entry_has_no_trainer(manifest: Manifest) -> None:
    """That is no error: somebody is about to write one."""
    assert manifest.read() == {"trainer": None}


def test_an_entry_that_exports_nothing_has_no_trainer(manifest: Manifest) -> None:
    """Neither is that."""
    write_entry().write_text("answer = 42\n")
    assert manifest.read() == {"trainer": None}


def test_edits_show_and_reach_the_artifact(manifest: Manifest, project: Path) -> None:
    """Each reading builds what changed; what the entry prints is not in the answer's way."""
    write_entry("import os; print('{}'); os.write(1, b'null')", name="<b>first</b>")
    assert manifest.read() == {"trainer": {"name": "<b>first</b>"}}
    artifact = (project / ".arkor/build/index.pyz").read_bytes()
    write_entry(name="second")
    assert manifest.read() == {"trainer": {"name": "second"}}
    assert (project / ".arkor/build/index.pyz").read_bytes() != artifact


def test_a_pinned_artifact_is_read_as_it_is(manifest: Manifest, project: Path) -> None:
    """The button has the name of the trainer that it runs, and the artifact of ``arkor build`` stays."""
    write_entry(name="built")
    before = build().read_bytes()
    write_entry(name="edited")
    assert manifest.read() == {"trainer": {"name": "built"}}
    assert (project / ".arkor/build/index.pyz").read_bytes() == before
    build()
    assert manifest.read() == {"trainer": {"name": "edited"}}


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("x = (", "{entry}:2: does not parse: '(' was never closed"),
        ("1 / 0", "{entry}:2: ZeroDivisionError: division by zero"),
        ("from .rows import x", "{entry}:2: relative import 'from .rows import …': there is no src/arkor/rows.py"),
        ("arkor.LoraConfig(r=0)", "{entry}:2: r: must be a whole number, 1 to 16384, not 0"),
        ("import sys; sys.exit(4)", "{entry}:2: ends the program while it is imported: exit(4)"),
        ("import os; os._exit(3)", "src/arkor/index.py ended the process that imported it (exit code 3)."),
        ("import os; os.kill(os.getpid(), 9)", "src/arkor/index.py ended the process that imported it (exit code -9)."),
    ],
)
def test_a_broken_entry_is_refused_with_its_error(manifest: Manifest, code: str, error: str) -> None:
    """It says the file and the line where there is one."""
    entry = write_entry(code)
    assert _refused(manifest).startswith(error.format(entry=entry))


def test_an_entry_that_hangs_is_ended(project: Path) -> None:
    """With everything that it started."""
    pid_file = project / "pid"
    write_entry(
        "import pathlib, subprocess, sys, threading\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import signal; signal.pause()'])\n"
        f"pathlib.Path({str(pid_file)!r}).write_text(str(child.pid))\n"
        "threading.Event().wait()"
    )
    for timeout_s in (1.5, 6.0, 24.0):  # a busy machine does not come to the entry in the first
        said = _refused(Manifest(project, timeout_s=timeout_s))
        assert said == f"src/arkor/index.py was not imported within {timeout_s:g} s."
        if pid_file.exists():
            break
    pid = int(pid_file.read_text())
    eventually(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == "zombie", "the child has left")


def test_a_module_of_the_project_hides_none_of_pythons(manifest: Manifest, project: Path) -> None:
    """Studio's own code in that process is the same in every folder."""
    write_entry()
    for name in ("json", "contextlib", "arkor"):
        (project / f"{name}.py").write_text("raise SystemExit('not this one')\n")
    assert manifest.read() == {"trainer": {"name": "studio-run"}}


def test_many_at_once_share_what_is_found(manifest: Manifest, project: Path) -> None:
    """Twelve pages that load together import the entry twice, not twelve times."""
    write_entry("open('times', 'a').write('x')")
    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda _: manifest.read(), range(12)))
    assert answers == [{"trainer": {"name": "studio-run"}}] * 12
    assert len((project / "times").read_text()) <= 3


def test_the_page_gets_it_over_http(arkor_cloud: Cloud) -> None:
    """As JSON, with 400 where the entry is broken; nothing was imported into the server."""
    write_entry()
    with StudioProcess() as studio:
        assert studio.get("/api/manifest").json() == {"trainer": {"name": "studio-run"}}
        write_entry("1 / 0")
        broken = studio.get("/api/manifest")
        assert (broken.status_code, "ZeroDivisionError" in broken.json()["error"]) == (400, True)
        assert studio.children() == []
    assert arkor_cloud.jobs == {}


@pytest.fixture(autouse=True)
def _no_child_left() -> Iterator[None]:
    """Every process that read an entry is gone."""
    before = psutil.Process().children()
    yield
    eventually(lambda: psutil.Process().children() == before, "no child is left")
