"""What the command line costs, beside others, in one run: ``python bench/cli.py``.

It takes about a minute. Each command is a process of its own; the contestants take turns, so that a busy machine slows
all of them. Medians of the processor time (user and system), which other work disturbs less, and of the time on the
wall. openai and hf are left out where they are not installed (openai 3 has no command any more). The first round,
which compiles bytecode, does not count.
"""

from __future__ import annotations

import importlib.util
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import attrs
import click

MODULES = 200
FUNCTIONS = 20
BARE = "import click\n@click.group()\ndef cli(): 'Words.'\n@cli.command()\ndef one(): 'Words.'\ncli()"
BARE_VERSION = "import click\n@click.group()\n@click.version_option('1')\ndef cli(): 'Words.'\ncli()"
OURS = "from arkor.cli import main; main()"  # as the installed script does
OPENAI = "from openai.cli import main; main()"
HF = "from huggingface_hub.cli.hf import main; main()"


@attrs.frozen
class Contestant:
    """A command, and the package that it needs."""

    name: str
    code: str
    arguments: Sequence[str] = ()
    needs: str = "click"
    goal: float | None = None


PARTS: Mapping[str, Sequence[Contestant]] = {
    "an import": (
        Contestant("import requests", "import requests"),
        Contestant("import arkor", "import arkor", goal=1.2),
        Contestant("from arkor import Trainer", "from arkor import Trainer"),
        Contestant("import huggingface_hub", "import huggingface_hub", needs="huggingface_hub"),
        Contestant("import openai", "import openai", needs="openai"),
        Contestant("Python alone", "pass"),
    ),
    "--help": (
        Contestant("a bare click program", BARE, ["--help"]),
        Contestant("arkor --help", OURS, ["--help"], goal=1.5),
        Contestant("openai --help", OPENAI, ["--help"], "openai.cli"),
        Contestant("hf --help", HF, ["--help"], "huggingface_hub"),
    ),
    "--version": (
        Contestant("a bare click program", BARE_VERSION, ["--version"]),
        Contestant("arkor --version", OURS, ["--version"], goal=1.5),
        Contestant("openai --version", OPENAI, ["--version"], "openai.cli"),
        Contestant("hf version", HF, ["version"], "huggingface_hub"),
    ),
}


def is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # the package of it
        return False


def took(code: str, arguments: Sequence[str], folder: str) -> tuple[float, float]:
    """Return the seconds of processor and wall that a command takes."""
    before, began = processor_s(), time.perf_counter()
    subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=True,
    )
    return processor_s() - before, time.perf_counter() - began


def processor_s() -> float:
    """Return what all commands so far have taken of the processor."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def compare(title: str, contestants: Sequence[Contestant], rounds: int, folder: str) -> None:
    """Let contestants take turns, and print each beside the first."""
    there = [one for one in contestants if is_installed(one.needs)]
    seen: dict[str, list[tuple[float, float]]] = {one.name: [] for one in there}
    for number in range(rounds + 1):
        for one in there:
            figures = took(one.code, one.arguments, folder)
            if number:  # the first round was to warm up
                seen[one.name].append(figures)
    click.echo(f"\n{title:32} {'processor':>12} {'ratio':>6} {'wall':>12} {'ratio':>6}  goal")
    first = medians(seen[there[0].name])
    for one in there:
        cpu_s, wall_s = medians(seen[one.name])
        ratios = f"{cpu_s / first[0]:>6.2f} {1000 * wall_s:>9.0f} ms {wall_s / first[1]:>6.2f}"
        click.echo(f"{one.name:32} {1000 * cpu_s:>9.0f} ms {ratios}  {one.goal or ''}".rstrip())


def medians(figures: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Return the medians of both columns."""
    return statistics.median(cpu for cpu, _ in figures), statistics.median(wall for _, wall in figures)


def write_project(folder: str) -> None:
    """Write an entry that reaches 200 modules, each of about 100 lines."""
    root = Path(folder, "src", "arkor")
    lines = "def f{}(a, b=1):\n    c = [a * n for n in range(b)]\n    return sum(c)\n"
    body = "\n\n".join(lines.format(i) for i in range(FUNCTIONS))
    for i in range(MODULES):
        file = root / f"part{i % 10}" / f"m{i}.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        following = f"from ..part{(i + 1) % 10}.m{i + 1} import f0 as g\n" if i + 1 < MODULES else ""
        file.write_text(f"import math\n{following}\n\n{body}")
    (root / "index.py").write_text("from .part0.m0 import f0\n")


@click.command(help=__doc__)
@click.option("--rounds", default=21, show_default=True, help="How often each contestant has its turn.")
def main(rounds: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for title, contestants in PARTS.items():
            compare(title, contestants, rounds, folder)
        write_project(folder)
        build = [Contestant(f"arkor build of {MODULES} modules", OURS, ["build"])]
        compare("a build; the goal is under 1 s", build, max(1, rounds // 3), folder)


if __name__ == "__main__":
    main()
