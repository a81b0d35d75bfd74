"""Stop early, on a smoothed loss: one bad batch does not end the run, a bad trend does.

    python stop_smoothed.py

The exponential moving average takes a fifth of each new loss and four fifths of what it was. The run ends where that
average is a quarter above the lowest it has been.
"""

import math
import sys
import threading
from contextlib import suppress

from tickets import DATASET, MODEL

from arkor import Aborted, Callbacks, Conflict, LogContext, Trainer

WEIGHT = 0.2
TOLERANCE = 1.25

stop = threading.Event()


class SmoothedLoss:
    """The exponential moving average of the losses so far, and the lowest it has been."""

    def __init__(self) -> None:
        self.value: float | None = None
        self.lowest = math.inf

    def on_log(self, log: LogContext) -> None:
        """Take a loss in; stop where the average has risen too far."""
        if log.loss is None:
            return
        self.value = log.loss if self.value is None else WEIGHT * log.loss + (1 - WEIGHT) * self.value
        self.lowest = min(self.lowest, self.value)
        if not self.value <= TOLERANCE * self.lowest:  # nan is neither above nor below
            print(f"step {log.step}: the smoothed loss is {self.value:.3f}, and was {self.lowest:.3f}")
            stop.set()


trainer = Trainer(
    name="stop-smoothed",
    model=MODEL,
    dataset=DATASET,
    max_steps=20,
    logging_steps=1,
    callbacks=Callbacks(on_log=SmoothedLoss().on_log),
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
