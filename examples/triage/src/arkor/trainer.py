"""Teach a small model to triage support tickets: category, urgency, summary and next action, as JSON."""

from arkor import (
    Callbacks,
    CheckpointContext,
    CompletedContext,
    LocalDataset,
    LogContext,
    LoraConfig,
    StartedContext,
    create_trainer,
)

SCHEMA = {
    "type": "object",
    "properties": {
        "category": {"enum": ["account", "billing", "delivery", "question", "returns", "technical"]},
        "urgency": {"enum": ["high", "normal", "low"]},
        "summary": {"type": "string", "maxLength": 100},
        "next_action": {"type": "string", "maxLength": 100},
    },
    "required": ["category", "urgency", "summary", "next_action"],
    "additionalProperties": False,
}
QUESTION = [
    {"role": "system", "content": "Triage the support ticket. Answer with JSON only."},
    {"role": "user", "content": "My lamp gets so hot that it smells burnt, and my child sleeps beside it!"},
]

losses: list[float] = []


def on_started(started: StartedContext) -> None:
    """Say on what the backend trains."""
    rows = started.metadata
    print(f"Training on {rows.get('trainRows')} tickets, {rows.get('evalRows')} are held out", flush=True)


def on_log(log: LogContext) -> None:
    """Remember how the loss falls; whoever runs the trainer shows it."""
    if log.loss is not None:
        losses.append(log.loss)


def on_checkpoint(checkpoint: CheckpointContext) -> None:
    """Ask the half-trained model, held to the schema."""
    answer = checkpoint.infer(
        messages=QUESTION,
        temperature=0,
        max_tokens=120,
        response_format={"type": "json_schema", "json_schema": {"name": "triage", "schema": SCHEMA, "strict": True}},
    )
    print(f"Asked the checkpoint of step {checkpoint.step}: {answer.json()}", flush=True)


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
    callbacks=Callbacks(on_started=on_started, on_log=on_log, on_checkpoint=on_checkpoint, on_completed=on_completed),
)
