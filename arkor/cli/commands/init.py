"""``arkor init``."""

from __future__ import annotations

import contextlib
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

from arkor.cli.exits import Refused
from arkor.cli.options import DEFAULT_MODEL, columns_option, is_interactive, named_folder
from arkor.scaffold.templates import AROUND, DEFAULT, TEMPLATES, Template
from arkor.text import one_line

if TYPE_CHECKING:
    from arkor.scaffold.layout import Layout


@click.command()
@click.argument("folder", metavar="[DIR]", required=False, default=".", type=click.Path(path_type=Path))
@click.option("--template", "template_name", type=click.Choice(list(TEMPLATES)), help="Template of the project.")
@click.option("--data", type=click.Path(path_type=Path), metavar="FILE", help="Your own rows, in place of a template.")
@columns_option
@click.option("--model", help=f"With --data: the model to train.  [default: {DEFAULT_MODEL}]")
@click.option("--name", help="Name of the trainer. By default the folder's name.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask. Without --template, use local.")
@click.option(
    "--git/--skip-git", default=None, help="Create a git repository, or do not.  [default: --git if git is installed]"
)
def init(
    *,
    folder: Path,
    template_name: str | None,
    data: Path | None,
    columns: dict[str, str] | None,
    model: str | None,
    name: str | None,
    yes: bool,
    git: bool | None,
) -> None:
    """Set up a project.

    On a terminal, asks for the template and the name unless you pass --template or -y. Existing files are never
    overwritten; missing lines are added to .gitignore and pyproject.toml. A new project outside of any git repository
    becomes one, without a commit.

    With --data, the project trains on a copy of your file. The number of rows and the size of the model decide the
    steps, the batch size and the learning rate; compare.py asks both models the held-out rows.

    DIR: the project's folder, by default this folder.

    \b
    Templates:
      local      trains on this machine in minutes, with example rows
      triage     support tickets to JSON, on Arkor Cloud
      translate  messages in nine languages to English, on Arkor Cloud
      redaction  texts without personal data, on Arkor Cloud
      blank      the smallest trainer, for your own rows

    \b
    Example: arkor init my-bot --template local
             arkor init my-bot --data questions.csv
    """
    from arkor.client.project import project_slug
    from arkor.scaffold.git import is_installed
    from arkor.scaffold.layout import plan

    if git and not is_installed():
        raise Refused("--git needs git, which is not installed. Nothing was changed.")
    if data is None and (columns or model):
        raise click.UsageError("--column and --model go with --data.")
    if data is None:
        template, name = _wanted(folder, template_name, name, ask=not yes and is_interactive())
    elif template_name is None:
        template, name = _for_rows(folder, data, columns, model or DEFAULT_MODEL), name or project_slug(folder)
    else:
        raise click.UsageError("--data and --template cannot be combined: both say which rows it trains on.")
    layout = plan(folder, template, name)
    _apply(layout)
    if git or (git is None and template is not AROUND and is_installed()):
        _make_repository(folder, is_asked_for=bool(git))
    for note in layout.notes:
        click.echo(f"Note: {one_line(note)}", err=True)
    _print_next_steps(layout)


def _wanted(folder: Path, template_name: str | None, name: str | None, *, ask: bool) -> tuple[Template, str]:
    """Return the template and the name: as given, as asked for, or as they are by default."""
    from arkor.client.project import project_slug
    from arkor.scaffold.layout import has_entry

    default_name = project_slug(folder)
    if template_name is not None:
        template = TEMPLATES[template_name]
    elif has_entry(folder):  # a project already; its template is not known, and not needed
        template = AROUND
    elif ask:
        template = _ask_for_template()
        name = click.prompt("Name", default=default_name) if name is None else name
    else:
        template = DEFAULT
    return template, default_name if name is None else name


def _for_rows(folder: Path, file: Path, columns: dict[str, str] | None, model: str) -> Template:
    """Return the template for a file of rows, which are all checked.

    Raises:
        DatasetError: they cannot be trained on.
        Refused: this is no single file, or the folder is a project already.
    """
    from arkor.data.datasets import LocalDataset
    from arkor.scaffold.layout import has_entry
    from arkor.scaffold.templates import of_rows
    from arkor.trainer.recipe import recipe_for

    if has_entry(folder):
        raise Refused(f"{folder} is a project already. --data sets up a new one: name another folder.")
    with contextlib.closing(LocalDataset(file, columns=columns).open()) as rows:
        summary = rows.summary
    if not file.is_file():
        raise Refused(f"{file} is not a single file: --data takes one, which is copied. Nothing was changed.")
    if not file.name.isprintable():
        raise Refused(f"{file.name!r} has characters that cannot be printed: rename the file. Nothing was changed.")
    return of_rows(
        file,
        rows=summary.rows,
        asks=summary.format != "text",
        columns=columns,
        model=str(named_folder(model) or model),
        settings=recipe_for(summary.rows, model),
    )


def _ask_for_template() -> Template:
    click.echo("Which template?")
    for template in TEMPLATES.values():
        click.echo(f"  {template.name:9}  {template.summary}")
    kind = click.Choice(list(TEMPLATES))
    return TEMPLATES[click.prompt("Template", default=DEFAULT.name, type=kind, show_choices=False)]


def _apply(layout: Layout) -> None:
    """Write the files, and list those that are in place, also where not all are."""
    from arkor.errors import ScaffoldError

    done = []
    try:
        for change in layout.apply():
            done.append(change)  # said later: nobody to listen is no reason to stop in the middle
    except ScaffoldError as exc:
        raise ScaffoldError(f"{exc} The listed files are in place; run the command again to add the rest.") from exc
    finally:
        for change in done:
            added = f": added {change.detail}" if change.detail else ""
            click.echo(f"  {change.action.value:7}  {change.path}{added}")


def _make_repository(folder: Path, *, is_asked_for: bool) -> None:
    from arkor.errors import ScaffoldError
    from arkor.scaffold.git import is_in_repository, start_repository

    if is_in_repository(folder):
        return
    try:
        start_repository(folder)
    except ScaffoldError as exc:
        if is_asked_for:
            raise
        click.echo(f"Note: {one_line(str(exc))}", err=True)
    else:
        click.echo("  created  .git")


def _print_next_steps(layout: Layout) -> None:
    click.echo("Next:")
    if layout.folder.resolve() != Path.cwd():
        click.echo(f"  cd {_quoted(layout.folder)}")
    click.echo(f"  {layout.install}")
    for line in filter(None, (*layout.template.before, layout.template.start, *layout.template.after)):
        click.echo(f"  {line}")


def _quoted(folder: Path) -> str:
    """Return a folder as a shell takes it."""
    shown = one_line(str(folder), longest=4096)
    return shlex.quote(f"./{shown}" if shown.startswith("-") else shown)
