"""What the model answered to the same prompts as its training went on."""

from __future__ import annotations

import sys

from arkor.cli.display.style import aligned, columns_of, fitted, quiet, signs_for, strong
from arkor.protocol.events import Event, SampleMadeEvent
from arkor.protocol.samples import Sample

NARROWEST_TABLE = 72  # columns; a narrower terminal has the answers below each other
_GAP = "  "


class Samples:
    """Takes the events of a run; has a line for each step with samples, and a table at the end.

    Thread-safety: one thread at a time.
    """

    def __init__(self) -> None:
        self._by_number: dict[int, list[Sample]] = {}
        self._step: list[Sample] = []  # those of a step whose samples may not all be there

    def take(self, event: Event) -> str:
        """Take in an event; return the line of the samples before it, if they are whole with it, or an empty text."""
        if not isinstance(event, SampleMadeEvent):
            return self._line()
        line = self._line() if self._step and self._step[0].step != event.step else ""
        self._step.append(event)
        self._by_number.setdefault(event.sample, []).append(event)
        return line

    def table(self) -> list[str]:
        """Return lines with each prompt, its first answer and its last; none if no prompt was asked twice."""
        pairs = [(of[0], of[-1]) for _, of in sorted(self._by_number.items()) if of[-1].step > of[0].step]
        if not pairs:
            return []
        columns = columns_of(sys.stdout)
        return _table(pairs, columns) if columns >= NARROWEST_TABLE else _stacked(pairs, columns)

    def _line(self) -> str:
        found, self._step = self._step, []
        if not found:
            return ""
        signs, first = signs_for(sys.stdout), found[0]
        scored = [sample.exact for sample in found if sample.exact is not None]
        score = f"{_GAP}{sum(scored)}/{len(scored)} exact" if scored else ""
        begin = f"step {first.step}{_GAP}"
        room = columns_of(sys.stdout) - 1 - len(begin) - len(signs.arrow) - 2 - len(score)
        prompt = fitted(first.question, room // 2)
        answer = fitted(first.answer, room - len(prompt))
        return f"{quiet(begin)}{prompt} {signs.arrow} {answer}{quiet(score)}"


def _table(pairs: list[tuple[Sample, Sample]], columns: int) -> list[str]:
    width = (columns - 1 - 3 * len(_GAP)) // 3
    first, last = pairs[0][0].step, pairs[0][1].step
    head = ["SAMPLE", _before(first).upper(), f"AT STEP {last}"]
    rows = [head, *([fitted(text, width) for text in (a.question, a.answer, b.answer)] for a, b in pairs)]
    lines = [_GAP + _GAP.join(cells).rstrip() for cells in aligned(rows)]
    return [quiet(lines[0]), *lines[1:]]


def _stacked(pairs: list[tuple[Sample, Sample]], columns: int) -> list[str]:
    lines = []
    for first, last in pairs:
        names = [_before(first.step), f"step {last.step}"]
        width = max(map(len, names))
        lines.append(_GAP + strong(fitted(first.question, columns - 1 - len(_GAP))))
        for name, answer in zip(names, (first.answer, last.answer), strict=True):
            shown = fitted(answer, columns - 1 - 3 * len(_GAP) - width)
            lines.append(f"{2 * _GAP}{quiet(name.ljust(width))}{_GAP}{shown}")
    return lines


def _before(step: int) -> str:
    return f"step {step}" if step else "base model"
