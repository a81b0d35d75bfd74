"""Ask the half-trained model at every checkpoint, while its training goes on.

    python ask_checkpoints.py

A JSON schema holds the answers to a form, whatever the model would rather say; so even the first checkpoint can be
scored. An answer that fails costs a line, not the wait.
"""

import sys

from tickets import DATASET, MODEL

from arkor import ArkorError, Callbacks, CheckpointContext, Trainer

QUESTIONS = {
    "My invoice has the same lamp on it twice.": "billing",
    "Tracking has said 'arriving today' for six days.": "delivery",
    "The lamp hums, flickers, and then goes out.": "technical",
}
CATEGORIES = ["account", "billing", "delivery", "question", "returns", "technical"]
SCHEMA = {
    "type": "object",
    "properties": {"category": {"enum": CATEGORIES}},
    "required": ["category"],
    "additionalProperties": False,
}


def category(checkpoint: CheckpointContext, ticket: str) -> str | None:
    """Return what the checkpoint says a ticket is about; None where it does not answer."""
    try:
        answer = checkpoint.infer(
            messages=[
                {"role": "system", "content": "Triage the support ticket. Answer with JSON only."},
                {"role": "user", "content": ticket},
            ],
            temperature=0,
            max_tokens=40,
            response_format={"type": "json_schema", "json_schema": {"name": "triage", "schema": SCHEMA}},
            timeout=60,
        )
        return str(answer.json()["category"])
    except ArkorError as exc:
        print(f"step {checkpoint.step}: no answer: {exc}")
        return None


def on_checkpoint(checkpoint: CheckpointContext) -> None:
    """Count the right answers."""
    right = sum(category(checkpoint, ticket) == expected for ticket, expected in QUESTIONS.items())
    print(f"step {checkpoint.step}: {right} of {len(QUESTIONS)} right", flush=True)


trainer = Trainer(
    name="ask-checkpoints",
    model=MODEL,
    dataset=DATASET,
    max_steps=20,
    save_steps=5,
    callbacks=Callbacks(on_checkpoint=on_checkpoint),
)

if __name__ == "__main__":
    sys.exit(0 if trainer.wait().status == "completed" else 1)
