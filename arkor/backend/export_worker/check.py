"""Whether an export answers as chats do: it is loaded by its own engine, in a process of its own, and compared.

The chat engine answers some rows. Both read prompt and answer, and behind each token both say which one is the
likeliest. Where the chat engine itself finds two tokens nearly alike, rounding decides, so these places do not count.
"""

from __future__ import annotations

import importlib.metadata
import json
import subprocess
from collections.abc import Mapping, Sequence
from typing import Any

import attrs
from transformers import AutoTokenizer

from arkor.backend.exports.task import MODEL, Task
from arkor.backend.inference.prompts import Prompts, ToolStyle
from arkor.backend.task_worker.rows import job_rows
from arkor.backend.task_worker.server_line import ServerLine
from arkor.backend.training_worker.rows.asked import AskedRow, ask_of, request_of, room
from arkor.errors import ArkorError
from arkor.protocol.exports import ADAPTER, MERGED
from arkor.system.files import read_end
from arkor.system.processes import module_command
from arkor.text import last_lines

ROWS = 20
MARGIN = 0.25  # nats: with less between the two likeliest tokens, 16 bits may turn them round
LEAST_SAME = 0.99
_LONGEST = 64  # tokens of an answer

_OTHER_PROMPT = (
    "Row {row} is another prompt to the export than to a chat: its chat template or tokenizer is not that of the model."
)
_NO_END = (
    "The export does not end its answers: chats end that of row {row} with token {token} ({text!r}), which is none of "
    "the export's end tokens."
)
_OTHER_MODEL = (
    "The export is not the model that chats get: the likeliest token is the same at {same} of {counted} places, and "
    "{least:.0%} of them are needed."
)


@attrs.frozen
class _Asked:
    """A row, and the tokens that both engines read.

    Attributes:
        row: the row.
        request: its question.
        prompt: the tokens that a chat asks it with.
        ids: prompt, answer and end.
        ended: whether the answer ended by itself.
    """

    row: AskedRow
    request: Mapping[str, Any]
    prompt: list[int]
    ids: list[int]
    ended: bool


def check(task: Task, line: ServerLine) -> dict[str, Any]:
    """Compare an export with what chats get.

    Args:
        task: the export, which is made.
        line: the server, whose chat engine answers.

    Returns:
        What was found, as an ``Export`` has it.

    Raises:
        ArkorError: the export answers otherwise, or cannot be loaded; the text says what differs.
        DatasetError: the job's rows cannot be had any more.
    """
    tokenizer = AutoTokenizer.from_pretrained(task.model_path)
    asked = _ask(_rows(task, tokenizer), tokenizer, line)
    scored = [
        line.send("score", candidate=MODEL, ids=one.ids, start=len(one.prompt), tellsLikeliest=True) for one in asked
    ]
    ours = [reply.result()["scored"]["likeliest"] for reply in scored]
    theirs = _peer(task, asked)
    _check_prompts(asked, theirs["rows"])
    if task.options.to == MERGED:
        _check_ends(asked, ours, theirs["stops"], tokenizer)
    pairs = [
        (mine, other[0])
        for own, peer in zip(ours, theirs["rows"], strict=True)
        for (mine, margin), other in zip(own, peer["likeliest"], strict=True)
        if margin > MARGIN
    ]
    same = sum(mine == other for mine, other in pairs)
    if not pairs or same < LEAST_SAME * len(pairs):
        raise ArkorError(_OTHER_MODEL.format(same=same, counted=len(pairs), least=LEAST_SAME))
    engine = f"transformers {importlib.metadata.version('transformers')}"
    return {"rows": len(asked), "tokens": len(pairs), "same": same, "margin": MARGIN, "engine": engine}


def words(found: Mapping[str, Any]) -> str:
    """Return what a check found in a sentence."""
    return (
        f"answers as chats do: the likeliest token is the same at {found['same']:,} of {found['tokens']:,} places of "
        f"{found['rows']} rows ({found['engine']})"
    )


def _rows(task: Task, tokenizer: Any) -> list[AskedRow]:
    rows = job_rows(task)
    found = ask_of(rows.eval if len(rows.eval.rows) else rows.train, ROWS, is_raw=task.prompt_form == "raw")
    if Prompts(tokenizer).tool_style is not ToolStyle.TAGGED:  # arkor shows such a model its tools in its own way
        found = [row for row in found if not row.question.tools]
    if not found:
        raise ArkorError("No row of the job can be asked, so the export cannot be checked: export without the check.")
    return found


def _ask(rows: Sequence[AskedRow], tokenizer: Any, line: ServerLine) -> list[_Asked]:
    """Have the chat engine answer all rows, many at a time."""
    style, longest = Prompts(tokenizer).tool_style, min(_LONGEST, room(tokenizer, rows))
    requests = [request_of(row, style, longest) for row in rows]
    prompts = [line.send("render", candidate=MODEL, request=request) for request in requests]
    answers = [line.send("ask", candidate=MODEL, request=request) for request in requests]
    end = [tokenizer.eos_token_id] if tokenizer.eos_token_id is not None else []
    asked = []
    for row, request, prompt, answer in zip(rows, requests, prompts, answers, strict=True):
        ids, said = prompt.result()["rendered"], answer.result()["answer"]
        text = tokenizer(said["text"], add_special_tokens=False)["input_ids"]
        asked.append(_Asked(row, request, ids, [*ids, *text, *end], said["finishReason"] == "stop"))
    return asked


def _peer(task: Task, asked: Sequence[_Asked]) -> dict[str, Any]:
    """Have the export loaded and asked in a process of its own."""
    questions = [
        {
            "messages": one.request.get("messages"),
            "tools": one.request.get("tools"),
            "prompt": one.request.get("prompt"),
            "options": dict(task.config.chat_template_kwargs or {}),
            "ids": one.ids,
            "start": len(one.prompt),
        }
        for one in asked
    ]
    base = [task.model_path] if task.options.to == ADAPTER else []
    log_path = task.folder / "peer.log"
    with log_path.open("wb") as log_file:
        done = subprocess.run(
            module_command("arkor.backend.export_worker.peer", str(task.made), *base),
            input=json.dumps(questions).encode(),
            stdout=subprocess.PIPE,
            stderr=log_file,
            cwd=task.folder,
            check=False,
        )
    if done.returncode != 0:
        raise ArkorError(f"The export cannot be loaded by transformers.\n{last_lines(read_end(log_path))}".strip())
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _check_prompts(asked: Sequence[_Asked], found: Sequence[Mapping[str, Any]]) -> None:
    for one, peer in zip(asked, found, strict=True):
        if peer["prompt"] != one.prompt:
            raise ArkorError(_OTHER_PROMPT.format(row=one.row.number))


def _check_ends(asked: Sequence[_Asked], ours: Sequence[Any], stops: Sequence[int], tokenizer: Any) -> None:
    """Check that the export ends its answers as chats do: behind the answer an end token is the likeliest."""
    for one, own in zip(asked, ours, strict=True):
        token = own[-1][0]
        if one.ended and token not in stops:
            text = tokenizer.decode([token])
            raise ArkorError(_NO_END.format(row=one.row.number, token=token, text=text))
