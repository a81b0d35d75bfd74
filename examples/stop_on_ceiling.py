"""Stop early: the loss is so high that the run has diverged.

    python stop_on_ceiling.py

A callback sets the abort event, which ends the wait after it; then the job is cancelled. The first losses are high in
every run, so they do not count. ``stop_smoothed.py`` is for losses that jump about.
"""

import sys
import threading
from contextlib import suppress

from tickets import DATASET, MODEL

from arkor import Aborted, Callbacks, Conflict, LogContext, Trainer

CEILING = 6.0
FIRST_STEPS = 5

stop = threading.Event()


def on_log(log: LogContext) -> None:
    """Stop where the loss is above the ceiling, or is no number any more."""
    if log.loss is None or log.step <= FIRST_STEPS:
        return
    if not log.loss <= CEILING:  # nan is neither above nor below
        print(f"step {log.step}: the loss is {log.loss:g}")
        stop.set()


trainer = Trainer(
    name="stop-on-ceiling",
    model=MODEL,
    dataset=DATASET,
    max_steps=20,
    logging_steps=1,
    callbacks=Callbacks(on_log=on_log),
    abort_event=stop,
)


def main() -> int:
    """Train, as long as it makes sense."""
    job = trainer.start()
    try:
        result = trainer.wait()
    except Aborted:
        with suppress(Conflict):  # it has just ended by itself
            trainer.cancel()
        print(f"Stopped job {job.id}")
        return 1
    print(f"Job {job.id} finished with status={result.status}")
    return 0 if result.status == "completed" else 1


if __name__ == "__main__":
    sys.exit(main())
