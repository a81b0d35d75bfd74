"""The card's thread and the interrupts of the main thread: neither is left waiting for the other."""

from __future__ import annotations

import subprocess
import sys

INTERRUPTS = 1500
SCRIPT = f"""\
import random
import signal
import threading

from arkor.notebook import view
from arkor.notebook.run import Run
from arkor.protocol.events import TrainingLogEvent
from arkor.protocol.jobs import TrainingJob


class Display:
    def __call__(self, *_, **__):
        return self

    def update(self, *_, **__):
        pass


def interrupt(*_):
    raise KeyboardInterrupt


view.INTERVAL_S = 0.001
signal.signal(signal.SIGALRM, interrupt)
moments, job, step = random.Random(1), TrainingJob(id="job_1"), 0
for _ in range({INTERRUPTS}):
    shown = view.CardView(Run("run", "m"), str, lambda: None, Display())
    try:
        signal.setitimer(signal.ITIMER_REAL, moments.uniform(1e-5, 2e-3))
        while True:
            step += 1
            shown.take(TrainingLogEvent("job_1", step=step, loss=1.0), job)
    except KeyboardInterrupt:
        shown.close()
assert threading.active_count() == 1
"""


def test_an_interrupt_at_any_moment_of_taking_an_event_leaves_no_lock_held() -> None:
    """As many as it took to find one such moment in ``threading.Event``; each time the card is closed after it."""
    ended = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")
