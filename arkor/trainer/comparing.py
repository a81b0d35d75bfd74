"""Several jobs side by side: the settings that differ, the curves, the scores."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from arkor.client.client import CloudApiClient
from arkor.client.result import TrainingResult
from arkor.drawing.chart import COLOURS, Curve, plot
from arkor.drawing.html import text
from arkor.errors import ConfigError
from arkor.evaluation.report import EvaluationReport
from arkor.protocol import wire
from arkor.protocol.job_metrics import Metrics
from arkor.protocol.jobs import JobStatus, Scope, TrainingJob
from arkor.text import one_line
from arkor.trainer.trainer import Trainer
from arkor.trainer.watching import trainer_of

LONGEST_VALUE = 60  # characters of a setting
_LEFT = 'align="left" style="text-align:left"'


@attrs.frozen(repr=False)
class Compared:
    """One of the jobs of a comparison.

    Attributes:
        job: the job.
        settings: its settings by their Python names, with the defaults that the backend filled in, if it says them.
        metrics: the history of its figures.
        report: its newest report; None if it has none.
    """

    job: TrainingJob
    settings: Mapping[str, Any] = attrs.field(hash=False)
    metrics: Metrics = attrs.field(hash=False)
    report: EvaluationReport | None = None

    def figures(self) -> dict[str, str]:
        """Return the last loss, the best loss on held-out rows, and the scores of its report, in words."""
        losses = [entry.loss for entry in self.metrics if entry.loss is not None]
        best = self.metrics.best()
        found = {"status": self.job.status}
        found |= {"last loss": f"{losses[-1]:.4f}"} if losses else {}
        found |= {"best loss on held-out rows": f"{best[1]:.4f} at step {best[0]}"} if best else {}
        scores = self.report.scores if self.report else ()
        return {**found, **{one.label: _score(one.values) for one in scores}}


@attrs.frozen(repr=False)
class Comparison:
    """Several jobs side by side. ``print`` shows a table, a notebook the curves, too.

    Attributes:
        jobs: the jobs, in the order in which they were given.

    Example:
        ``arkor.compare("job_x4k2", "job_b7fq", backend="local").settings``
    """

    jobs: Sequence[Compared]

    @property
    def settings(self) -> dict[str, tuple[Any, ...]]:
        """The settings that differ, by their Python names: a value for each job, None if it has none."""
        names = dict.fromkeys(name for one in self.jobs for name in one.settings)
        values = {name: tuple(one.settings.get(name) for one in self.jobs) for name in names}
        return {name: found for name, found in values.items() if any(one != found[0] for one in found)}

    @property
    def figures(self) -> dict[str, tuple[str, ...]]:
        """The losses and scores, by name: a text for each job, empty if it has none."""
        figures = [one.figures() for one in self.jobs]
        names = dict.fromkeys(name for found in figures for name in found)
        return {name: tuple(found.get(name, "") for found in figures) for name in names}

    def plot(self, axis: Any = None) -> Any:
        """Draw the losses of all jobs: on held-out rows if all have it, otherwise in training.

        Args:
            axis: an axis of matplotlib to draw on; None for SVG, which needs no other package.

        Returns:
            A ``Plot``, or the axis.
        """
        curves = [one.metrics.curves() for one in self.jobs]
        which = 1 if all(held_out.points for _, held_out in curves) else 0
        return plot([self._named(number, found[which]) for number, found in enumerate(curves)], axis=axis)

    def _named(self, number: int, curve: Curve) -> Curve:
        job = self.jobs[number].job
        return attrs.evolve(curve, label=one_line(f"{job.name} {job.id}", 40), colour=COLOURS[number % len(COLOURS)])

    def _rows(self) -> Iterator[tuple[str, ...]]:
        yield ("", *(one_line(f"{one.job.name} {one.job.id}") for one in self.jobs))
        for name, values in self.settings.items():
            yield (name, *map(_value, values))
        for name, words in self.figures.items():
            yield (one_line(name), *map(one_line, words))

    def __str__(self) -> str:
        rows = list(self._rows())
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        head, *rows = self._rows()
        heads = "".join(f"<th {_LEFT}>{text(cell)}</th>" for cell in head)
        body = "".join(
            f"<tr><th {_LEFT}>{text(name)}</th>{''.join(f'<td {_LEFT}>{text(cell)}</td>' for cell in cells)}</tr>"
            for name, *cells in rows
        )
        return f"<table><tr>{heads}</tr>{body}</table>{self.plot().svg}"


def compare(
    *jobs: str | TrainingJob | TrainingResult | Trainer,
    backend: str | None = None,
    client: CloudApiClient | None = None,
    project_dir: str | Path | None = None,
) -> Comparison:
    """Return several jobs side by side: the settings that differ, the curves, and the scores of their reports.

    Args:
        jobs: each a job, its result, its whole id, or its trainer; one or more.
        backend: where the jobs are, as for ``Trainer.attach``; trainers know it.
        client: as for ``Trainer.attach``.
        project_dir: the folder whose project the jobs belong to.

    Raises:
        ConfigError: no job is given, or a trainer was not started.
        CloudApiError, ConnectionFailed: the backend did not answer, or with an error.

    Example:
        ``arkor.compare("job_x4k2", "job_b7fq", backend="local")``
    """
    if not jobs:
        raise ConfigError("jobs", "must be one job or more")
    trainers = [trainer_of(job, backend=backend, client=client, project_dir=project_dir) for job in jobs]
    return Comparison([_compared(trainer) for trainer in trainers])


def _compared(trainer: Trainer) -> Compared:
    job_id = trainer._starter.job_id
    if job_id is None:
        raise ConfigError("jobs", f"has the trainer {trainer.name!r}, which was not started")
    client, scope = trainer._starter.connect()
    job, record = client.get_job(scope, job_id), client.job_record(scope, job_id)
    settings = {**job.config, **(record.settings if record else {})}
    named = {wire.python_name(name): value for name, value in settings.items()}
    return Compared(job, named, client.job_metrics(scope, job_id), _report(client, scope, job_id))


def _report(client: CloudApiClient, scope: Scope, job_id: str) -> EvaluationReport | None:
    found = [
        one
        for one in client.list_evaluations(scope, job_id)
        if one.status == JobStatus.COMPLETED and not one.options.is_check_only
    ]
    return client.evaluation_report(scope, job_id, found[-1].id) if found else None


def _score(values: Mapping[str, float]) -> str:
    return ", ".join(f"{who} {100 * value:.0f} %" for who, value in values.items())


def _value(value: Any) -> str:
    return "" if value is None else one_line(value if isinstance(value, str) else json.dumps(value), LONGEST_VALUE)
