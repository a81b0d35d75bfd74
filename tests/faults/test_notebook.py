"""The Interrupt button of a notebook: a real Jupyter kernel, whose cells wait for a job."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import KernelManager

from tests.support.cloud import Cloud
from tests.support.contract import STREAM, Answer, Late, Stream
from tests.support.events import PLAN, frames
from tests.support.eventually import eventually

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
WAIT = "trainer.wait().status"
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
    """Assert that a cell ended as an interrupted one does."""
    assert (reply["status"], reply.get("ename")) == ("error", "KeyboardInterrupt"), reply


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
    assert_interrupted(notebook.reply(cell))
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
