"""The whole job in one script: train the example on this machine, fetch the adapter, and see whether it is better.

Usage: python demo.py [FOLDER], from this folder; FOLDER gets the adapter and the report, by default ./adapters.
"""

import os
import sys
from pathlib import Path

from arkor import Event, SampleMadeEvent, TrainingLogEvent, run_trainer

ASKED = 20  # of the 60 tickets that the training holds out
SHOWN = 80  # characters of an answer during the training
MAX_TOKENS = 96  # of an answer: the base model would go on and on

os.environ.setdefault("ARKOR_CLOUD_API_URL", "local")


def show(event: Event) -> None:
    """Print one line for each line of the training log, and for each sample of the answers."""
    if isinstance(event, TrainingLogEvent):
        held_out = "" if event.eval_loss is None else f"  loss on the held-out tickets {event.eval_loss:.3f}"
        loss = "" if event.loss is None else f"  loss {event.loss:.3f}"
        print(f"step {event.step:2}{loss}{held_out}", flush=True)
    elif isinstance(event, SampleMadeEvent):
        print(f"step {event.step:2}  asked ticket {event.row}, it says {event.answer[:SHOWN]!r}", flush=True)


result = run_trainer(on_event=show)
result.raise_for_status()
folder = Path(sys.argv[1] if len(sys.argv) > 1 else "adapters").resolve()
for adapter in result.download(folder):
    size = sum(file.stat().st_size for file in adapter.iterdir())
    print(f"Adapter: {adapter} ({size / 2**20:.1f} MiB)")
print(f"\nThe base model and the adapter answer {ASKED} held-out tickets, and 40 general questions …", flush=True)
report = result.evaluate(limit=ASKED, max_tokens=MAX_TOKENS)
print(report)
print(f"Report: {report.save(folder / 'report.html')}")
