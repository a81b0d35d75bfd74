"""Abort, then cancel: two steps, because they end two things.

    python abort_then_cancel.py     # then, from elsewhere: kill PID

A set abort event ends this process's wait, and nothing else: the job goes on, and may cost money. ``cancel()`` ends the
job. Here SIGTERM, with which containers and services are asked to go, does the one and then the other. For a wait that
may end without its job, leave the second step out; ``arkor attach JOB`` goes on with it.
"""

import os
import signal
import sys
import threading
from contextlib import suppress

from tickets import DATASET, MODEL

from arkor import Aborted, Conflict, Trainer

stop = threading.Event()
trainer = Trainer(name="abort-then-cancel", model=MODEL, dataset=DATASET, max_steps=20, abort_event=stop)


def on_sigterm(*_: object) -> None:
    """Set the event, from a thread: setting it takes a lock, for which a signal handler must not wait."""
    threading.Thread(target=stop.set).start()


def main() -> int:
    """Train; on SIGTERM stop waiting, then stop the job."""
    signal.signal(signal.SIGTERM, on_sigterm)
    job = trainer.start()
    print(f"Started job {job.id}, process {os.getpid()}", flush=True)
    try:
        result = trainer.wait()
    except Aborted:
        print(f"Stopped waiting. The job is {Trainer.attach(job.id).start().status}", flush=True)
        with suppress(Conflict):  # it has just ended by itself
            trainer.cancel()
        stop.clear()
        result = trainer.wait()
    print(f"Job {job.id} finished with status={result.status}")
    return 0 if result.status == "completed" else 1


if __name__ == "__main__":
    sys.exit(main())
