"""Columns by other names: those that a user renames, and those that are recognised.

Protocol: docs/protocol.md, "Jobs": ``columns`` of a ``datasetSource``.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterable, Mapping
from typing import Any

from arkor.data.formats import FORMATS, PREFERENCE_KEYS, name_list, row_format
from arkor.errors import ConfigError
from arkor.options import nearest_name
from arkor.text import short_repr

# Names that data sets often have, in lower case.
QUESTIONS = ("question", "query", "prompt", "instruction", "input")
ANSWERS = ("answer", "response", "completion", "output")
CONTEXTS = ("context", "input")  # what a question is about
CONVERSATIONS = ("conversations", "conversation")

# Parts of names, for the advice in an error.
_LIKE_QUESTIONS = (*QUESTIONS, "user", "human", "source", "frage", "ask", "title")
_LIKE_ANSWERS = (*ANSWERS, "assistant", "reply", "target", "summary", "antwort", "label", "solution")
_NO_TEXTS = ("id", "uuid", "index", "number", "nr", "no", "date", "time", "timestamp", "url", "category", "language")
_SENTENCE = re.compile(r"[?!]$|\. |.{41}")  # rather than the name of a column
_SEPARATORS = ";,\t|"
_NEW_NAMES = (
    *dict.fromkeys(name for form in FORMATS.values() for name in form.columns),
    *CONVERSATIONS[:1],
    "system",
    *(name for names in PREFERENCE_KEYS for name in names),
)


def check_columns(field: str, columns: Any) -> dict[str, str] | None:
    """Return new names by old ones, as a user gave them; None for none.

    Args:
        field: the setting that an error names.
        columns: the mapping, or None.

    Raises:
        ConfigError: it is no mapping of texts, or a new name belongs to no format, or occurs twice.
    """
    if columns is None or columns == {}:
        return None
    if not isinstance(columns, Mapping) or not all(isinstance(name, str) for pair in columns.items() for name in pair):
        form = 'columns must be old names with their new ones, {"question": "prompt"}'
        raise ConfigError(field, f"{form}, not {short_repr(columns)}")
    new_names = list(columns.values())
    for new in new_names:
        if new not in _NEW_NAMES:
            alike = "prompt" if new.lower() in QUESTIONS else "completion" if new.lower() in ANSWERS else None
            nearest = alike or nearest_name(new, _NEW_NAMES)
            advice = f"did you mean {nearest}?" if nearest else f"use one of {', '.join(_NEW_NAMES)}"
            raise ConfigError(field, f"columns has the new name {new!r:.100}, which belongs to no format; {advice}")
        if new_names.count(new) > 1:
            raise ConfigError(field, f"columns has two old names for {new}")
    return dict(columns)


def recognised(sample: Mapping[str, Any]) -> dict[str, str]:
    """Return new names for common columns; empty if they are not recognised, or not without a doubt.

    Args:
        sample: the first row, whose columns fit no format.

    Example:
        ``recognised({"Question": "1 + 1?", "Answer": "2"})`` is ``{"Question": "prompt", "Answer": "completion"}``.
    """
    names = _by_plain_name(sample)
    kind = row_format(names)
    if kind is not None:
        return {names[new]: new for new in FORMATS[kind].columns if new in names and names[new] != new}
    texts = {plain: name for plain, name in names.items() if isinstance(sample[name], str | None)}
    answers, questions, contexts = (
        [name for name in known if name in texts] for known in (ANSWERS, QUESTIONS, CONTEXTS)
    )
    if contexts == questions[-1:]:  # the input alone is the question
        contexts = contexts if len(questions) > 1 else []
    questions = [name for name in questions if name not in contexts]
    if len(questions) != 1 or len(answers) != 1 or len(contexts) > 1:
        return {}
    with_input = bool(contexts) or questions == ["instruction"]
    new_names = ("instruction", "output", "input") if with_input else ("prompt", "completion")
    found = zip((*questions, *answers, *contexts), new_names, strict=False)
    return {texts[plain]: new for plain, new in found if texts[plain] != new}


def advice(sample: Mapping[str, Any]) -> str:
    """Return what to pass for a row whose columns fit no format: the ``columns=`` that is most likely meant.

    Args:
        sample: the first row.
    """
    if len(sample) == 1 and set(*sample) & set(_SEPARATORS):
        return "something else stands between them: write commas, semicolons or tabs"
    if any(map(_SENTENCE.search, sample)):
        return "the first line has to name them, such as prompt,completion; here it seems to be a row already"
    not_texts = [name for name in recognised(dict.fromkeys(sample)) if not isinstance(sample[name], str | None)]
    if not_texts:
        return f"{name_list(not_texts)} must hold texts"
    columns = _likely(sample)
    if not columns:
        return "rename them with columns={old: new}"
    shown = ", ".join(f"{json.dumps(old, ensure_ascii=False)}: {json.dumps(new)}" for old, new in columns.items())
    options = " ".join(f"--column {shlex.quote(f'{old}={new}')}" for old, new in columns.items())
    return f"pass columns={{{shown}}} (on the command line: {options}), if that is what they hold"


def described(columns: Mapping[str, str]) -> str:
    """Return renamed columns in words: ``question as prompt, answer as completion``."""
    return ", ".join(f"{name_list([old])} as {new}" for old, new in columns.items())


def _by_plain_name(sample: Iterable[str]) -> dict[str, str]:
    """Return columns by their names in lower case; those that then have one name are left away."""
    names: dict[str, list[str]] = {}
    for name in sample:
        names.setdefault(name.strip().lower(), []).append(name)
    return {plain: found[0] for plain, found in names.items() if len(found) == 1}


def _likely(sample: Mapping[str, Any]) -> dict[str, str]:
    for name, value in sample.items():
        if isinstance(value, list) and value and isinstance(value[0], Mapping):
            if {"role", "content"} <= value[0].keys():
                return {name: "messages"}
            if {"from", "value"} <= value[0].keys():
                return {name: "conversations"}
    texts = [name for name, value in sample.items() if isinstance(value, str) and name.lower() not in _NO_TEXTS]
    if len(texts) < 2:
        return dict.fromkeys(texts, "text")
    question = _like(texts, _LIKE_QUESTIONS)
    rest = [name for name in texts if name != question]
    answer = _like(rest, _LIKE_ANSWERS)
    question = question or next(name for name in texts if name != answer)
    answer = answer or next(name for name in texts if name != question)
    return {old: new for old, new in ((question, "prompt"), (answer, "completion")) if old != new}


def _like(names: Iterable[str], parts: tuple[str, ...]) -> str | None:
    return next((name for name in names if any(part in name.lower() for part in parts)), None)
