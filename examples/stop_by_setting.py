"""Stop early by settings alone: the backend watches the loss on held-out rows, and keeps the best adapter.

    ARKOR_CLOUD_API_URL=local python stop_by_setting.py

Unlike in the other recipes, the job completes, nothing has to run beside it, and its final adapter is the best one. For
a rule of your own, such as a moving average, take one of the others. A self-hosted backend can do it.
"""

import sys

from tickets import DATASET, MODEL

from arkor import CompletedContext, Trainer


def on_completed(completed: CompletedContext) -> None:
    """Say which adapter it is."""
    metrics = completed.metrics
    print(f"The adapter is that of step {metrics['bestStep']}, with a loss of {metrics['bestEvalLoss']:.3f}")
    if metrics["endReason"] == "early_stopping":
        print(f"Stopped at step {metrics['steps']}: no better evaluation came")


trainer = Trainer(
    name="stop-by-setting",
    model=MODEL,
    dataset=DATASET,
    dataset_split={"eval_fraction": 0.1},
    max_steps=40,
    eval_steps=5,
    load_best_model_at_end=True,
    early_stopping_patience=2,  # evaluations in a row that are no better
    callbacks={"on_completed": on_completed},
)


def main() -> int:
    """Train, as long as it makes sense."""
    trainer.wait(check=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
