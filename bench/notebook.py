"""The cost of the card in a notebook, beside a training: ``python bench/notebook.py``.

It needs nothing beyond arkor and takes some seconds. The events of a long run are taken in, and the card's updates are
serialised as a kernel does. The figures are CPU time of the notebook's process, on all of its threads.
"""

from __future__ import annotations

import json
import threading
import time
from typing import Any

import click

from arkor.notebook.card import card
from arkor.notebook.run import Run
from arkor.notebook.view import INTERVAL_S, CardView
from arkor.protocol.events import Event, parse_event
from arkor.protocol.jobs import TrainingJob

STEPS_S = (0.05, 0.5, 5.0)
MOST_EVENT_S = 2e-3
MOST_SHARE = 0.01
UPDATES = 200


class Display:
    """Stands for IPython's ``display`` and its handle: makes of an update the bytes that a kernel sends."""

    def __call__(self, bundle: dict[str, str], **_: Any) -> Display:
        """Show the first state."""
        self.update(bundle)
        return self

    def update(self, bundle: dict[str, str], **_: Any) -> None:
        """Serialise an update."""
        json.dumps(bundle).encode()


def events(count: int) -> list[Event]:
    """Return the log of a run with an evaluation each twenty steps and a checkpoint each hundred."""
    bodies: list[dict[str, Any]] = []
    for step in range(1, count + 1):
        at = f"2026-01-01T{step // 3600 % 24:02}:{step // 60 % 60:02}:{step % 60:02}.000Z"
        bodies.append({"type": "training.log", "step": step, "loss": 1 + 1 / step, "timestamp": at})
        bodies += [{"type": "training.log", "step": step, "evalLoss": 1 + 2 / step}] * (step % 20 == 0)
        bodies += [{"type": "checkpoint.saved", "step": step}] * (step % 100 == 0)
    return [event for body in bodies if (event := parse_event(body)) is not None]


def cpu_s(found: list[Event], take: Any) -> float:
    """Return the CPU time that taking in an event needs, in seconds."""
    job, before = TrainingJob(id="job_1", name="run", config={"maxSteps": len(found)}), time.process_time()
    for event in found:
        take(event, job)
    return (time.process_time() - before) / len(found)


@click.command()
@click.option("--steps", default=10_000, help="Steps of the run.")
def main(steps: int) -> None:
    """Measure the card."""
    found, run, display = events(steps), Run("run", "m"), Display()
    view = CardView(run, lambda: "foot", lambda: None, display)
    event_s = cpu_s(found, view.take)
    view.close()
    before = time.process_time()
    for _ in range(UPDATES):
        display.update({"text/html": card(run, "foot", None)})
    update_s = (time.process_time() - before) / UPDATES
    click.echo(
        f"an event {event_s * 1e6:.1f} µs, of at most {MOST_EVENT_S * 1e6:.0f}: ratio {event_s / MOST_EVENT_S:.4f}"
    )
    click.echo(f"an update {update_s * 1e3:.2f} ms, at most {1 / INTERVAL_S:g} a second")
    for step_s in STEPS_S:
        share = (event_s + update_s * min(1.0, step_s / INTERVAL_S)) / step_s
        click.echo(
            f"a step of {step_s:g} s: {share:.2%} of it, of at most {MOST_SHARE:.0%}: ratio {share / MOST_SHARE:.2f}"
        )
    assert threading.active_count() == 1


if __name__ == "__main__":
    main()
