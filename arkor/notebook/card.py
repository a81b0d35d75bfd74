"""A run as a card of HTML, and as lines of text.

The card has tables and SVG, no script and no style sheet, and it still reads where styles and drawings are taken out.
"""

from __future__ import annotations

import difflib
import functools
import re
from collections.abc import Iterator

from arkor.drawing.chart import bar, svg
from arkor.drawing.html import text
from arkor.notebook.run import Run
from arkor.protocol.jobs import JobStatus
from arkor.protocol.samples import Sample
from arkor.text import first_line, many, one_line

LONGEST_LINE = 120  # characters of a text on one line
_GIB = 2**30
_LEFT = 'align="left" style="text-align:left;vertical-align:top"'


def card(run: Run, foot: str, address: str | None) -> str:
    """Return the card as HTML.

    Args:
        run: what is known.
        foot: what can be done about the job, in a line.
        address: of the job's page in Studio; None if none runs.
    """
    link = f' · <a href="{text(address)}">Studio</a>' if address else ""
    parts = [
        f"<p><b>{text(one_line(run.name))}</b> · {text(status(run))}{_model(run)}</p>",
        *(f"<p>{part}</p>" for part in _progress(run)),
        *(f"<p>{part}</p>" for part in _figures(run)),
        *_curves(run),
        *_samples(run),
        f"<p><small>{text(one_line(foot))}{link}</small></p>",
    ]
    return f'<div style="max-width:54em;line-height:1.5">{"".join(parts)}</div>'


def lines(run: Run, foot: str) -> str:
    """Return the card as lines of text."""
    head = "  ".join([one_line(run.name), *headline(run)])
    return "\n".join(
        filter(
            None,
            [head, "  ".join(f"{name} {value}" for name, value in _named(run)), *_sample_lines(run), one_line(foot)],
        )
    )


def headline(run: Run) -> list[str]:
    """Return what the run is doing, how far it is, and the time that is left, in words."""
    share = _share(run)
    return [status(run), *([] if share is None else [f"{share:.0%}"]), *_place(run)]


def status(run: Run) -> str:
    """Return what the run is doing; a job that ended says how."""
    if run.fetching is not None:
        return one_line(run.fetching.title)
    if run.job is None or run.state is None:
        return "starting" if run.job is None else run.job.status
    if run.job.status == JobStatus.FAILED:
        return f"failed: {first_line(run.job.error or 'no error message')}"
    return run.state.state


def _model(run: Run) -> str:
    return f" · {text(one_line(run.model))}" if run.model else ""


def _share(run: Run) -> float | None:
    """Return how much is done of what the run is doing, 0 to 1."""
    if run.fetching is not None:
        return min(1.0, run.fetching.done / run.fetching.total) if run.fetching.total else None
    return None if run.state is None else run.state.share


def _place(run: Run) -> list[str]:
    """Return the step and the time that is left."""
    if run.fetching is not None or run.state is None:
        return []
    step = f"step {run.state.place()}" if run.state.step and run.state.preparing is None else ""
    return [part for part in (step, run.state.left()) if part]


def _progress(run: Run) -> Iterator[str]:
    share = _share(run)
    parts = [] if share is None else [f"{bar(share)} {share:.0%}"]
    parts += map(text, _place(run))
    if parts:
        yield " · ".join(parts)


def losses(run: Run) -> list[str]:
    """Return the last losses, in words."""
    return [f"{name} {value}" for name, value in _losses(run)]


def _losses(run: Run) -> Iterator[tuple[str, str]]:
    if run.state is not None and run.state.loss is not None:
        yield "loss", f"{run.state.loss:.4f}"
    if run.state is not None and run.state.eval_loss is not None:
        yield "loss on held-out rows", f"{run.state.eval_loss:.4f}"


def _named(run: Run) -> Iterator[tuple[str, str]]:
    yield from _losses(run)
    if run.held_out.best is not None and len(run.held_out.points) > 1:
        step, value = run.held_out.best
        yield "best", f"{value:.4f} at step {step}"
    if run.checkpoints:
        yield "last checkpoint", f"step {run.checkpoints[-1]}"
    if run.memory is not None:
        used, total = run.memory
        device = f" ({one_line(run.device)})" if run.device else ""
        yield "memory", f"{used / _GIB:.1f} of {total / _GIB:.1f} GiB{device}"


def _figures(run: Run) -> Iterator[str]:
    found = [f"{text(name)} <b>{text(value)}</b>" for name, value in _named(run)]
    if found:
        yield " · ".join(found)


def _curves(run: Run) -> Iterator[str]:
    if len(run.losses.points) > 1 or run.held_out.points:
        yield svg(run.curves(), run.checkpoints)


def _samples(run: Run) -> Iterator[str]:
    if not run.samples:
        return
    has_expected = any(last.expected is not None for *_, last in run.samples.values())
    heads = ["prompt", *(["expected"] if has_expected else []), "answer before", "last answer"]
    rows = "".join(_row(answers, has_expected=has_expected) for _, answers in sorted(run.samples.items()))
    head = "".join(f"<th {_LEFT}>{name}</th>" for name in heads)
    yield f"<table><tr>{head}</tr>{rows}</table>"
    yield "".join(f"<p>{text(line)}</p>" for line in _more(run))


def _row(answers: list[Sample], *, has_expected: bool) -> str:
    *before, last = answers
    old = f"{text(before[0].answer)} <small>(step {before[0].step})</small>" if before else ""
    new = marked(before[0].answer, last.answer) if before else text(last.answer)
    right = {True: " ✓", False: " ✗", None: ""}[last.exact]
    cells = [text(last.question), *([text(last.expected or "")] if has_expected else [])]
    cells += [old, f"{new}{right} <small>(step {last.step})</small>"]
    return f"<tr>{''.join(f'<td {_LEFT}>{cell}</td>' for cell in cells)}</tr>"


@functools.lru_cache(maxsize=64)
def marked(before: str, now: str) -> str:
    """Return a text as HTML, its words underlined that an earlier text did not have in their place."""
    old, new = (re.findall(r"\w+\s*|\W\s*", one) for one in (before, now))
    old_words, new_words = ([word.strip() for word in found] for found in (old, new))
    parts = []
    for kind, _, _, start, end in difflib.SequenceMatcher(a=old_words, b=new_words, autojunk=False).get_opcodes():
        shown = text("".join(new[start:end]))
        parts.append(shown if kind == "equal" or not shown else f"<ins>{shown}</ins>")
    return "".join(parts)


def _more(run: Run) -> list[str]:
    exact = [last.exact for *_, last in run.samples.values() if last.exact is not None]
    found = [f"{sum(exact)} of {many(len(exact), 'answer')} exact"] if exact else []
    hidden = len(run.prompts) - len(run.samples)
    return [*found, *([f"{many(hidden, 'more prompt')}: result.samples() has all answers"] if hidden else [])]


def _sample_lines(run: Run) -> list[str]:
    return [
        f"  {one_line(last.question, LONGEST_LINE)}  ->  {one_line(last.answer, LONGEST_LINE)}"
        for *_, last in (answers for _, answers in sorted(run.samples.items()))
    ]
