"""The card of an export: what it is, what made it, and how to use it. Facts only, always in the same order."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from arkor.backend.export_worker import vllm
from arkor.backend.export_worker.making import adapter_config, base_of, gguf_file
from arkor.backend.exports.task import Task
from arkor.protocol import wire
from arkor.protocol.exports import GGUF, OLLAMA
from arkor.protocol.sources import imported_words
from arkor.text import one_line

_Way = tuple[str, Sequence[str]]
"""A language, and lines of it."""

_HIDDEN = frozenset({"evaluation"})
_PROGRAMS = {"transformers": "merged", "vLLM": "merged", "llama.cpp": "gguf", "Ollama": "ollama", "arkor": "adapter"}
_LOAD = """\
from {module} import {loader}
from transformers import AutoTokenizer
model = {loader}.from_pretrained(".")
tokenizer = AutoTokenizer.from_pretrained(".")
"""


def card(task: Task, verdict: str) -> str:
    """Return the content of ``README.md``.

    Args:
        task: the export.
        verdict: what the check found, or why there was none; empty if none was asked for.
    """
    return "\n".join([*_head(task), *_facts(task, verdict), *_use(task)]) + "\n"


def _head(task: Task) -> Iterator[str]:
    options = task.options
    library = "gguf" if options.to in {GGUF, OLLAMA} else "peft" if options.is_adapter else "transformers"
    yield from ("---", f"base_model: {json.dumps(base_of(task)['id'])}", f"library_name: {library}")
    yield from ("tags: [arkor, lora]", "---", "", f"# {one_line(task.job_name)}", "")
    what = "A LoRA adapter" if options.is_adapter else "A model with its LoRA adapter merged into it"
    kind = f" in {gguf_file(task).name}" if library == "gguf" else ""
    which = "" if options.step is None else f", from the checkpoint of step {options.step}"
    by = "Made" if task.is_imported else "Trained"
    yield from (f"{what}{kind}{which}. {by} with [arkor](https://github.com/arkorlab/arkor).", "")


def _facts(task: Task, verdict: str) -> Iterator[str]:
    base, receipt = base_of(task), task.receipt
    yield from ("| | |", "|---|---|")
    yield f"| base model | {base['id']}{', revision ' + base['revision'] if base['revision'] else ''} |"
    if task.is_imported:
        yield f"| imported from | {imported_words(task.config.to_wire())} |"
    if task.record is not None:
        yield f"| rows | {_rows(task.record.rows)} |"
    if receipt is not None:
        yield f"| learned | {one_line(receipt.line(), 300)} |"
    if task.loss is not None:
        yield f"| loss on the held-out rows | {task.loss:.4f} nats a token |"
    if task.report:
        yield f"| report | {one_line(task.report)} |"
    yield f"| check | {one_line(verdict, 300) or 'not checked'} |"
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
    """Say for each program how it loads the folder, run in it; or which other export it loads."""
    yield from ("## Use it", "")
    ways = _ways(task)
    for program, export in _PROGRAMS.items():
        language, lines = ways.get(program, ("console", [f"$ arkor export {task.job_id} --to {export}"]))
        yield from (f"With {program}:", "", f"```{language}", *lines, "```", "")


def _ways(task: Task) -> dict[str, _Way]:
    """Return the language and the lines of the programs that load this export."""
    options, name = task.options, task.short_name
    chat: _Way = ("console", [f"$ arkor chat {task.job_id}"])
    if options.to in {GGUF, OLLAMA}:
        file = gguf_file(task).name
        model = f"BASE.gguf --lora {file}" if options.adapter_only else file
        ways: dict[str, _Way] = {"llama.cpp": ("console", [f"$ llama-server -m {model} --jinja"]), "arkor": chat}
        if options.to == OLLAMA:
            ways["Ollama"] = ("console", [f"$ ollama create {name}", f"$ ollama run {name}"])
        return ways
    if options.is_adapter:
        ways = {"transformers": ("python", _LOAD.format(module="peft", loader="AutoPeftModelForCausalLM").splitlines())}
        if not vllm.faults(adapter_config(task)):
            rank = adapter_config(task)["r"]
            ways["vLLM"] = ("console", [f"$ {vllm.command(base_of(task)['id'], name, rank)}"])
        return {**ways, "arkor": ("console", ["$ arkor import ."])}
    load = _LOAD.format(module="transformers", loader="AutoModelForCausalLM").splitlines()
    return {"transformers": ("python", load), "vLLM": ("console", ["$ vllm serve ."]), "arkor": chat}
