"""Teach a small model to triage support tickets: category, urgency, summary and next action, as JSON."""

from arkor import Callbacks, LocalDataset, LogContext, LoraConfig, StartedContext, create_trainer

MAX_STEPS = 60


def on_started(started: StartedContext) -> None:
    """Say on what the backend trains."""
    print(f"Training on {started.metadata.get('trainRows')} tickets, {started.metadata.get('evalRows')} held out")


def on_log(log: LogContext) -> None:
    """Print one line for each line of the training log."""
    if log.loss is not None:
        print(f"step {log.step:3}/{MAX_STEPS}  loss {log.loss:.3f}", flush=True)
    if log.eval_loss is not None:
        print(f"step {log.step:3}/{MAX_STEPS}  loss on the held-out tickets {log.eval_loss:.3f}", flush=True)


trainer = create_trainer(
    name="triage",
    model="smollm2-135m",
    # The last 60 of the 400 tickets are held out.
    dataset=LocalDataset("data/tickets.jsonl"),
    dataset_split={"eval_fraction": 0.15},
    lora=LoraConfig(r=8, alpha=16),
    max_steps=MAX_STEPS,
    batch_size=4,
    learning_rate=1e-3,
    warmup_steps=5,
    logging_steps=5,
    callbacks=Callbacks(on_started=on_started, on_log=on_log),
)
