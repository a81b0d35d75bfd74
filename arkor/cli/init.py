"""``arkor init``."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from arkor.api.notices import one_line
from arkor.cli.exits import BAD_INPUT
from arkor.scaffold.templates import AROUND, DEFAULT, TEMPLATES, Template

if TYPE_CHECKING:
    from arkor.scaffold.layout import Layout


@click.command()
@click.argument("folder", metavar="[DIR]", required=False, default=".", type=click.Path(path_type=Path))
@click.option("--template", "template_name", type=click.Choice(list(TEMPLATES)), help="What the project trains.")
@click.option("--name", help="What the trainer is called; by default after the folder.")
@click.option("-y", "--yes", is_flag=True, help="Ask nothing: the template local, unless --template says otherwise.")
@click.option("--git/--skip-git", default=None, help="Make it a git repository, or not.  [default: where git is]")
def init(*, folder: Path, template_name: str | None, name: str | None, yes: bool, git: bool | None) -> None:
    """Set up a project in DIR, by default this folder.

    On a terminal it asks for the template and the name, unless --template or -y is given. What is there is never
    overwritten; .gitignore and pyproject.toml get what they lack. A folder outside of any git repository becomes one,
    without a commit, as with cargo and uv.

    \b
    Templates:
      local      trains on this machine in minutes, with rows of its own
      triage     support tickets to JSON, on Arkor Cloud
      translate  messages in nine languages to English, on Arkor Cloud
      redaction  texts without personal data, on Arkor Cloud
      blank      the smallest trainer, for your own rows

    \b
    Example: arkor init my-bot --template local
    """
    from arkor.project import project_slug
    from arkor.scaffold.git import is_in_repository, is_installed, start_repository
    from arkor.scaffold.layout import has_entry, plan

    if git and not is_installed():
        raise _Refused("--git needs git, which is not installed. Nothing was changed.")
    default_name = project_slug(folder)
    if template_name is not None:
        template = TEMPLATES[template_name]
    elif has_entry(folder):
        template = AROUND
    elif yes or not _is_interactive():
        template = DEFAULT
    else:
        template = _ask_for_template()
        name = name or click.prompt("Name", default=default_name)
    layout = plan(folder, template, name or default_name)
    _apply(layout)
    if git is not False and is_installed() and not is_in_repository(folder):
        start_repository(folder)
        click.echo("  created  .git")
    for note in layout.notes:
        click.echo(f"Note: {one_line(note)}", err=True)
    _tell_next_steps(layout)


class _Refused(click.ClickException):
    exit_code = BAD_INPUT


def _is_interactive() -> bool:
    return sys.stdin.isatty() and sys.stdout.isatty()


def _ask_for_template() -> Template:
    click.echo("What shall it train?")
    for template in TEMPLATES.values():
        click.echo(f"  {template.name:9}  {template.summary}")
    kind = click.Choice(list(TEMPLATES))
    return TEMPLATES[click.prompt("Template", default=DEFAULT.name, type=kind, show_choices=False)]


def _apply(layout: Layout) -> None:
    """Write the files, listing each when it is in place."""
    from arkor.errors import ScaffoldError

    try:
        for change in layout.apply():
            added = f": added {change.detail}" if change.detail else ""
            click.echo(f"  {change.action.value:7}  {change.path}{added}")
    except ScaffoldError as exc:
        again = f"arkor init {_quoted(layout.folder)}"
        again += f" --template {layout.template.name}" if layout.template.name else ""
        raise ScaffoldError(f"{exc} What is listed is in place; the rest comes with: {again}") from exc


def _tell_next_steps(layout: Layout) -> None:
    click.echo("Next:")
    if layout.folder.resolve() != Path.cwd():
        click.echo(f"  cd {_quoted(layout.folder)}")
    click.echo(f"  {layout.install}")
    if layout.template.start:
        click.echo(f"  {layout.template.start}")


def _quoted(folder: Path) -> str:
    """Return a folder as a shell takes it."""
    shown = one_line(str(folder), longest=4096)
    return shlex.quote(f"./{shown}" if shown.startswith("-") else shown)
