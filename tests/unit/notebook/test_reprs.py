"""How the public things are shown: in a line by ``repr``, and by a notebook; text from elsewhere stays text."""

from __future__ import annotations

import re
from typing import Any

import pytest

from arkor import (
    Artifact,
    CheckedDataset,
    DatasetSummary,
    Example,
    HuggingFaceDataset,
    Metrics,
    RowPreview,
    Sample,
    Samples,
    Token,
    TokenSummary,
    Trainer,
    TrainingJob,
    TrainingLogEvent,
    TrainingResult,
    dataset_from,
)
from arkor.evaluation.parts import Score
from arkor.evaluation.report import EvaluationReport

EVIL = "<script>alert(1)</script>"
JOB = TrainingJob(
    id="job_1",
    name=EVIL,
    status="failed",
    error=f"{EVIL}\n\x1b[2J",
    config={"model": EVIL, "maxSteps": 60},
    started_at="2026-01-01T00:00:00Z",
    completed_at="2026-01-01T00:01:30Z",
)
RESULT = TrainingResult(JOB, (Artifact(name=EVIL), Artifact(name="checkpoint-20", step=20)))
LOG = Metrics(
    [
        TrainingLogEvent("job_1", step=1, loss=2.0),
        TrainingLogEvent("job_1", step=2, loss=0.5),
        TrainingLogEvent("job_1", step=2, eval_loss=0.75),
    ]
)
SUMMARY = DatasetSummary(
    rows=2,
    format="chatml",
    turns=4,
    max_turns=2,
    longest_row=1,
    longest_characters=30,
    size_bytes=99,
    unused=(EVIL,),
)
EXAMPLE = Example((Token(1, f"{EVIL} ", False), Token(2, "answer", True)))


def trainer(**settings: Any) -> Trainer:
    """Return a trainer that was not started."""
    return Trainer(name=EVIL, model="m", dataset=HuggingFaceDataset("owner/rows"), **settings)


def rows() -> CheckedDataset:
    """Return rows in memory."""
    return dataset_from([{"prompt": "a", "completion": "b"}])


@pytest.mark.parametrize(
    ("shown", "line"),
    [
        (JOB, f"<TrainingJob job_1 '{EVIL}', failed>"),
        (RESULT, f"<TrainingResult job_1 '{EVIL}', failed: {EVIL} [2J, 2 artifacts>"),
        (LOG, "<Metrics, 3 log events, step 1 to 2, loss 2.0000 to 0.5000>"),
        (Metrics(), "<Metrics, no entries>"),
        (Samples([Sample(step=0), Sample(step=20)]), "<Samples, 2 answers to 1 prompt, step 0 to 20>"),
        (Samples(), "<Samples, no entries>"),
        (SUMMARY, f"<DatasetSummary, 2 rows of chatml, 4 messages, unused: {EVIL}>"),
        (trainer(), f"<Trainer '{EVIL}', not started>"),
        (Trainer.attach("job_1"), "<Trainer, job job_1>"),
        (LOG.plot(), f"<Plot, {len(LOG.plot().svg):,} characters of SVG>"),
    ],
)
def test_each_is_one_line(shown: object, line: str) -> None:
    """Without an address in memory, and without what a terminal would obey."""
    assert repr(shown) == line


@pytest.mark.parametrize(
    ("shown", "part"),
    [
        (JOB, "90 s"),
        (RESULT, "checkpoint-20"),
        (LOG, "<svg"),
        (Metrics(), "no entries"),
        (SUMMARY, "4, at most 2 in a row"),
        (rows(), "prompt_completion"),
        (trainer(), "not started"),
        (EXAMPLE, "<b>answer</b>"),
        (RowPreview(row=7, format=EVIL, examples=(EXAMPLE,)), "row 7 of"),
        (TokenSummary(p50=5, problem=EVIL), "A job would fail"),
        (EvaluationReport(verdict=EVIL, scores=(Score(label=EVIL),)), "verdict"),
    ],
)
def test_a_notebook_shows_each_and_takes_nothing_for_html(shown: Any, part: str) -> None:
    """Each shows what is asked first, in under 10 KiB."""
    html = shown._repr_html_()
    assert part in html
    assert not re.search(r"<script", html)
    assert len(html) < 10 * 1024


def test_metrics_are_drawn_with_the_best_loss_on_held_out_rows() -> None:
    """As one SVG, which a notebook shows."""
    drawn = LOG.plot()
    assert drawn._repr_svg_() == drawn.svg
    assert LOG.best() == (2, 0.75)
    assert drawn.svg.count("<polyline") == 2


def test_a_result_is_drawn_with_its_checkpoints() -> None:
    """Its artifacts say at which steps they were saved."""
    metrics = Metrics([TrainingLogEvent("job_1", step=step, loss=1 / step) for step in range(1, 41)])
    result = TrainingResult(JOB, RESULT.artifacts, metrics=lambda job_id: metrics)
    assert "stroke-dasharray" in result.plot().svg
    assert "stroke-dasharray" not in metrics.plot().svg
