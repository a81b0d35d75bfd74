"""The card of an export: what it is, what made it, and how to use it. Facts only, always in the same order."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from arkor.backend.export_worker.check import words
from arkor.backend.export_worker.making import base_of
from arkor.backend.exports.task import Task
from arkor.protocol import wire
from arkor.protocol.exports import ADAPTER
from arkor.text import one_line

_HIDDEN = frozenset({"evaluation"})


def card(task: Task, check: Mapping[str, Any] | None) -> str:
    """Return the content of ``README.md``.

    Args:
        task: the export.
        check: what the check found; None if it was not made.
    """
    return "\n".join([*_head(task), *_facts(task, check), *_use(task)]) + "\n"


def _head(task: Task) -> Iterator[str]:
    yield from ("---", f"base_model: {json.dumps(base_of(task)['id'])}")
    yield from (("library_name: peft",) if task.options.to == ADAPTER else ("library_name: transformers",))
    yield from ("tags: [arkor, lora]", "---", "", f"# {one_line(task.job_name)}", "")
    what = "A LoRA adapter" if task.options.to == ADAPTER else "A model with its LoRA adapter merged into it"
    which = "" if task.options.step is None else f", from the checkpoint of step {task.options.step}"
    yield from (f"{what}{which}. Trained with [arkor](https://github.com/arkorlab/arkor).", "")


def _facts(task: Task, check: Mapping[str, Any] | None) -> Iterator[str]:
    base, receipt = base_of(task), task.receipt
    yield from ("| | |", "|---|---|")
    yield f"| base model | {base['id']}{', revision ' + base['revision'] if base['revision'] else ''} |"
    if task.record is not None:
        yield f"| rows | {_rows(task.record.rows)} |"
    if receipt is not None:
        yield f"| learned | {one_line(receipt.line(), 300)} |"
    if task.loss is not None:
        yield f"| loss on the held-out rows | {task.loss:.4f} nats a token |"
    if task.report:
        yield f"| report | {one_line(task.report)} |"
    yield f"| check | {words(check) if check else 'not checked'} |"
    if task.record is not None:
        versions = ", ".join(f"{name} {version}" for name, version in task.record.versions.items())
        yield f"| made with | {versions}, on {task.record.device}, in {task.record.dtype} |"
    yield from ("", "Settings:", "", "```json")
    settings = task.record.settings if task.record is not None else task.config.to_wire()
    yield json.dumps({name: value for name, value in settings.items() if name not in _HIDDEN}, indent=1, sort_keys=True)
    yield from ("```", "")


def _rows(rows: Mapping[str, Any]) -> str:
    """Return the source of rows in words, and what tells them from others."""
    if rows.get("type") == "dataset":
        return one_line(f"uploaded, SHA-256 {rows.get('id')}")
    known = {"SHA-256": rows.get("sha256"), "revision": rows.get("revision"), "fingerprint": rows.get("fingerprint")}
    facts = [f"{name} {value}" for name, value in known.items() if value]
    return one_line(", ".join([wire.text(rows.get("name")) or "rows", *facts]))


def _use(task: Task) -> Iterator[str]:
    base = base_of(task)["id"]
    yield from ("## Use it", "")
    if task.options.to == ADAPTER:
        yield from (
            *("With transformers and PEFT:", "", "```python"),
            "from peft import AutoPeftModelForCausalLM",
            "from transformers import AutoTokenizer",
            'model, tokenizer = AutoPeftModelForCausalLM.from_pretrained("."), AutoTokenizer.from_pretrained(".")',
            *("```", "", "With vLLM:", "", "```console"),
            f"$ vllm serve {base} --enable-lora --lora-modules {_name(task)}=.",
            *("```", ""),
        )
        return
    yield from (
        *("With transformers:", "", "```python"),
        "from transformers import AutoModelForCausalLM, AutoTokenizer",
        'model, tokenizer = AutoModelForCausalLM.from_pretrained("."), AutoTokenizer.from_pretrained(".")',
        *("```", "", "With vLLM:", "", "```console", "$ vllm serve .", "```", ""),
        *("With Ollama (a Modelfile beside this folder with `FROM ./` and the template of the model):", ""),
        *("```console", f"$ ollama create {_name(task)}", "```", ""),
    )


def _name(task: Task) -> str:
    return "".join(char if char.isalnum() else "-" for char in task.job_name.lower()).strip("-") or "adapter"
