"""The card of an export: what it is, what made it, and how to use it. Facts only, always in the same order."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from arkor.backend.export_worker import vllm
from arkor.backend.export_worker.making import adapter_config, base_of, gguf_file
from arkor.backend.exports.task import Task
from arkor.protocol import wire
from arkor.protocol.config import imported_words
from arkor.protocol.exports import GGUF, OLLAMA
from arkor.text import one_line

_HIDDEN = frozenset({"evaluation"})


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
    yield from ("## Use it", "")
    for title, language, lines in _ways(task):
        yield from (f"With {title}:", "", f"```{language}", *lines, "```", "")
    here = (
        "arkor import ." if task.options.is_adapter and not task.options.adapter_only else f"arkor chat {task.job_id}"
    )
    yield from ("With arkor:", "", "```console", f"$ {here}", "```", "")


def _ways(task: Task) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """Return how other programs load the folder: the program, the language, and the lines, run in the folder."""
    options, base, name = task.options, base_of(task)["id"], task.short_name
    if options.to in {GGUF, OLLAMA}:
        file = gguf_file(task).name
        model = f"BASE.gguf --lora {file}" if options.adapter_only else file
        yield "llama.cpp", "console", (f"$ llama-server -m {model} --jinja",)
        if options.to == OLLAMA:
            yield "Ollama", "console", (f"$ ollama create {name}", f"$ ollama run {name}")
    elif options.is_adapter:
        yield (
            "transformers and PEFT",
            "python",
            (
                "from peft import AutoPeftModelForCausalLM",
                "from transformers import AutoTokenizer",
                'model = AutoPeftModelForCausalLM.from_pretrained(".")',
                'tokenizer = AutoTokenizer.from_pretrained(".")',
            ),
        )
        if not vllm.faults(adapter_config(task)):
            yield "vLLM", "console", (f"$ {vllm.command(base, name, adapter_config(task)['r'])}",)
    else:
        yield (
            "transformers",
            "python",
            (
                "from transformers import AutoModelForCausalLM, AutoTokenizer",
                'model = AutoModelForCausalLM.from_pretrained(".")',
                'tokenizer = AutoTokenizer.from_pretrained(".")',
            ),
        )
        yield "vLLM", "console", ("$ vllm serve .",)
