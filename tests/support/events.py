"""Events as they travel, and the plan of a job that runs well."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

TIMESTAMP = "2026-01-01T00:00:00.000Z"


def chunk(content: str | None = None, **fields: Any) -> bytes:
    """Return a chunk of a streamed answer, in chat completions form; ``fields`` join its choice."""
    delta = {"content": content} if content is not None else fields.pop("delta", {})
    choice = {"index": 0, "delta": delta, "logprobs": None, **fields}
    return b"data: " + json.dumps({"choices": [choice]}).encode() + b"\n\n"


def text_chunk(text: str, finish_reason: str | None = None) -> bytes:
    """Return one frame of a completion."""
    body = {"choices": [{"text": text, "finish_reason": finish_reason}]}
    return f"data: {json.dumps(body)}\n\n".encode()


def words(text: str) -> list[str]:
    """Cut a text before each of its blanks."""
    return re.findall(r"\s?\S+", text)


DONE = b"data: [DONE]\n\n"


def started(**metadata: Any) -> dict[str, Any]:
    """Return the event that training began."""
    return {"type": "training.started", "metadata": metadata}


def preparing(phase: str, done: int, total: int) -> dict[str, Any]:
    """Return how far the preparing of the rows is."""
    return {"type": "training.preparing", "phase": phase, "done": done, "total": total}


def log(step: int, loss: float | None = None, **figures: Any) -> dict[str, Any]:
    """Return a line of the training log."""
    return {"type": "training.log", "step": step, "loss": loss, **figures}


def checkpoint(step: int, *artifacts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the event of a saved checkpoint."""
    return {"type": "checkpoint.saved", "step": step, "artifacts": list(artifacts)}


def sample_made(step: int, sample: int = 0, **fields: Any) -> dict[str, Any]:
    """Return the event of an answer."""
    return {"type": "sample.made", "step": step, "sample": sample, "prompt": "?", "answer": f"at {step}", **fields}


def completed(*artifacts: Mapping[str, Any], **metrics: Any) -> dict[str, Any]:
    """Return the event of a completed job."""
    return {"type": "training.completed", "artifacts": list(artifacts), "metrics": metrics}


def failed(error: str) -> dict[str, Any]:
    """Return the event of a failed job."""
    return {"type": "training.failed", "error": error}


def frame(number: int | str, event: Mapping[str, Any], job_id: str = "job_1") -> bytes:
    """Return an event as it travels."""
    body = json.dumps({"jobId": job_id, "timestamp": TIMESTAMP, **event}, ensure_ascii=False)
    return f"id: {number}\nevent: {event['type']}\ndata: {body}\n\n".encode()


def frames(plan: Sequence[Mapping[str, Any]]) -> list[bytes]:
    """Return events as they travel, numbered from 1."""
    return [frame(number, event) for number, event in enumerate(plan, 1)]


def long_plan(events: int = 40) -> list[dict[str, Any]]:
    """Return the events of a longer job, with characters of one to four bytes in them."""
    return [started(model="größer 😀"), *(log(step, 1 / step, note="é€") for step in range(1, events - 1)), completed()]


PING = b"event: ping\ndata: {}\n\n"
END = b"event: end\ndata: {}\n\n"
ADAPTER = {"name": "adapter", "kind": "adapter", "sizeBytes": 12, "sha256": "00"}
PLAN = (started(model="m"), log(1, 2.5), log(2, 1.5), checkpoint(2), log(3, 0.5), completed(ADAPTER, trainLoss=0.5))
