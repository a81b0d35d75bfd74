"""Teach a small model to triage support tickets: category, urgency, summary and next action, as JSON."""

from arkor import (
    Callbacks,
    CompletedContext,
    LocalDataset,
    LogContext,
    LoraConfig,
    StartedContext,
    create_trainer,
)

losses: list[float] = []


def on_started(started: StartedContext) -> None:
    """Say on what the backend trains."""
    rows = started.metadata
    print(f"Training on {rows.get('trainRows')} tickets, {rows.get('evalRows')} are held out", flush=True)


def on_log(log: LogContext) -> None:
    """Remember how the loss falls; whoever runs the trainer shows it."""
    if log.loss is not None:
        losses.append(log.loss)


def on_completed(_: CompletedContext) -> None:
    """Say how the loss fell."""
    if losses:
        print(f"The loss fell from {losses[0]:.3f} to {losses[-1]:.3f}")


trainer = create_trainer(
    name="triage",
    model="smollm2-135m",
    dataset=LocalDataset("data/tickets.jsonl"),
    dataset_split={"eval_fraction": 0.15},  # the last 60 of the 400 tickets
    lora=LoraConfig(r=8, alpha=16),
    max_steps=60,
    batch_size=4,
    learning_rate=1e-3,
    warmup_steps=5,
    logging_steps=5,
    save_steps=30,
    sample_prompts=1,  # of the held-out tickets: it is answered before, during and after the training
    callbacks=Callbacks(on_started=on_started, on_log=on_log, on_completed=on_completed),
)
