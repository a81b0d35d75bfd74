"""Rows that a model is asked: chosen, without those that the training had, and turned into questions."""

from __future__ import annotations

import hashlib
import json
import random
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import attrs

from arkor.backend.inference.prompts import ToolStyle
from arkor.backend.training_worker.rows.load import Rows, RowSet
from arkor.data.questions import Question, plain_prompt, question_of
from arkor.errors import DatasetError
from arkor.evaluation.parts import LeftOut, RowsAsked, SharedRow

_MOST_NAMED = 100  # of the rows that are left out
_UPLOADED = frozenset({"dataset", "eval_dataset"})  # what rows are called whose name stayed with the client
_CHOICE_SEED = 0
_DIGEST_BYTES = 12  # a million rows have none in common by chance
_SHORTEST, _LONGEST = 16, 512  # tokens of an answer, if nobody says how long one may be


@attrs.frozen
class AskedRow:
    """A row that is asked.

    Attributes:
        number: its number, from 1: a line of a file, or a place in a split.
        question: what it asks.
        prompt: the plain text that it asks with, if the training saw plain text; otherwise None.
    """

    number: int
    question: Question
    prompt: str | None = None


@attrs.frozen
class Chosen:
    """The rows of an evaluation.

    Attributes:
        asked: those that are asked, in the order of their numbers.
        about: what the report says of them.
    """

    asked: Sequence[AskedRow]
    about: RowsAsked


def choose(rows: Rows, named: RowSet | None, *, limit: int, is_raw: bool) -> Chosen:
    """Choose rows to ask, without those that the training had.

    Args:
        rows: those of the job.
        named: the rows to choose from; None for those that the job held out.
        limit: how many at most, 0 or more.
        is_raw: whether the training saw plain text.

    Raises:
        DatasetError: there are no such rows, or none of them asks anything.
    """
    asked_of = rows.eval if named is None else named
    if not len(asked_of.rows):
        raise DatasetError(rows.train.source, "the job held no rows out: name the rows to ask, or train with some")
    candidates, left_out = _questions(asked_of, is_raw=is_raw)
    if not candidates:
        raise DatasetError(asked_of.source, "has no row that asks anything: plain text has no answer to compare")
    seen = _Seen.of(rows.train, candidates)
    fresh = [row for row in candidates if _digest(row.question) not in seen.rows]
    asked = _sample(fresh, limit)
    if not asked and limit:
        raise DatasetError(asked_of.source, f"all of its {len(candidates)} rows are rows that the job trained on")
    return Chosen(
        asked,
        RowsAsked(
            source="" if asked_of.source in _UPLOADED else asked_of.source,
            is_held_out=named is None,
            available=len(asked_of.rows),
            asked=len(asked),
            leaked=_shared(candidates, seen.rows, _digest)[:_MOST_NAMED],
            same_question=_shared(asked, seen.questions, _question_digest)[:_MOST_NAMED],
            left_out=left_out[:_MOST_NAMED],
        ),
    )


def request_of(row: AskedRow, tool_style: ToolStyle, max_tokens: int) -> dict[str, Any]:
    """Return the question that a row asks, as the fields of a chat, or of a completion.

    Args:
        row: the row.
        tool_style: the model's; its tools are offered as in training.
        max_tokens: longest answer in tokens.
    """
    limits = {"temperature": 0, "maxTokens": max_tokens}
    if row.prompt is not None:
        return {"prompt": row.prompt, **limits}
    offered: dict[str, Any] = {"tools": row.question.tools} if row.question.tools else {}
    if row.question.tools and tool_style is not ToolStyle.TAGGED:
        offered["toolChoice"] = "required" if row.question.expected_calls else "none"
    return {"messages": row.question.messages, **offered, **limits}


def room(tokenizer: Any, rows: Sequence[AskedRow], times: float = 2.0, most: int = _LONGEST) -> int:
    """Return how many tokens an answer may have.

    Args:
        tokenizer: the model's.
        rows: those that are asked.
        times: how many times as long as the longest expected answer, 1 or more; at least 16 tokens.
        most: the most tokens, 16 or more.
    """
    texts = [row.question.expected + "".join(map(str, row.question.expected_calls)) for row in rows]
    longest = max((len(tokenizer(text)["input_ids"]) for text in texts), default=0)
    return min(max(_SHORTEST, round(times * longest)), most)


def ask_of(rows: RowSet, limit: int, *, is_raw: bool) -> list[AskedRow]:
    """Return at most so many of some rows as questions, the same ones each time; those that ask nothing are left out.

    Args:
        rows: the rows.
        limit: how many at most.
        is_raw: whether the training saw plain text.
    """
    return _sample(_questions(rows, is_raw=is_raw)[0], limit)


def _questions(rows: RowSet, *, is_raw: bool) -> tuple[list[AskedRow], list[LeftOut]]:
    asked, left_out = [], []
    for item in rows.rows:
        question = question_of(item.row)
        prompt = plain_prompt(item.row) if is_raw else None
        if question is None:
            left_out.append(LeftOut(item.number, "is plain text, which asks nothing"))
        elif not question.messages:
            left_out.append(LeftOut(item.number, "begins with the answer"))
        else:
            asked.append(AskedRow(item.number, question, prompt))
    return asked, left_out


def _sample(rows: Sequence[AskedRow], limit: int) -> list[AskedRow]:
    """Return at most so many of the rows: a file may be sorted, so they come from all of it."""
    if len(rows) <= limit:
        return list(rows)
    places = sorted(random.Random(_CHOICE_SEED).sample(range(len(rows)), limit))
    return [rows[place] for place in places]


@attrs.frozen
class _Seen:
    """Which of some questions the training had.

    Attributes:
        rows: by the digest of a question and its answer, the number of the row that it was trained on.
        questions: the same by the digest of a question, its answer left aside.
    """

    rows: dict[bytes, int]
    questions: dict[bytes, int]

    @classmethod
    def of(cls, train: RowSet, asked: Iterable[AskedRow]) -> _Seen:
        """Look through the rows of the training, one in memory at a time."""
        wanted, wanted_questions = set(), set()
        for row in asked:
            wanted.add(_digest(row.question))
            wanted_questions.add(_question_digest(row.question))
        seen = cls({}, {})
        for item in train.rows:
            for question in _asked_in(item.row):
                whole, alone = _digest(question), _question_digest(question)
                if whole in wanted:
                    seen.rows.setdefault(whole, item.number)
                elif alone in wanted_questions:
                    seen.questions.setdefault(alone, item.number)
        return seen


def _asked_in(row: Mapping[str, Any]) -> Iterator[Question]:
    """Yield what each answer of a row was asked: a conversation that went on had the same question in it."""
    turns = row.get("messages")
    if turns is None and isinstance(row.get("prompt"), list):
        turns = [*row["prompt"], *row["completion"]]
    if turns is None:
        question = question_of(row)
        if question is not None:
            yield question
        return
    for place, turn in enumerate(turns):
        if turn["role"] == "assistant":
            question = question_of({"messages": turns[: place + 1]})
            if question is not None:
                yield question


def _shared(rows: Iterable[AskedRow], seen: Mapping[bytes, int], digest: Any) -> list[SharedRow]:
    found = ((row.number, seen.get(digest(row.question))) for row in rows)
    return [SharedRow(row, training_row) for row, training_row in found if training_row is not None]


def _digest(question: Question) -> bytes:
    return _hash([_said(question.messages), _plain(question.expected), _calls(question.expected_calls)])


def _question_digest(question: Question) -> bytes:
    return _hash(_said(question.messages))


def _said(messages: Iterable[Mapping[str, Any]]) -> list[Any]:
    """Return what is said in a conversation, without the system's part: the same question with another one is known."""
    return [
        [turn["role"], _plain(turn.get("content")), _calls(turn.get("tool_calls") or ())]
        for turn in messages
        if turn["role"] not in {"system", "developer"}
    ]


def _plain(content: Any) -> str:
    """Return a text in the form in which texts that look alike are the same."""
    if isinstance(content, list):
        content = "".join(part["text"] for part in content)
    return " ".join(unicodedata.normalize("NFKC", content or "").casefold().split())


def _calls(calls: Iterable[Mapping[str, Any]]) -> list[Any]:
    found = []
    for call in calls:
        given = call["function"].get("arguments")
        arguments = json.loads(given) if isinstance(given, str) and given else given
        found.append([call["function"]["name"], arguments])
    return found


def _hash(value: Any) -> bytes:
    text = json.dumps(value, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "replace")).digest()[:_DIGEST_BYTES]
