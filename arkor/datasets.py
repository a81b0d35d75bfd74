"""Where the rows of a training come from, and the check that every row can be trained on.

Row formats, detected by their keys:

- ``chatml``: ``{"messages": [{"role", "content"}, …]}``
- ``prompt_completion``: ``{"prompt", "completion"}``, both text or both message lists
- ``alpaca``: ``{"instruction", "input"?, "output"}``
- ``text``: ``{"text"}``

Protocol: docs/protocol.md, "Jobs" (datasetSource) and "Datasets".
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs

from arkor.api import wire
from arkor.errors import ConfigError, DatasetError

ROLES = frozenset({"system", "user", "assistant", "tool", "developer"})
MAX_LISTED_PROBLEMS = 20


def _text(_: Any, field: attrs.Attribute[Any], value: Any) -> None:
    """Refuse what is no text; a field with a default may be absent, one without may not be empty."""
    required = field.default is attrs.NOTHING
    if not isinstance(value, str if required else str | None) or (required and not value.strip()):
        raise ConfigError("dataset", f"{field.name} must be a text{' that is not empty' * required}, not {value!r}")


def _path(value: Any) -> Path:
    if not isinstance(value, str | Path) or value == "":
        raise ConfigError("dataset", f"path must be a text or a Path, not {value!r}")
    return Path(value)


@attrs.frozen
class HuggingFaceDataset:
    """A data set of the Hugging Face hub.

    Args:
        name: its id, ``owner/name``.
        split: which split to train on; the backend's default when absent.
        subset: which configuration of it; the only or default one when absent.
    """

    name: str = attrs.field(validator=_text)
    split: str | None = attrs.field(default=None, kw_only=True, validator=_text)
    subset: str | None = attrs.field(default=None, kw_only=True, validator=_text)

    def to_wire(self) -> dict[str, Any]:
        """Return the ``datasetSource`` object."""
        return {"type": "huggingface", **wire.to_wire(self)}


@attrs.frozen
class BlobDataset:
    """A JSONL file behind a URL.

    Args:
        url: where the backend fetches it.
        token: sent as a bearer token with the fetch, where the URL needs one.
    """

    url: str = attrs.field(validator=_text)
    token: str | None = attrs.field(default=None, kw_only=True, repr=False, validator=_text)

    def to_wire(self) -> dict[str, Any]:
        """Return the ``datasetSource`` object."""
        return {"type": "blob", **wire.to_wire(self)}


@attrs.frozen
class LocalDataset:
    """A JSONL file on this machine, checked here and uploaded when the job starts.

    Args:
        path: the file; a relative one starts at the trainer's project folder.
    """

    path: Path = attrs.field(converter=_path)


@attrs.frozen
class UploadedDataset:
    """A data set that the self-hosted backend already has.

    Args:
        id: the lowercase hex SHA-256 of its JSONL bytes.
    """

    id: str = attrs.field(validator=_text)

    def to_wire(self) -> dict[str, Any]:
        """Return the ``datasetSource`` object."""
        return {"type": "dataset", **wire.to_wire(self)}


Dataset = HuggingFaceDataset | BlobDataset | LocalDataset | UploadedDataset

_BY_TYPE: dict[str, type[Any]] = {
    "huggingface": HuggingFaceDataset,
    "blob": BlobDataset,
    "local": LocalDataset,
    "dataset": UploadedDataset,
}


def parse_dataset(value: Dataset | Mapping[str, Any]) -> Dataset:
    """Return a data set as it is, or make one of its mapping form: ``{"type": "huggingface", "name": …}``.

    Raises:
        ConfigError: it is neither, or a key is missing or unknown.
    """
    if isinstance(value, (HuggingFaceDataset, BlobDataset, LocalDataset, UploadedDataset)):
        return value
    if not isinstance(value, Mapping):
        raise ConfigError("dataset", f"must be a data set or a mapping with a type, not {value!r}")
    arguments = dict(value)
    cls = _BY_TYPE.get(str(arguments.pop("type", "")))
    if cls is None:
        raise ConfigError("dataset", f"type must be one of {', '.join(_BY_TYPE)}, not {value.get('type')!r}")
    known = {field.name: field.default is attrs.NOTHING for field in attrs.fields(cls)}
    missing = [name for name, required in known.items() if required and not arguments.get(name)]
    unknown = sorted(set(arguments) - set(known))
    if missing or unknown:
        fault = f"needs {', '.join(missing)}" if missing else f"has no setting {', '.join(unknown)}"
        raise ConfigError("dataset", f"a data set of type {value['type']!r} {fault}")
    dataset: Dataset = cls(**arguments)
    return dataset


def row_format(row: Mapping[str, Any]) -> str | None:
    """Return the format a row's keys belong to, or None where they belong to none."""
    if "messages" in row:
        return "chatml"
    if "prompt" in row and "completion" in row:
        return "prompt_completion"
    if "instruction" in row and "output" in row:
        return "alpaca"
    return "text" if "text" in row else None


def row_problem(row: Any) -> str | None:
    """Say why a row cannot be trained on.

    Args:
        row: one row, as JSON gives it.

    Returns:
        The reason, or None for a good row.
    """
    if not isinstance(row, Mapping):
        return f"is {_kind(row)}, not an object"
    kind = row_format(row)
    if kind is None:
        keys = ", ".join(sorted(map(str, row))) or "none"
        return f"has none of messages; prompt and completion; instruction and output; text (its keys: {keys})"
    return _CHECKS[kind](row)


def _kind(value: Any) -> str:
    names = {"NoneType": "null", "str": "a text", "list": "a list", "bool": "true or false", "dict": "an object"}
    return names.get(type(value).__name__, "a number")


def _blank(value: Any) -> bool:
    return not isinstance(value, str) or not value.strip()


def _messages_problem(messages: Any, *, where: str = "messages", answered: bool = True) -> str | None:
    if not isinstance(messages, list) or not messages:
        return f"{where} must be a list with at least one message"
    for number, message in enumerate(messages, start=1):
        reason = _message_problem(message)
        if reason is not None:
            return f"{where}, message {number}: {reason}"
    if answered and not any(message["role"] == "assistant" for message in messages):
        return f"{where} has no assistant turn, so there is nothing to learn"
    return None


def _message_problem(message: Any) -> str | None:
    if not isinstance(message, Mapping):
        return f"is {_kind(message)}, not an object with role and content"
    role, calls = message.get("role"), message.get("tool_calls")
    if not isinstance(role, str) or role not in ROLES:
        return f"role must be one of {', '.join(sorted(ROLES))}, not {role!r}"
    if calls is not None:
        return _tool_calls_problem(role, calls)
    content = message.get("content")
    if isinstance(content, list):
        parts = [part.get("text") if isinstance(part, Mapping) else None for part in content]
        return None if parts and not any(map(_blank, parts)) else "content must be text, or a list of text parts"
    return "content is empty" if _blank(content) else None


def _tool_calls_problem(role: str, calls: Any) -> str | None:
    if role != "assistant":
        return f"tool_calls belong to the assistant, not to {role}"
    if not isinstance(calls, list) or not calls:
        return "tool_calls must be a list with at least one call"
    for call in calls:
        function = call.get("function") if isinstance(call, Mapping) else None
        if not isinstance(function, Mapping) or _blank(function.get("name")) or "arguments" not in function:
            return "each of tool_calls needs a function with name and arguments"
    return None


def _chatml_problem(row: Mapping[str, Any]) -> str | None:
    return _messages_problem(row["messages"])


def _prompt_completion_problem(row: Mapping[str, Any]) -> str | None:
    prompt, completion = row["prompt"], row["completion"]
    if isinstance(prompt, list) or isinstance(completion, list):
        reason = _messages_problem(prompt, where="prompt", answered=False)
        return reason or _messages_problem(completion, where="completion")
    if _blank(prompt) or _blank(completion):
        return f"{'prompt' if _blank(prompt) else 'completion'} must be a text that is not empty"
    return None


def _alpaca_problem(row: Mapping[str, Any]) -> str | None:
    for key in ("instruction", "output"):
        if _blank(row[key]):
            return f"{key} must be a text that is not empty"
    if not isinstance(row.get("input", ""), str):
        return "input must be a text"
    return None


def _text_problem(row: Mapping[str, Any]) -> str | None:
    return "text must not be empty" if _blank(row["text"]) else None


_CHECKS = {
    "chatml": _chatml_problem,
    "prompt_completion": _prompt_completion_problem,
    "alpaca": _alpaca_problem,
    "text": _text_problem,
}


def read_rows(lines: Iterable[bytes]) -> Iterator[tuple[int, dict[str, Any] | None, str | None]]:
    """Read JSONL line by line; blank lines are passed over.

    Args:
        lines: the file's lines, UTF-8; a byte order mark before the first is allowed.

    Yields:
        (line number from 1, the row or None, the reason it is bad or None)
    """
    for number, line in enumerate(lines, start=1):
        content = line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
        content = content.strip()  # a line's end would count as a line of its own in the error's column
        if not content:
            continue
        try:
            row = json.loads(content)
        except UnicodeDecodeError as exc:
            yield number, None, f"is not UTF-8 (byte {exc.start + 1})"
        except (ValueError, RecursionError) as exc:
            yield number, None, f"is not JSON: {getattr(exc, 'msg', exc)} (column {getattr(exc, 'colno', 1)})"
        else:
            reason = row_problem(row)
            yield number, (row if reason is None else None), reason


def check_rows(source: str, lines: Iterable[bytes]) -> int:
    """Check a whole JSONL file, holding one row at a time.

    Args:
        source: what to call it in an error.
        lines: the file's lines.

    Returns:
        The number of rows, all of them good and of one format.

    Raises:
        DatasetError: rows are bad (the first 20 are listed, the rest counted) or there are none.
    """
    problems: list[tuple[int, str]] = []
    bad = rows = 0
    first_format: str | None = None
    for number, row, reason in read_rows(lines):
        rows += 1
        if row is not None:
            kind = row_format(row)
            first_format = first_format or kind
            problem = None if kind == first_format else f"is {kind}, but the rows before it are {first_format}"
        else:
            problem = reason
        if problem is not None:
            bad += 1
            if len(problems) < MAX_LISTED_PROBLEMS:
                problems.append((number, problem))
    if not rows:
        raise DatasetError(source, "has no rows")
    if bad:
        what = "1 row cannot be trained on" if bad == 1 else f"{bad} rows cannot be trained on"
        raise DatasetError(source, f"{what}; nothing was sent", problems, bad - len(problems))
    return rows
