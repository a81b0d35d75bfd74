"""The whole job in one script: train the example on this machine, and find out whether the training made it better.

Usage: python demo.py [REPORT], from this folder; REPORT is the page that it writes, by default ./report.html.
"""

import os
import sys

from arkor import Event, TrainingLogEvent, run_trainer

HELD_OUT = 80

os.environ.setdefault("ARKOR_CLOUD_API_URL", "local")


def show(event: Event) -> None:
    """Print one line for each line of the training log."""
    if isinstance(event, TrainingLogEvent):
        held_out = "" if event.eval_loss is None else f"  loss on the held-out questions {event.eval_loss:.3f}"
        loss = "" if event.loss is None else f"  loss {event.loss:.3f}"
        print(f"step {event.step:2}{loss}{held_out}", flush=True)


result = run_trainer(on_event=show)
result.raise_for_status()
report = result.evaluate(limit=HELD_OUT)
print(report)
print(f"Report: {report.save(sys.argv[1] if len(sys.argv) > 1 else 'report.html').resolve()}")
