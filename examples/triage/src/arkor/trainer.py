"""Teach a small model to triage support tickets: category, urgency, summary and next action, as JSON."""

from arkor import Callbacks, CompletedContext, LocalDataset, LogContext, LoraConfig, StartedContext, create_trainer

MAX_STEPS = 60

losses: list[float] = []


def on_started(started: StartedContext) -> None:
    """Say on what the backend trains."""
    rows = started.metadata
    print(f"Training on {rows.get('trainRows')} tickets, {rows.get('evalRows')} are held out", flush=True)


def on_log(log: LogContext) -> None:
    """Print one line for each line of the training log."""
    if log.loss is not None:
        losses.append(log.loss)
        print(f"step {log.step:3}/{MAX_STEPS}  loss {log.loss:.3f}", flush=True)
    if log.eval_loss is not None:
        print(f"step {log.step:3}/{MAX_STEPS}  loss on the held-out tickets {log.eval_loss:.3f}", flush=True)


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
    max_steps=MAX_STEPS,
    batch_size=4,
    learning_rate=1e-3,
    warmup_steps=5,
    logging_steps=5,
    callbacks=Callbacks(on_started=on_started, on_log=on_log, on_completed=on_completed),
)
