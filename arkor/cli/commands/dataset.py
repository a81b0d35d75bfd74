"""``arkor dataset``: rows, checked before training."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from arkor.cli.exits import BAD_INPUT, COMPLETED
from arkor.cli.suggestions import SuggestingGroup
from arkor.errors import DatasetError

if TYPE_CHECKING:
    from arkor.data.jsonl import DatasetSummary

_STDIN = "-"


@click.group(cls=SuggestingGroup)
def dataset() -> None:
    """Check a file of rows before training.

    \b
    Example: arkor dataset check rows.jsonl
    """


@dataset.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--format",
    "kind",
    type=click.Choice(["jsonl", "csv", "tsv"]),
    help="Format of the rows. By default the file name decides.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON object.")
def check(file: Path, kind: str | None, as_json: bool) -> int:
    """Check every row of a file and print a summary.

    If rows are invalid, lists the first 20 with the reasons and exits with 2.

    FILE: a JSONL file, a CSV file (.csv or .tsv), or - for stdin.

    \b
    Example: arkor dataset check data/tickets.jsonl
    """
    name = "stdin" if str(file) == _STDIN else str(file)
    try:
        summary = _checked(file, name, kind)
    except DatasetError as exc:
        if not as_json:
            raise
        rows = [{"row": row, "reason": reason} for row, reason in exc.problems]
        click.echo(json.dumps({"error": f"{exc.source}: {exc.message}", "rows": rows, "more": exc.more}))
        return BAD_INPUT
    click.echo(json.dumps(summary.to_wire()) if as_json else _described(name, summary))
    return COMPLETED


def _checked(file: Path, name: str, kind: str | None) -> DatasetSummary:
    from arkor.data.files import check_file, check_stream

    if str(file) != _STDIN:
        return check_file(file, name, file.suffix if kind is None else f".{kind}")
    if sys.stdin is None:  # it was closed before Python began
        raise DatasetError(name, "is closed")
    with open(sys.stdin.fileno(), "rb", closefd=False) as stdin:
        return check_stream(stdin, name, f".{kind}")


def _described(name: str, summary: DatasetSummary) -> str:
    lines = [f"{name}: {_counted(summary.rows, 'row')} of {summary.format}, all good"]
    if summary.turns:
        lines.append(f"  turns    {summary.turns:,}: {summary.mean_turns:.1f} a row, at most {summary.max_turns:,}")
    lines.append(f"  longest  row {summary.longest_row}: {_counted(summary.longest_characters, 'character')}")
    lines.append(f"  size     {_size(summary.size_bytes)} as JSONL")
    return "\n".join(lines)


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}{'s' * (count != 1)}"


def _size(size_bytes: int) -> str:
    for unit, power in (("GiB", 3), ("MiB", 2), ("KiB", 1)):
        if size_bytes >= 1024**power:
            return f"{size_bytes / 1024**power:.1f} {unit}"
    return _counted(size_bytes, "byte")
