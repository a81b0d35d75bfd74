"""The whole job in one script: train the example on this machine, fetch the adapter, and measure what it learnt.

Usage: python demo.py [FOLDER], from this folder; FOLDER gets the adapter, by default ./adapters.
"""

import os
import sys
from pathlib import Path

from evaluate import print_table

from arkor import Event, TrainingLogEvent, run_trainer

os.environ.setdefault("ARKOR_CLOUD_API_URL", "local")


def show(event: Event) -> None:
    """Print one line for each line of the training log."""
    if isinstance(event, TrainingLogEvent):
        held_out = "" if event.eval_loss is None else f"  loss on the held-out tickets {event.eval_loss:.3f}"
        loss = "" if event.loss is None else f"  loss {event.loss:.3f}"
        print(f"step {event.step:2}{loss}{held_out}", flush=True)


result = run_trainer(on_event=show)
result.raise_for_status()
for folder in result.download(sys.argv[1] if len(sys.argv) > 1 else "adapters"):
    size = sum(file.stat().st_size for file in folder.iterdir())
    print(f"Adapter: {Path(folder).resolve()} ({size / 2**20:.1f} MiB)")
print_table(result, 20)
