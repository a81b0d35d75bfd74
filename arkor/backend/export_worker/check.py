"""Whether an export answers as chats do: it is loaded by its own engine, in a process of its own, and compared.

The chat engine answers some rows. Both read prompt and answer, and in each place both say which tokens are the
likeliest. Where the chat engine itself finds two tokens nearly alike, rounding decides, so these places do not count.
Weights of 8 bits and fewer are not those that chats have: how far the answers are apart is found and told, and only
another model is refused.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import math
import subprocess
from collections.abc import Mapping, Sequence
from typing import Any

import attrs
from transformers import AutoTokenizer

from arkor.backend.export_worker.making import base_gguf, gguf_file, stops_of
from arkor.backend.export_worker.peer import TOP
from arkor.backend.exports.task import MODEL, Task
from arkor.backend.gguf.package import INSTALL
from arkor.backend.inference.prompts import Prompts, ToolStyle
from arkor.backend.task_worker.rows import job_rows
from arkor.backend.task_worker.server_line import ServerLine
from arkor.backend.training_worker.rows.asked import AskedRow, ask_of, request_of, room
from arkor.data.questions import Question
from arkor.errors import ArkorError
from arkor.evaluation.retention import questions
from arkor.protocol.exports import GGUF, OLLAMA
from arkor.system.files import read_end
from arkor.system.processes import module_command
from arkor.text import last_lines

ROWS = 20
MARGIN = 0.25  # nats: with less between the two likeliest tokens, 16 bits may turn them round
LEAST_SAME = 0.99
LEAST_SAME_QUANTIZED = 0.5
_LONGEST = 64  # tokens of an answer
_NOTHING = 1e-9  # a probability that rounding makes

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
class Asked:
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


def unchecked(task: Task) -> str | None:
    """Say why an export cannot be checked, and what to do; None if it can, or is not to be."""
    if task.options.check and _is_llama_cpp(task) and importlib.util.find_spec("xllamacpp") is None:
        return f"was not checked: llama.cpp is not installed. Run {INSTALL} where the backend runs, and export again."
    return None


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
    scored = [line.send("score", candidate=MODEL, ids=one.ids, start=len(one.prompt), top=TOP) for one in asked]
    ours: list[Any] = [reply.result()["scored"]["likeliest"] for reply in scored]
    theirs = _peer(task, asked)
    _check_prompts(asked, theirs)
    if _is_llama_cpp(task) or not task.options.is_adapter:
        check_ends(asked, theirs, stops_of(task, tokenizer), tokenizer)
    places = [
        (own, other)
        for mine, peer in zip(ours, theirs, strict=True)
        for own, other in zip(mine, peer["likeliest"], strict=True)
    ]
    counted = [(own[0][0], other[0][0]) for own, other in places if own[0][1] - own[1][1] > MARGIN]
    same = sum(own == other for own, other in counted)
    least = LEAST_SAME_QUANTIZED if task.options.is_quantized else LEAST_SAME
    if not counted or same < least * len(counted):
        raise ArkorError(_OTHER_MODEL.format(same=same, counted=len(counted), least=least))
    return {
        "rows": len(asked),
        "tokens": len(counted),
        "same": same,
        "margin": MARGIN,
        "divergence": sum(divergence(own, other) for own, other in places) / len(places),
        "engine": _engine(task),
    }


def divergence(one: Sequence[tuple[int, float]], other: Sequence[tuple[int, float]]) -> float:
    """Return the Kullback-Leibler divergence between two predictions of a token, in nats.

    Tokens that are not among the likeliest of both count as one, so it is at most the divergence of all tokens.

    Args:
        one: the likeliest tokens and their log-probabilities.
        other: the same of the other prediction.
    """
    theirs = dict(other)
    pairs = [(mine, theirs[token]) for token, mine in one if token in theirs]
    rest_one = 1 - math.fsum(math.exp(mine) for mine, _ in pairs)
    rest_other = 1 - math.fsum(math.exp(their) for _, their in pairs)
    if rest_one > _NOTHING:
        pairs.append((math.log(rest_one), math.log(max(rest_other, _NOTHING))))
    return max(0.0, math.fsum(math.exp(mine) * (mine - their) for mine, their in pairs))


def words(found: Mapping[str, Any]) -> str:
    """Return what a check found in a sentence."""
    is_near = found["same"] < LEAST_SAME * found["tokens"]
    return (
        f"answers {'nearly ' if is_near else ''}as chats do: the likeliest token is the same at {found['same']:,} of "
        f"{found['tokens']:,} places of {found['rows']} rows, and the predictions are {found['divergence']:.2g} nats "
        f"apart ({found['engine']})"
    )


def _is_llama_cpp(task: Task) -> bool:
    return task.options.to in {GGUF, OLLAMA}


def _engine(task: Task) -> str:
    if _is_llama_cpp(task):
        return f"llama.cpp of xllamacpp {importlib.metadata.version('xllamacpp')}"
    return f"transformers {importlib.metadata.version('transformers')}"


def _rows(task: Task, tokenizer: Any) -> list[AskedRow]:
    if task.is_imported:
        return general_rows(is_raw=task.prompt_form == "raw")
    rows = job_rows(task)
    found = ask_of(rows.eval if len(rows.eval.rows) else rows.train, ROWS, is_raw=task.prompt_form == "raw")
    if Prompts(tokenizer).tool_style is not ToolStyle.TAGGED:  # arkor shows such a model its tools in its own way
        found = [row for row in found if not row.question.tools]
    if not found:
        raise ArkorError("No row of the job can be asked, so the export cannot be checked: export without the check.")
    return found


def general_rows(*, is_raw: bool) -> list[AskedRow]:
    """Return general questions as rows: those that an imported job is asked, which has no rows.

    Args:
        is_raw: whether they are asked without the chat template.
    """
    every = len(questions()) // ROWS
    return [
        AskedRow(
            number,
            Question([{"role": "user", "content": one.question}], one.answers[0]),
            one.question if is_raw else None,
        )
        for number, one in enumerate(questions()[::every][:ROWS], start=1)
    ]


def _ask(rows: Sequence[AskedRow], tokenizer: Any, line: ServerLine) -> list[Asked]:
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
        asked.append(Asked(row, request, ids, [*ids, *text, *end], said["finishReason"] == "stop"))
    return asked


def _peer(task: Task, asked: Sequence[Asked]) -> list[dict[str, Any]]:
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
    log_path = task.folder / "peer.log"
    with log_path.open("wb") as log_file:
        done = subprocess.run(
            _peer_command(task),
            input=json.dumps(questions).encode(),
            stdout=subprocess.PIPE,
            stderr=log_file,
            cwd=task.folder,
            check=False,
        )
    if done.returncode != 0:
        raise ArkorError(f"The export cannot be loaded by {_engine(task)}.\n{last_lines(read_end(log_path))}".strip())
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def _peer_command(task: Task) -> list[str]:
    if not _is_llama_cpp(task):
        base = [task.model_path] if task.options.is_adapter else []
        return module_command("arkor.backend.export_worker.peer_transformers", str(task.made), *base)
    file = gguf_file(task)
    files = [base_gguf(task), file] if task.options.adapter_only else [file]
    return module_command("arkor.backend.export_worker.peer_llama_cpp", *map(str, files))


def _check_prompts(asked: Sequence[Asked], found: Sequence[Mapping[str, Any]]) -> None:
    for one, peer in zip(asked, found, strict=True):
        if peer["prompt"] != one.prompt:
            raise ArkorError(_OTHER_PROMPT.format(row=one.row.number))


def check_ends(
    asked: Sequence[Asked], theirs: Sequence[Mapping[str, Any]], stops: Sequence[int], tokenizer: Any
) -> None:
    """Check that the export ends its answers with the tokens that end those of chats.

    Args:
        asked: the rows.
        theirs: what the export made of them.
        stops: the tokens that end the answers of chats.
        tokenizer: of the model.
    """
    for one, peer in zip(asked, theirs, strict=True):
        token = peer["likeliest"][-1][0][0]
        if one.ended and token in stops and not peer["ends"]:
            text = tokenizer.decode([token])
            raise ArkorError(_NO_END.format(row=one.row.number, token=token, text=text))
