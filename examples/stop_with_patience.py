"""Stop early, with patience: the loss on held-out rows has not fallen for some evaluations.

    python stop_with_patience.py

From then on the model only learns its rows by heart. The best checkpoint is not the last one: it is the one saved where
the loss on held-out rows was lowest, and a job that was cancelled keeps it.
"""

import math
import sys
import threading
from contextlib import suppress

from tickets import DATASET, MODEL

from arkor import Aborted, Callbacks, CheckpointContext, Conflict, LogContext, Trainer

PATIENCE = 2  # evaluations in a row that are no better

stop = threading.Event()
eval_losses: dict[int, float] = {}  # by step
saved_steps: set[int] = set()


def on_log(log: LogContext) -> None:
    """Note an evaluation; stop where the best one is too long ago."""
    if log.eval_loss is None:
        return
    eval_losses[log.step] = math.inf if math.isnan(log.eval_loss) else log.eval_loss
    best = min(eval_losses, key=eval_losses.__getitem__)
    if sum(step > best for step in eval_losses) >= PATIENCE:
        print(f"step {log.step}: no better than at step {best}")
        stop.set()


def on_checkpoint(checkpoint: CheckpointContext) -> None:
    """Note what was saved."""
    saved_steps.add(checkpoint.step)


trainer = Trainer(
    name="stop-with-patience",
    model=MODEL,
    dataset=DATASET,
    dataset_split={"eval_fraction": 0.1},
    max_steps=40,
    eval_steps=5,
    save_steps=5,  # so that there is a checkpoint of every evaluation
    callbacks=Callbacks(on_log=on_log, on_checkpoint=on_checkpoint),
    abort_event=stop,
)


def main() -> int:
    """Train, as long as it makes sense, and name the best checkpoint."""
    job = trainer.start()
    try:
        trainer.wait(check=True)
    except Aborted:
        with suppress(Conflict):  # it has just ended by itself
            trainer.cancel()
        print(f"Stopped job {job.id}")
    best = min(saved_steps & eval_losses.keys(), key=eval_losses.__getitem__)
    print(f"The best checkpoint is at step {best}; talk to it: arkor chat {job.id} --step {best}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
