"""Tell a chat channel, or any webhook, when a training fails.

    WEBHOOK_URL=https://hooks.example.com/… python notify_failure.py

``on_failed`` is called for a job that failed; not for one that was cancelled, nor for a wait that ended by itself. An
exception in a callback would end the wait, so a webhook that is away costs a line on stderr and no more. Its address is
a secret as a token is: neither is in the message or in that line.
"""

import os
import sys

import requests
from tickets import DATASET, MODEL

from arkor import Callbacks, FailedContext, Trainer


def on_failed(failed: FailedContext) -> None:
    """POST what happened, in the form that most chat services take."""
    text = f"Training {failed.job.name} ({failed.job.id}) failed: {failed.error[:500]}"
    try:
        answer = requests.post(os.environ["WEBHOOK_URL"], json={"text": text}, timeout=10)
    except requests.RequestException as exc:  # its text would tell the address
        print(f"The webhook was not reached: {type(exc).__name__}", file=sys.stderr)
    else:
        if not answer.ok:
            print(f"The webhook refused the message: {answer.status_code}", file=sys.stderr)


trainer = Trainer(
    name="notify-failure",
    model=MODEL,
    dataset=DATASET,
    max_steps=20,
    callbacks=Callbacks(on_failed=on_failed),
)


def main() -> int:
    """Train, and return the exit code."""
    if not os.environ.get("WEBHOOK_URL"):
        print("Set WEBHOOK_URL: nobody would hear of a failure.", file=sys.stderr)
        return 2
    result = trainer.wait()
    print(f"Job {result.job.id} finished with status={result.status}")
    return 0 if result.status == "completed" else 1


if __name__ == "__main__":
    sys.exit(main())
