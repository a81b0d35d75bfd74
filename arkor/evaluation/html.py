"""A report as a page of HTML that needs nothing else, and its summary for a notebook."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from arkor.drawing.html import preformatted, text
from arkor.evaluation.cases import Answered, Case
from arkor.evaluation.findings import Findings
from arkor.evaluation.page_style import STYLE
from arkor.evaluation.parts import Comparison, Score, main_comparison, plain_points, points_of
from arkor.evaluation.statistics import SAME
from arkor.protocol import wire
from arkor.text import many

_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
_LONGEST_ROW = 120  # characters of a question that a folded row shows
_BAR = 160  # units of the drawing of an interval: from -100 to +100 points


def page(report: Findings) -> str:
    """Return a whole page: the verdict, the scores, the rows with all answers, and what else was found."""
    title = f"Evaluation of {report.job_id}" if report.job_id else "Evaluation"
    sections = "\n".join(_sections(report))
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{text(title)}</title>\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n<style>{STYLE}</style>\n</head>\n'
        f"<body>\n<main>\n<h1>{text(title)}</h1>\n{sections}\n</main>\n</body>\n</html>\n"
    )


def summary(report: Findings) -> str:
    """Return the verdict and the scores, for a notebook."""
    parts = [_verdict(report)] if report.verdict else []
    parts += [_scores(report.scores, report.candidates)] if report.scores else []
    parts += [f"<p>{text(line)}</p>" for line in _notes(report)]
    return "\n".join(parts)


def _sections(report: Findings) -> Iterator[str]:
    if report.verdict:
        yield _verdict(report)
    yield f"<p>{text(_asked(report))}</p>"
    yield from (f"<p>{text(line)}</p>" for line in _notes(report))
    if report.scores:
        yield f"<h2>Scores</h2>\n{_scores(report.scores, report.candidates)}"
    for name, details in report.details.items():
        if isinstance(details, Mapping) and isinstance(details.get("confusion"), Mapping):
            yield from _confusions(name, details["confusion"])
    if report.table:
        yield "<h2>Rows</h2>"
        wins, losses = (calls() for calls in (report.wins, report.losses)) if _has_adapter(report) else ([], [])
        ids = {id(case) for case in (*wins, *losses)}
        yield _rows("Wins", wins, report.scores)
        yield _rows("Losses", losses, report.scores)
        yield _rows("Other rows", [case for case in report.table if id(case) not in ids], report.scores)
    if report.retention is not None:
        yield f"<h2>Did it forget?</h2>\n<p>{text(report.retention.verdict)}</p>"
        questions = "\n".join(_row(case, report.retention.scores) for case in report.retention.table)
        yield f"<details><summary>The questions</summary>\n{questions}</details>"


def _has_adapter(report: Findings) -> bool:
    return "adapter" in report.candidates


def _asked(report: Findings) -> str:
    parts = [f"Model {report.model}"] if report.model else []
    parts += [f"job {report.job_id}"] if report.job_id else []
    parts += [report.created_at] if report.created_at else []
    parts += [f"computed by {', '.join(report.answered_by)}"] if report.answered_by else []
    return ", ".join(parts)


def _notes(report: Findings) -> Iterator[str]:
    """Yield what there is to say of the rows and of the check, a line each."""
    if report.rows is not None:
        yield from map(str.strip, str(report.rows).splitlines())
    if report.check is not None:
        yield str(report.check)


def _verdict(report: Findings) -> str:
    main = main_comparison(report.scores)
    name = "same" if main is None or main.verdict == SAME else main.verdict
    return f'<p class="verdict {text(name)}">{text(report.verdict)}</p>'


def _scores(scores: Sequence[Score], candidates: Sequence[str]) -> str:
    heads = "".join(f'<th scope="col">{text(one)}</th>' for one in candidates)
    body = "\n".join(row for score in scores for row in _score_rows(score, candidates))
    columns = (
        '<th scope="col">difference, in points</th><th scope="col">95 % interval</th>'
        '<th scope="col">up</th><th scope="col">down</th><th scope="col">verdict</th>'
    )
    return (
        f'<div class="wide"><table>\n<thead><tr><th scope="col">score</th>{heads}{columns}</tr></thead>\n'
        f"<tbody>\n{body}\n</tbody></table></div>"
    )


def _score_rows(score: Score, candidates: Sequence[str]) -> Iterator[str]:
    values = "".join(f"<td>{100 * score.values.get(one, 0):.0f} %</td>" for one in candidates)
    several = len(score.comparisons) > 1
    for one in score.comparisons:
        label = f"{score.label}, {one.candidate}" if several else score.label
        yield (
            f'<tr><th scope="row">{text(label)}</th>{values}<td>{points_of(one.difference)}</td>'
            f"<td>{_interval(one)}</td><td>{one.wins}</td><td>{one.losses}</td><td>{text(one.verdict)}</td></tr>"
        )


def _interval(one: Comparison) -> str:
    """Return an interval as a bar between -100 and +100 points, with its ends in words."""
    left, right, at = (round(_BAR / 2 * (1 + value), 1) for value in (one.low, one.high, one.difference))
    words = f"{plain_points(one.low)} to {plain_points(one.high)}"
    return (
        f'<svg viewBox="0 0 {_BAR} 12" width="{_BAR}" height="12" aria-hidden="true">'
        f'<line class="zero" x1="{_BAR / 2}" y1="0" x2="{_BAR / 2}" y2="12"/>'
        f'<line class="range" x1="{left}" y1="6" x2="{right}" y2="6"/><circle cx="{at}" cy="6" r="3.5"/></svg> {words}'
    )


def _confusions(name: str, found: Mapping[str, Any]) -> Iterator[str]:
    yield f"<h2>{text(name.capitalize())}</h2>\n<p>Rows: the expected label. Columns: the answer.</p>"
    for candidate, table in found.items():
        expected = list(table)
        answered = list(dict.fromkeys([*expected, *(label for row in table.values() for label in row)]))
        heads = "".join(f'<th scope="col">{text(label)}</th>' for label in answered)
        body = "\n".join(
            f'<tr><th scope="row">{text(label)}</th>'
            + "".join(_cell(table[label].get(other, 0), is_right=label == other) for other in answered)
            + "</tr>"
            for label in expected
        )
        yield (
            f'<h3>{text(candidate)}</h3>\n<div class="wide"><table class="confusion">'
            f"<thead><tr><td></td>{heads}</tr></thead>\n<tbody>\n{body}\n</tbody></table></div>"
        )


def _cell(count: int, *, is_right: bool) -> str:
    kind = "" if not count else ' class="right"' if is_right else ' class="wrong"'
    return f"<td{kind}>{count or ''}</td>"


def _rows(title: str, cases: Sequence[Case], scores: Sequence[Score]) -> str:
    if not cases:
        return ""
    items = "\n".join(_row(case, scores) for case in cases)
    return f"<h3>{text(title)} ({many(len(cases), 'row')})</h3>\n{items}"


def _row(case: Case, scores: Sequence[Score]) -> str:
    asked = case.question
    short = asked if len(asked) <= _LONGEST_ROW else f"{asked[:_LONGEST_ROW]}…"
    turns = "\n".join(f"<dt>{text(str(turn.get('role')))}</dt><dd>{_said(turn)}</dd>" for turn in case.messages)
    answers = "\n".join(
        f"<dt>{text(who)}{_scored(case, who, scores)}</dt><dd>{_answer(answer)}</dd>"
        for who, answer in case.answers.items()
    )
    expected = _pre(case.expected) + "".join(map(_pre, map(str, case.expected_calls)))
    return (
        f"<details><summary>Row {case.row}: {text(short)}</summary>\n<dl>\n{turns}\n"
        f'<dt class="expected">expected</dt><dd>{expected}</dd>\n{answers}\n</dl></details>'
    )


def _scored(case: Case, who: str, scores: Sequence[Score]) -> str:
    known = [(score.label, case.scores[score.name][who]) for score in scores if who in case.scores.get(score.name, {})]
    return text("".join(f", {label} {value:.2g}" for label, value in known))


def _said(turn: Mapping[str, Any]) -> str:
    calls = "".join(map(_pre, map(str, turn.get("tool_calls") or ())))
    return _pre(wire.content_text(turn.get("content"))) + calls


def _answer(answer: Answered) -> str:
    cut = "<p>(cut at the longest answer)</p>" if answer.finish_reason == "length" else ""
    return _pre(answer.text) + "".join(_pre(str(call.get("function", call))) for call in answer.calls) + cut


def _pre(shown: str) -> str:
    return preformatted(shown) if shown else ""
