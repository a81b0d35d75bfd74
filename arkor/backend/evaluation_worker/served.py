"""Whether the adapter that answers is the one that was trained: the loss of the held-out rows, computed by the engine.

The trainer's loss is the mean negative log-likelihood of the tokens that count. The chat engine computes the same of
the same tokens, with its own prompt, its own number type and the adapter as it has loaded it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future
from typing import Any

import attrs

from arkor.backend.evaluations.task import Task
from arkor.backend.task_worker.server_line import ServerLine
from arkor.backend.training_worker.examples.chunks import Chunk
from arkor.backend.training_worker.examples.data import fit_rows
from arkor.backend.training_worker.examples.tokenize import IGNORED
from arkor.backend.training_worker.limits.lengths import Lengths
from arkor.backend.training_worker.provenance import template_hash
from arkor.backend.training_worker.rows.load import Rows
from arkor.data.questions import question_of
from arkor.evaluation.parts import ServedCheck
from arkor.protocol.evaluations import ADAPTER, BASE

TOLERANCES = {"bfloat16": 2e-2, "bf16": 2e-2, "q8_0": 5e-2, "float32": 1e-3}  # nats a token
MOST_ROWS = 500
_MOST_PROMPTS = 64
_NOTHING_LEFT = (
    "of the held-out rows nothing is left within the length of the training: the chat template or the tokenizer of the "
    "model has changed since"
)


@attrs.frozen
class _Answer:
    """Tokens that count, one behind the other, and all tokens before them."""

    ids: list[int]
    start: int


def check_served(task: Task, rows: Rows, tokenizer: Any, line: ServerLine) -> ServedCheck | None:
    """Compare the loss that the engine computes of the held-out rows with the trainer's.

    Args:
        task: the evaluation.
        rows: the rows of the job.
        tokenizer: the model's, of transformers, as the engine has it.
        line: the server.

    Returns:
        What was found; None if the job held no rows out, did not say its loss, or held more than 500 rows out.

    Raises:
        Refusal: the server cannot compute it.
        DatasetError: a row cannot be rendered any more.
    """
    if task.trained_loss is None or not 0 < len(rows.eval.rows) <= MOST_ROWS:
        return None
    answers, whole = _trained_on(task, rows, tokenizer)
    if not answers:
        return ServedCheck(
            rows=len(rows.eval.rows), trained=task.trained_loss, difference=task.trained_loss, cause=_NOTHING_LEFT
        )
    served = _loss(line, answers, ADAPTER)
    difference, tolerance = abs(served.loss - task.trained_loss), TOLERANCES[served.dtype]
    found = ServedCheck(
        rows=len(rows.eval.rows),
        tokens=served.tokens,
        served=served.loss,
        trained=task.trained_loss,
        difference=difference,
        dtype=served.dtype,
        tolerance=tolerance,
        is_same=difference <= tolerance,
    )
    differs = _other_template(task, tokenizer) or _other_prompt(task, rows, answers, whole, line)
    if found.is_same and differs is None:
        return found
    return attrs.evolve(found, is_same=False, cause=differs or _cause(answers, found, line))


def _trained_on(task: Task, rows: Rows, tokenizer: Any) -> tuple[list[_Answer], frozenset[int]]:
    """Return the tokens that the trainer's loss counted, and the numbers of the rows whose last answer is whole."""
    cut = task.config.excess_length or ("drop" if task.config.max_length is None else "truncate")
    config = attrs.evolve(task.config, max_length=task.max_length, excess_length=cut)
    held_out = Rows(attrs.evolve(rows.train, rows=rows.train.rows[:0]), rows.eval)
    chunks: list[Chunk] = []
    fit_rows(held_out, tokenizer, config, Lengths(), take=lambda _part, chunk: chunks.append(chunk))
    answers = [
        _Answer(ids[:end], start)
        for chunk in chunks
        for ids, labels in chunk.examples()
        for start, end in _spans(labels)
    ]
    return answers, frozenset(note.number for chunk in chunks for note in chunk.notes if note.has_end)


def _spans(labels: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Yield where the labels begin and end that count."""
    start = None
    for place, label in enumerate((*labels, IGNORED)):
        if label != IGNORED and start is None:
            start = place
        elif label == IGNORED and start is not None:
            yield start, place
            start = None


@attrs.frozen
class _Loss:
    """A mean negative log-likelihood.

    Attributes:
        loss: in nats a token.
        tokens: how many tokens.
        dtype: the number type that it was computed in.
    """

    loss: float
    tokens: int
    dtype: str


def _loss(line: ServerLine, answers: Sequence[_Answer], candidate: str, dtype: str | None = None) -> _Loss:
    """Have the engine compute the loss of the tokens that count.

    Args:
        line: the server.
        answers: the tokens.
        candidate: the adapter, or the base.
        dtype: the number type; None for the one in which the candidate answers.
    """
    replies: list[Future[Mapping[str, Any]]] = [
        line.send("score", candidate=candidate, ids=answer.ids, start=answer.start, dtype=dtype) for answer in answers
    ]
    scored = [reply.result()["scored"] for reply in replies]
    tokens = sum(item["tokens"] for item in scored)
    return _Loss(-sum(item["logprob"] for item in scored) / max(1, tokens), tokens, scored[0]["dtype"])


def _other_template(task: Task, tokenizer: Any) -> str | None:
    """Say whether the model's chat template was changed; the loss alone may be nearly the same by chance."""
    trained = None if task.record is None else task.record.chat_template_sha256
    if trained is None or trained == template_hash(tokenizer.chat_template):
        return None
    return "the chat template of the model is not the one that the training had"


def _other_prompt(
    task: Task, rows: Rows, answers: Sequence[_Answer], whole: Collection[int], line: ServerLine
) -> str | None:
    """Say which row a chat would ask with another prompt than the training did; None if there is none.

    The last answer of each row is looked at, as far as a chat can ask for it, of 64 rows at most.
    """
    if task.prompt_form == "raw" or task.config.train_on_responses_only is False:
        return None
    prompts = {tuple(answer.ids[: answer.start]) for answer in answers}
    for item in rows.eval.rows[:_MOST_PROMPTS]:
        question = question_of(item.row)
        if question is None or not question.messages or question.tools or item.number not in whole:
            continue
        reply = line.send("render", candidate=ADAPTER, request={"messages": question.messages}).result()
        if tuple(reply["rendered"]) not in prompts:
            return (
                f"a chat asks row {item.number} with another prompt than the training saw: the chat template or the "
                "tokenizer of the model has changed since"
            )
    return None


def _cause(answers: Sequence[_Answer], found: ServedCheck, line: ServerLine) -> str:
    """Say what most likely makes the losses differ."""
    exact = found.served if found.dtype == "float32" else _loss(line, answers, ADAPTER, "float32").loss
    if abs(exact - found.trained) <= TOLERANCES["float32"]:
        return (
            f"in float32 the losses are the same, so the number type makes the difference: {found.dtype} is too coarse"
        )
    bare = _loss(line, answers, BASE).loss
    if abs(bare - found.served) <= found.tolerance:
        return "the adapter changes nothing: the loss is that of the model without it"
    between = min(found.trained, bare) < found.served < max(found.trained, bare)
    if between:
        return "the adapter acts too weakly: its scale, or a part of its weights, is not the one that was trained"
    return "the weights of the adapter or of the base model are not those of the training"
