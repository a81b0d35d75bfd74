"""A step of a CI job that fails when the training fails.

    ARKOR_SMOKE=1 python ci_step.py     # the whole path on a few rows, for a few steps: finds mistakes in minutes
    python ci_step.py                   # the whole training

``wait()`` returns however the job ended: whoever does not look at the status lets a failed job pass. This exits with 0
for a completed job, 1 for one that failed or was cancelled, and 3 for all else. In CI, set ``ARKOR_TOKEN``.
"""

import os
import sys

from tickets import DATASET, MODEL

from arkor import ArkorError, create_trainer

trainer = create_trainer(
    name="ci-step",
    model=MODEL,
    dataset=DATASET,
    max_steps=20,
    dry_run=bool(os.environ.get("ARKOR_SMOKE")),
)


def main() -> int:
    """Train, and return the exit code."""
    try:
        print(f"Started job {trainer.start().id}", flush=True)
        result = trainer.wait(timeout=2 * 60 * 60)
    except ArkorError as exc:  # no backend, bad rows, or two hours were not enough
        print(f"Error: {exc}", file=sys.stderr)
        return 3
    if result.status != "completed":
        print(f"status={result.status}: {result.job.error or 'no error message'}", file=sys.stderr)
        return 1
    print(f"Job {result.job.id} completed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
