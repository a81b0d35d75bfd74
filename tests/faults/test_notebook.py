"""The Interrupt button of a notebook: a real Jupyter kernel, whose cells wait for a job."""

from __future__ import annotations

import queue
import random
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import KernelManager

from tests.support.backend import own_backend
from tests.support.cloud import Cloud
from tests.support.contract import STREAM, Answer, Late, Stream
from tests.support.events import PLAN, frames
from tests.support.eventually import eventually
from tests.support.scripted_worker import allow

PREPARE = """\
import logging
import threading
from pathlib import Path

from arkor import Callbacks, HuggingFaceDataset, Trainer

logging.basicConfig(filename="log", level=logging.INFO)
hold = {hold!r}


def note(line):
    global hold
    with Path("told").open("a") as told:
        told.write(line + "\\n")
    if line == hold:
        hold = ""
        threading.Event().wait()


def noting(name):
    return lambda context: note(f"{{name}} {{context.step}}" if hasattr(context, "step") else name)


names = ("started", "log", "checkpoint", "completed", "failed")
callbacks = Callbacks(**{{f"on_{{name}}": noting(name) for name in names}})
"""
CREATE = """\
trainer = Trainer(
    name="run", model="m", dataset=HuggingFaceDataset("owner/rows"), callbacks=callbacks, backend={url!r},
)
"""
CREATE_HERE = """\
trainer = Trainer(
    name="gated:21", model="smollm2-135m", dataset="rows.jsonl", callbacks=callbacks, backend="local",
)
"""
WAIT = "trainer.wait().status"
SHOW_LOADED = "\nimport sys\nassert 'arkor.notebook.view' not in sys.modules\n_ = result.status"
INTERRUPTS = 20
TOLD = ["started", "log 1", "log 2", "checkpoint 2", "log 3", "completed"]
START_TIMEOUT_S = 30.0
A_WHILE_S = 0.3
AT_ONCE_S = 5.0  # generous for a busy machine, and far below every timeout it stands against


class Notebook:
    """A kernel in the working directory and environment of the test, and the notebook's side of it."""

    def __init__(self) -> None:
        self._manager = KernelManager()
        self._manager.start_kernel()
        self._client: BlockingKernelClient = self._manager.client()
        self._client.start_channels()

    def wait_for_ready(self) -> None:
        """Wait until it runs cells."""
        self._client.wait_for_ready(timeout=START_TIMEOUT_S)

    def begin(self, cell: str) -> str:
        """Run a cell, without waiting for its end; return what ``reply`` takes."""
        # stop_on_error: ipykernel 7.4 also aborts a cell that comes a moment after one failed; people are slower.
        shown = {"shown": "_"}
        return str(self._client.execute(cell, user_expressions=shown, allow_stdin=False, stop_on_error=False))

    def reply(self, cell_id: str, timeout_s: float = AT_ONCE_S) -> dict[str, Any]:
        """Return how a cell ended."""
        while True:
            message = self._client.get_shell_msg(timeout=timeout_s)
            if message["parent_header"].get("msg_id") == cell_id:
                content: dict[str, Any] = message["content"]
                return content

    def run(self, cell: str) -> dict[str, Any]:
        """Run a cell to its end."""
        return self.reply(self.begin(cell), START_TIMEOUT_S)

    def shown(self, cell_id: str, *, update: bool = False) -> dict[str, Any]:
        """Return the next display, or the next update of one, of a cell, as a mapping of its forms."""
        kind = "update_display_data" if update else "display_data"
        while True:
            message = self._client.get_iopub_msg(timeout=START_TIMEOUT_S)
            if message["msg_type"] == kind and message["parent_header"].get("msg_id") == cell_id:
                data: dict[str, Any] = message["content"]["data"]
                return data

    def interrupt(self) -> None:
        """Press the Interrupt button."""
        self._manager.interrupt_kernel()

    def close(self) -> None:
        """Leave no process and no socket behind."""
        self._client.stop_channels()
        self._manager.shutdown_kernel(now=True)


@pytest.fixture
def notebook() -> Iterator[Notebook]:
    """A notebook of the test's own."""
    before = psutil.Process().children()
    running = Notebook()
    try:
        running.wait_for_ready()
        yield running
    finally:
        running.close()
    assert psutil.Process().children() == before


def told() -> list[str]:
    """Return the lines that callbacks were told so far."""
    file = Path("told")
    return file.read_text().splitlines() if file.exists() else []


def wait_in_a_cell(notebook: Notebook, cloud: Cloud, hold: str = "") -> str:
    """Begin to wait for a new job in a cell; return the cell."""
    assert notebook.run(PREPARE.format(hold=hold) + CREATE.format(url=cloud.url))["status"] == "ok"
    return notebook.begin(WAIT)


def assert_interrupted(reply: dict[str, Any]) -> None:
    """Assert that a cell whose wait was interrupted shows one line."""
    assert (reply["status"], reply.get("ename")) == ("error", "WaitInterrupted"), reply
    assert [len(text.splitlines()) for text in reply["traceback"]] == [1], reply


def assert_completed(reply: dict[str, Any]) -> None:
    """Assert that a cell showed a completed job."""
    assert reply["status"] == "ok", reply
    assert reply["user_expressions"]["shown"]["data"]["text/plain"] == "'completed'"


def test_the_button_ends_the_wait_and_the_next_cell_goes_on(notebook: Notebook, cloud: Cloud) -> None:
    """The traceback that IPython keeps does not keep the trainer, and each event is told once, on a silent stream."""
    for events in (1, 3):
        cloud.stream(Stream(frames=frames(PLAN[:events])[-2:], gate=threading.Event()))
    cell = wait_in_a_cell(notebook, cloud)
    for events in (1, 3):
        eventually(lambda events=events: told() == TOLD[:events], "the cell waits")  # type: ignore[misc]
        notebook.interrupt()
        assert_interrupted(notebook.reply(cell))
        cell = notebook.begin(WAIT)
    assert_completed(notebook.reply(cell))
    assert_completed(notebook.run(WAIT))
    assert told() == TOLD
    assert len(cloud.jobs) == 1


def test_the_button_ends_a_back_off(notebook: Notebook, cloud: Cloud) -> None:
    """The pause between two attempts is broken off, and is not made up for by the next cell."""
    cloud.answer("GET", STREAM, Answer(status=503, headers={"Retry-After": "60"}))
    cell = wait_in_a_cell(notebook, cloud)
    eventually(lambda: cloud.streams and ": attempt " in Path("log").read_text(), "the cell is in back-off")
    notebook.interrupt()
    assert_interrupted(notebook.reply(cell))
    assert_completed(notebook.reply(notebook.begin(WAIT)))  # well before the minute is over
    assert told() == TOLD


def test_a_cell_that_waits_shows_a_card_and_a_cell_that_goes_on_shows_what_came_before(
    notebook: Notebook, cloud: Cloud
) -> None:
    """The card is updated in place; the next cell's begins with the figures of the first one."""
    cloud.stream(Stream(frames=frames(PLAN[:3]), gate=threading.Event()))
    cell = wait_in_a_cell(notebook, cloud)
    assert "starting" in notebook.shown(cell)["text/plain"]
    eventually(lambda: "loss 1.5000" in notebook.shown(cell, update=True)["text/plain"], "the card has the second step")
    notebook.interrupt()
    assert_interrupted(notebook.reply(cell))
    cell = notebook.begin(WAIT)
    assert "loss 1.5000" in notebook.shown(cell)["text/plain"]
    assert_completed(notebook.reply(cell))
    last = notebook.shown(cell, update=True)
    while "completed" not in last["text/plain"]:
        last = notebook.shown(cell, update=True)
    assert "<svg" in last["text/html"]


def test_the_button_is_one_line_at_any_moment_and_no_event_is_lost_or_repeated(notebook: Notebook, home: Path) -> None:
    """Twenty times, a moment after the wait has begun; the job of a real backend does a step meanwhile."""
    moments = random.Random(1)
    with own_backend(home, has_model=True) as backend:
        Path("rows.jsonl").write_text('{"prompt": "question", "completion": "answer"}\n' * 4)
        assert notebook.run(PREPARE.format(hold="") + CREATE_HERE)["status"] == "ok"
        for step in range(1, INTERRUPTS + 1):
            cell = notebook.begin(WAIT)
            notebook.shown(cell)
            (folder,) = eventually(lambda: [*(backend.data / "jobs").glob("job_*")], "the job is there")
            allow(folder, step)
            threading.Event().wait(moments.uniform(0, A_WHILE_S))
            notebook.interrupt()
            assert_interrupted(notebook.reply(cell))
        allow(folder, INTERRUPTS + 1)
        assert_completed(notebook.run(WAIT))
    assert told() == ["started", *(f"log {step}" for step in range(1, INTERRUPTS + 2)), "completed"]


def test_the_environment_or_the_call_turns_the_card_off(
    notebook: Notebook, cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And nothing of the view is loaded."""
    assert notebook.run(PREPARE.format(hold="") + CREATE.format(url=cloud.url))["status"] == "ok"
    assert_completed(notebook.run("result = trainer.wait(progress=False)\nresult.status" + SHOW_LOADED))
    assert (
        notebook.run(CREATE.format(url=cloud.url) + "import os\nos.environ['ARKOR_PROGRESS'] = '0'")["status"] == "ok"
    )
    assert_completed(notebook.run("result = trainer.wait()\nresult.status" + SHOW_LOADED))


def test_a_thread_that_waits_shows_its_card_in_its_cell(notebook: Notebook, cloud: Cloud) -> None:
    """Also if the cell goes on meanwhile."""
    assert notebook.run(PREPARE.format(hold="") + CREATE.format(url=cloud.url))["status"] == "ok"
    cell = notebook.begin("thread = threading.Thread(target=trainer.wait)\nthread.start()\nthread.join()")
    assert "starting" in notebook.shown(cell)["text/plain"]
    assert notebook.reply(cell)["status"] == "ok"
    assert told() == TOLD


def test_the_button_inside_a_callback_counts_its_event_as_told(notebook: Notebook, cloud: Cloud) -> None:
    """The user's own code is interrupted like any; the next cell goes on behind its event."""
    cell = wait_in_a_cell(notebook, cloud, hold="log 2")
    eventually(lambda: "log 2" in told(), "the cell is inside the callback")
    notebook.interrupt()
    assert_interrupted(notebook.reply(cell))
    assert_completed(notebook.run(WAIT))
    assert told() == TOLD


def test_the_button_inside_a_loop_over_events_leaves_the_rest_to_the_next_cell(
    notebook: Notebook, cloud: Cloud
) -> None:
    """The loop form of waiting is given up with the cell, so that the next one may wait."""
    assert notebook.run(PREPARE.format(hold="training.log") + CREATE.format(url=cloud.url))["status"] == "ok"
    cell = notebook.begin("for event in trainer.events():\n    note(event.type)")
    eventually(lambda: "training.log" in told(), "the cell is inside the loop")
    notebook.interrupt()
    assert notebook.reply(cell)["ename"] == "KeyboardInterrupt"  # the user's own code was interrupted
    assert_completed(notebook.run(WAIT))
    assert told() == ["training.started", "training.log", *TOLD[2:]]


def test_the_button_while_the_job_is_submitted_leaves_a_trainer_that_knows_its_job(
    notebook: Notebook, cloud: Cloud
) -> None:
    """The interrupt comes after the answer; the next cell follows that job and submits no second one."""
    gate = threading.Event()
    cloud.answer("POST", "/v1/jobs", Late(gate=gate))
    cell = wait_in_a_cell(notebook, cloud)
    eventually(lambda: cloud.jobs, "the job is there")
    notebook.interrupt()
    with pytest.raises(queue.Empty):
        notebook.reply(cell, A_WHILE_S)
    gate.set()
    assert_interrupted(notebook.reply(cell))
    assert not cloud.streams
    assert_completed(notebook.run(WAIT))
    assert told() == TOLD
    assert len(cloud.calls("POST", "/v1/jobs")) == 1
