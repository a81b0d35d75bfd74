"""``arkor dataset``: rows, checked before training, and as a model sees them."""

from __future__ import annotations

import contextlib
import io
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import indent
from typing import TYPE_CHECKING, Any, TypeVar

import attrs
import click

from arkor.cli.display.screen import is_terminal
from arkor.cli.exits import BAD_INPUT, COMPLETED, Refused
from arkor.cli.options import backend_of, columns_option, local_option
from arkor.cli.suggestions import SuggestingGroup
from arkor.errors import DatasetError
from arkor.text import many, one_line

if TYPE_CHECKING:
    from arkor.data.checked import CheckedDataset
    from arkor.data.jsonl import DatasetSummary
    from arkor.protocol.progress import Progress

F = TypeVar("F", bound=Callable[..., Any])

_STDIN = "-"


def _json_object(_context: click.Context, _parameter: click.Parameter, value: str | None) -> dict[str, Any] | None:
    if value is None:
        return None
    try:
        found = json.loads(value)
    except (ValueError, RecursionError) as exc:
        raise click.BadParameter(f"{value!r} is not JSON: {exc}") from exc
    if not isinstance(found, dict):
        raise click.BadParameter(f"{value!r} is not a JSON object.")
    return found


_FILE = click.argument("file", type=click.Path(path_type=Path))
_FORMAT = click.option(
    "--format",
    "kind",
    type=click.Choice(["jsonl", "csv", "tsv"]),
    help="Format of the rows. By default the file's name and first bytes decide.",
)
_SETTINGS = (
    click.option("--max-length", type=int, metavar="N", help="Longest example in tokens, as of the job."),
    click.option(
        "--excess-length",
        type=click.Choice(["truncate", "drop", "error"]),
        help="What becomes of a longer row, as of the job.",
    ),
    click.option(
        "--chat-template-kwargs",
        metavar="JSON",
        callback=_json_object,
        help="Variables of the chat template, such as '{\"enable_thinking\": false}'.",
    ),
    click.option(
        "--allow-dropped-field",
        "allow_dropped_fields",
        metavar="FIELD",
        multiple=True,
        help="A part of a row that the chat template may leave out: content, reasoning_content, tool_calls or tools. "
        "May be repeated.",
    ),
    click.option(
        "--raw",
        "apply_chat_template",
        flag_value=False,
        type=click.BOOL,
        default=None,
        help="Keep prompt and completion plain text, as apply_chat_template=False does.",
    ),
    click.option(
        "--escape-special-tokens",
        is_flag=True,
        default=None,
        help="Keep special tokens in the text of messages text.",
    ),
    local_option,
)


def _with_settings(command: F) -> F:
    """Add the options that say how a model sees the rows."""
    for option in reversed(_SETTINGS):
        command = option(command)
    return command


@click.group(cls=SuggestingGroup)
def dataset() -> None:
    """Check rows before training, and see them as a model does.

    \b
    Example: arkor dataset check rows.jsonl
    """


@dataset.command()
@_FILE
@_FORMAT
@columns_option
@click.option("--model", help="Count tokens with this model's tokenizer, and print what a job would learn.")
@_with_settings
@click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON object.")
def check(
    file: Path,
    *,
    kind: str | None,
    columns: dict[str, str] | None,
    model: str | None,
    local: bool,
    as_json: bool,
    **settings: Any,
) -> int:
    """Check every row of a file and print a summary.

    If rows are invalid, lists the first 20 with the reasons and exits with 2.

    With --model, a backend reads the rows as a job would. It prints lengths in tokens, the longest rows, how many rows
    a max_length would cut, and the receipt of the job. If the job would fail, exits with 2.

    FILE: a file of rows (JSONL, CSV, a JSON array, Parquet or Arrow, also within gzip), a folder or a quoted pattern of
    such files, or - for stdin.

    \b
    Example: arkor dataset check data/tickets.jsonl
             arkor dataset check data/tickets.jsonl --model smollm2-135m --local
    """
    from arkor.data.formats import PREFERENCE, PREFERENCES_LATER

    options = _given(settings, local)
    if model is None and options:
        raise click.UsageError("Settings of the job, and --local, go with --model.")
    try:
        if model is None:
            summary = _checked(file, kind, columns)
            click.echo(json.dumps(summary.to_wire()) if as_json else _described(_name(file), summary))
            if summary.format == PREFERENCE:
                raise Refused(f"{_name(file)}: has {PREFERENCES_LATER}")
        else:
            with _opened(file, kind, columns) as rows:
                _check_with(model, _name(file), rows, as_json, options)
    except DatasetError as exc:
        return _refused(exc, as_json)
    return COMPLETED


@dataset.command()
@_FILE
@_FORMAT
@columns_option
@click.option("--row", type=click.IntRange(min=1), help="Number of the row, as errors count it: its line in the file.")
@click.option("--model", required=True, help="Show the row with this model's tokenizer and chat template.")
@_with_settings
@click.option("--json", "as_json", is_flag=True, help="Print the row as one JSON object, token by token.")
def show(
    file: Path,
    *,
    kind: str | None,
    columns: dict[str, str] | None,
    row: int | None,
    model: str,
    local: bool,
    as_json: bool,
    **settings: Any,
) -> int:
    """Print a row as the model sees it: the first one, or --row N.

    Shows the whole text with its special tokens. The parts that the loss counts are green and underlined; without
    colours they are between ⟦ and ⟧. A row that gives several examples has a block for each.

    FILE: a file of rows (JSONL, CSV, a JSON array, Parquet or Arrow, also within gzip), a folder or a quoted pattern of
    such files, or - for stdin.

    \b
    Example: arkor dataset show data/tickets.jsonl --row 3 --model smollm2-135m --local
    """
    from arkor.client.datasets import preview_dataset
    from arkor.protocol.previews import in_marks

    try:
        with _opened(file, kind, columns) as rows:
            shown = preview_dataset(rows, row, model, _given(settings, local))
    except DatasetError as exc:
        return _refused(exc, as_json)
    click.echo(json.dumps(shown.to_wire()) if as_json else shown.shown(_in_colour if _has_colours() else in_marks))
    return COMPLETED


def _refused(exc: DatasetError, as_json: bool) -> int:
    """Print what is wrong with the rows as JSON, if that is wanted, and return the exit code.

    Raises:
        DatasetError: it is not wanted.
    """
    if not as_json:
        raise exc
    rows = [{"row": row, "reason": reason} for row, reason in exc.problems]
    click.echo(json.dumps({"error": f"{exc.source}: {exc.message}", "rows": rows, "more": exc.more}))
    return BAD_INPUT


def _check_with(model: str, name: str, rows: CheckedDataset, as_json: bool, options: dict[str, Any]) -> None:
    """Print a summary of rows and what a model would learn of them.

    Raises:
        DatasetError: the rows cannot be trained on.
        Refused: a job would fail.
    """
    from arkor.client.datasets import check_dataset

    tokens, summary = check_dataset(rows, model, options), rows.summary
    if as_json:
        click.echo(json.dumps({**summary.to_wire(), "tokens": tokens.to_wire()}))
    else:
        click.echo(_described(name, summary))
        click.echo(f"  as {one_line(model)} sees them:\n{indent(str(attrs.evolve(tokens, problem=None)), '    ')}")
    if tokens.problem is not None:
        raise Refused(f"{name}: a job would fail: {one_line(tokens.problem)}")


def _given(settings: dict[str, Any], local: bool) -> dict[str, Any]:
    """Return what was given of the options that a backend understands."""
    options = {**settings, "backend": backend_of(local)}
    return {name: value for name, value in options.items() if value not in (None, ())}


def _has_colours() -> bool:
    return is_terminal(sys.stdout) and click.get_current_context().color is not False


def _in_colour(text: str) -> str:
    return "\n".join(click.style(line, fg="green", underline=True) if line else "" for line in text.split("\n"))


def _name(file: Path) -> str:
    return "stdin" if str(file) == _STDIN else str(file)


@contextlib.contextmanager
def _opened(file: Path, kind: str | None, columns: dict[str, str] | None) -> Iterator[CheckedDataset]:
    """Have the rows of a file ready to be sent."""
    from arkor.data.files import open_rows, open_stream

    suffix = None if kind is None else f".{kind}"
    if str(file) == _STDIN:
        rows = open_stream(_stdin(), "stdin", suffix or "", columns)
    else:
        with _bar() as on_progress:
            rows = open_rows(file, _name(file), suffix, columns, on_progress=on_progress)
    with contextlib.closing(rows):
        yield rows


@contextlib.contextmanager
def _bar() -> Iterator[Progress]:
    """Show how far the checking of a file is, if that takes long."""
    from arkor.cli.display.phase_bars import PhaseBars
    from arkor.trainer.phases import READING

    with PhaseBars() as bars:
        yield lambda done, total: bars.update({"phase": READING, "done": done, "total": total})


def _stdin() -> io.BufferedReader:
    if sys.stdin is None:  # it was closed before Python began
        raise DatasetError("stdin", "is closed")
    return open(sys.stdin.fileno(), "rb", closefd=False)


def _checked(file: Path, kind: str | None, columns: dict[str, str] | None) -> DatasetSummary:
    from arkor.data.files import check_file, check_stream

    suffix = None if kind is None else f".{kind}"
    if str(file) != _STDIN:
        with _bar() as on_progress:
            return check_file(file, _name(file), suffix, columns, on_progress=on_progress)
    with _stdin() as stdin:
        return check_stream(stdin, "stdin", suffix or "", columns)


def _described(name: str, summary: DatasetSummary) -> str:
    from arkor.data.formats import name_list

    lines = [f"{name}: {many(summary.rows, 'row')} of {summary.format}, all good"]
    if summary.turns:
        lines.append(f"  turns    {summary.turns:,}: {summary.mean_turns:.1f} a row, at most {summary.max_turns:,}")
    lines.append(f"  longest  row {summary.longest_row}: {many(summary.longest_characters, 'character')}")
    lines.append(f"  size     {_size(summary.size_bytes)} as JSONL")
    if summary.unused:
        lines.append(f"  unused   {name_list(summary.unused)}: no model sees them")
    lines += [f"  file     {one_line(file)}: from row {first}" for file, first in summary.files.items()]
    return "\n".join(lines)


def _size(size_bytes: int) -> str:
    for unit, power in (("GiB", 3), ("MiB", 2), ("KiB", 1)):
        if size_bytes >= 1024**power:
            return f"{size_bytes / 1024**power:.1f} {unit}"
    return many(size_bytes, "byte")
