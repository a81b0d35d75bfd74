"""Measure what the training changed: the base model beside the adapter, on tickets that neither has seen.

Usage: python evaluate.py JOB [--all], from this folder. 20 tickets by default, 60 with --all. The answers are free: no
schema holds them to anything.
"""

import json
import os
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from arkor import Trainer, TrainingResult

HELD_OUT = 60
AT_ONCE = 8
MAX_TOKENS = 96

Scores = dict[str, int]


def held_out_tickets(count: int) -> list[list[dict[str, str]]]:
    """Return the last tickets of the file, each as its conversation; the training holds these out."""
    lines = Path("data/tickets.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["messages"] for line in lines[-HELD_OUT:][:count]]


def score(answer: str, expected: Mapping[str, Any]) -> Scores:
    """Return what is right about an answer: 1 or 0 each."""
    try:
        given = json.loads(answer)
    except ValueError:
        given = None
    said = given if isinstance(given, dict) else {}
    return {
        "valid JSON": int(isinstance(given, dict)),
        "right category": int(said.get("category") == expected["category"]),
        "right urgency": int(said.get("urgency") == expected["urgency"]),
    }


def evaluate(result: TrainingResult, tickets: list[list[dict[str, str]]], *, base: bool) -> Scores:
    """Let a model triage tickets, several at a time, and count what it got right."""

    def ask(ticket: list[dict[str, str]]) -> Scores:
        answer = result.chat(base=base, messages=ticket[:-1], temperature=0, max_tokens=MAX_TOKENS)
        return score(answer.text, json.loads(ticket[-1]["content"]))

    with ThreadPoolExecutor(AT_ONCE) as pool:
        scores = list(pool.map(ask, tickets))
    return {name: sum(item[name] for item in scores) for name in scores[0]}


def print_table(result: TrainingResult, count: int) -> None:
    """Print the base model beside the adapter."""
    tickets = held_out_tickets(count)
    before, after = evaluate(result, tickets, base=True), evaluate(result, tickets, base=False)
    print(f"\nOn {len(tickets)} held-out tickets    base  adapter")
    for name in before:
        print(f"{name:26}{before[name]:6}{after[name]:9}")


if __name__ == "__main__":
    os.environ.setdefault("ARKOR_CLOUD_API_URL", "local")
    print_table(Trainer.attach(sys.argv[1]).wait(check=True), HELD_OUT if "--all" in sys.argv else 20)
