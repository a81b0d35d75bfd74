"""What a wait shows outside a notebook: nothing by default, lines if they are asked for, and no fault of its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from arkor import ConfigError, compare, watch
from arkor.notebook.interrupt import WaitInterrupted
from tests.support.cloud import Cloud
from tests.support.waiting import make_trainer

SCRIPT = """\
import sys
from arkor import HuggingFaceDataset, Trainer
trainer = Trainer(name="run", model="m", dataset=HuggingFaceDataset("owner/rows"), backend={url!r})
assert trainer.wait().status == "completed"
assert not [name for name in sys.modules if name.startswith(("IPython", "arkor.notebook", "matplotlib"))]
"""


def in_ipython(monkeypatch: pytest.MonkeyPatch, display: Callable[..., Any], **shell: Any) -> None:
    """Let this program look as if IPython ran it."""
    display_module = SimpleNamespace(display=display)
    stand_in = SimpleNamespace(get_ipython=lambda: SimpleNamespace(**shell), display=display_module)
    monkeypatch.setitem(sys.modules, "IPython", stand_in)


def test_a_script_shows_nothing_and_loads_nothing_to_show_it(cloud: Cloud) -> None:
    """Neither IPython, nor our own view."""
    command = [sys.executable, "-c", SCRIPT.format(url=cloud.url)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")


def test_plain_lines_can_be_had_anywhere(cloud: Cloud, capsys: pytest.CaptureFixture[str]) -> None:
    """On standard output."""
    make_trainer(cloud).wait(progress="plain")
    *_, last = capsys.readouterr().out.splitlines()
    assert last == "completed  step 3  loss 0.5000"


def test_a_job_that_was_started_elsewhere_is_watched(cloud: Cloud, capsys: pytest.CaptureFixture[str]) -> None:
    """By its id, its job, its result or its trainer, from its first event on."""
    trainer = make_trainer(cloud)
    result = trainer.wait()
    for job in (result.job.id, result.job, result, trainer):
        assert watch(job, backend=cloud.url, progress="plain").status == "completed"
    assert capsys.readouterr().out.count("completed  step 3  loss 0.5000") == 3  # the trainer's wait was over


@pytest.mark.parametrize("progress", [True, "card", 2])
def test_another_progress_is_refused_before_anything_is_sent(cloud: Cloud, progress: Any) -> None:
    """The error lists the choices."""
    with pytest.raises(ConfigError, match="progress: must be None, False or 'plain'"):
        make_trainer(cloud).wait(progress=progress)
    assert not cloud.jobs


def test_a_display_that_fails_does_not_end_the_wait(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is logged; the callbacks are called as ever."""

    def broken(*_: object, **__: object) -> object:
        raise OSError("no front end")

    in_ipython(monkeypatch, broken, kernel=object())
    assert make_trainer(cloud).wait().status == "completed"
    assert "cannot be shown" in caplog.text


def test_lines_that_cannot_be_written_do_not_end_the_wait(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Such as those to a pipe that was closed."""

    class Closed:
        def write(self, _: str) -> int:
            raise BrokenPipeError

    monkeypatch.setattr(sys, "stdout", Closed())
    assert make_trainer(cloud).wait(progress="plain").status == "completed"
    assert caplog.text.count("cannot be shown any more") == 1


@pytest.mark.parametrize("is_in_ipython", [True, False])
def test_ctrl_c_is_one_line_in_ipython_and_as_ever_elsewhere(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch, is_in_ipython: bool
) -> None:
    """In a terminal's IPython there is no card, and one line too."""
    shown: list[object] = []
    if is_in_ipython:
        in_ipython(monkeypatch, shown.append)

    def interrupt(_: object) -> None:
        raise KeyboardInterrupt

    trainer = make_trainer(cloud)
    with pytest.raises(KeyboardInterrupt) as caught:
        trainer.wait(on_event=interrupt)
    assert isinstance(caught.value, WaitInterrupted) is is_in_ipython
    if isinstance(caught.value, WaitInterrupted):
        line = "Interrupted: job job_1 goes on. trainer.wait() follows it, trainer.cancel() stops it."
        assert caught.value._render_traceback_() == [line]
    assert shown == []


def test_an_interrupted_watch_says_how_to_go_on_without_a_trainer(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The line has a call that can be copied."""
    job = make_trainer(cloud).start()
    in_ipython(monkeypatch, lambda *_, **__: None)
    monkeypatch.setattr("builtins.print", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(WaitInterrupted, match=r"arkor\.Trainer\.attach\('job_1', backend='http:.*'\)\.cancel\(\)"):
        watch(job, backend=cloud.url, progress="plain")


def test_jobs_are_compared_by_what_differs_in_them(cloud: Cloud) -> None:
    """Settings that are the same are left out; figures are named; the curves are drawn under the names."""
    trainers = [make_trainer(cloud, learning_rate=rate, max_steps=3) for rate in (1e-3, 1e-4)]
    results = [trainer.wait() for trainer in trainers]
    found = compare(trainers[0], results[1], backend=cloud.url)
    assert found.settings == {"learning_rate": (1e-3, 1e-4)}
    assert found.figures["last loss"] == ("0.5000", "0.5000")
    assert [line.split("  ")[0] for line in str(found).splitlines()[1:]] == ["learning_rate", "status", "last loss"]
    html = found._repr_html_()
    assert "0.0001" in html
    assert html.count("<polyline") == 2


def test_a_trainer_that_was_not_started_cannot_be_compared(cloud: Cloud) -> None:
    """Nor can nothing; no job is submitted to compare it."""
    with pytest.raises(ConfigError, match="which was not started"):
        compare(make_trainer(cloud))
    with pytest.raises(ConfigError, match="one job or more"):
        compare()
    assert not cloud.jobs
