"""Two trainings in one script: one after the other, or both at once.

    python two_trainers.py              # in sequence
    python two_trainers.py --at-once    # in a pool of threads

``wait()`` starts a trainer that was not started. Whether two jobs then train at the same time is the backend's choice;
one on your own machine trains them in turn.
"""

import sys
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from tickets import DATASET, MODEL

from arkor import LoraConfig, Trainer, TrainingResult

stop = threading.Event()


def make_trainer(rank: int) -> Trainer:
    """Return a trainer for an adapter of this rank."""
    lora = LoraConfig(r=rank, alpha=2 * rank)
    return Trainer(name=f"rank-{rank}", model=MODEL, dataset=DATASET, lora=lora, max_steps=20, abort_event=stop)


def in_sequence(trainers: Sequence[Trainer]) -> list[TrainingResult]:
    """Let each job end before the next one starts."""
    return [trainer.wait() for trainer in trainers]


def at_once(trainers: Sequence[Trainer]) -> list[TrainingResult]:
    """Start all jobs, and wait for each in a thread of its own."""
    with ThreadPoolExecutor(len(trainers)) as pool:
        try:
            return list(pool.map(Trainer.wait, trainers))
        except BaseException:
            stop.set()  # Ctrl-C reaches this thread alone: without this the pool would wait for the end of all jobs
            raise


def main() -> int:
    """Train both, and say how each ended."""
    trainers = [make_trainer(rank) for rank in (4, 16)]
    results = at_once(trainers) if "--at-once" in sys.argv else in_sequence(trainers)
    for result in results:
        print(f"{result.job.name}: job {result.job.id} finished with status={result.status}")
    return 0 if all(result.status == "completed" for result in results) else 1


if __name__ == "__main__":
    sys.exit(main())
