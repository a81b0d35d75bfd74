"""The metrics of a training log: one table, as the fields of ``LogMetrics``.

Each field says its unit, its key in the log of transformers' trainer, and how it is shown. The event, the callback's
context, the columns of a history, the backend's stored columns, the tables and Studio's chart are made from it.

Protocol: docs/protocol.md, "The event stream": ``training.log``; "Stored events".
"""

from __future__ import annotations

import re
from typing import Any

import attrs

from arkor.protocol.wire import wire_name


@attrs.frozen(kw_only=True)
class Metric:
    """A row of the table of metrics.

    Attributes:
        name: the Python name.
        label: what a person reads.
        unit: the unit, in words; empty for a number without one.
        trainer_key: its key in the log of transformers' trainer, in a log entry of the kind that has it.
        form: how a number of it is formatted in a table, as ``format`` takes it.
        chart: the place in Studio's job page: ``loss`` (the main chart), ``request`` (a chart of its own, on request),
            or empty.
    """

    name: str
    label: str
    unit: str
    trainer_key: str
    form: str
    chart: str = ""

    @property
    def wire_name(self) -> str:
        """The name that travels."""
        return wire_name(self.name)

    @property
    def best_wire_name(self) -> str:
        """What its value in the best evaluation is called."""
        return f"best{self.wire_name[0].upper()}{self.wire_name[1:]}"

    def to_wire(self) -> dict[str, str]:
        """Return what a page needs to show the metric."""
        return {"name": self.wire_name, "label": self.label, "unit": self.unit, "chart": self.chart}


def _metric(label: str, *, unit: str = "", trainer_key: str, form: str, chart: str = "") -> Any:
    row = {"label": label, "unit": unit, "trainer_key": trainer_key, "form": form, "chart": chart}
    return attrs.field(default=None, metadata=row)


@attrs.frozen(kw_only=True, slots=False)  # as the events, which are made for nearly every frame
class LogMetrics:
    """The metrics of one line of the training log, each None if the line does not have it.

    Attributes:
        step: optimizer steps done.
        loss: mean training loss per counted token since the last log, nats.
        eval_loss: mean loss on the held-out rows, nats.
        learning_rate: the step size in use, dimensionless.
        epoch: passes over the rows, fractional.
        samples_per_second: rows trained (or evaluated) a second.
        grad_norm: L2 norm of the gradient before it was scaled down, dimensionless.
        eval_mean_token_accuracy: share of the counted tokens of the held-out rows that are the model's likeliest ones,
            0 to 1.
        eval_score: the score of answers to held-out rows that ``metric_for_best_model`` names, 0 to 1.
    """

    step: int = 0
    loss: float | None = _metric("loss", unit="nats", trainer_key="loss", form=".4f", chart="loss")
    eval_loss: float | None = _metric("eval loss", unit="nats", trainer_key="eval_loss", form=".4f", chart="loss")
    learning_rate: float | None = _metric("learning rate", trainer_key="learning_rate", form=".3g", chart="request")
    epoch: float | None = _metric("epoch", unit="passes", trainer_key="epoch", form=".2f")
    samples_per_second: float | None = _metric(
        "samples/s", unit="rows a second", trainer_key="eval_samples_per_second", form=".1f", chart="request"
    )
    grad_norm: float | None = _metric("gradient norm", trainer_key="grad_norm", form=".3g", chart="request")
    eval_mean_token_accuracy: float | None = _metric(
        "eval accuracy", unit="share of the tokens", trainer_key="eval_mean_token_accuracy", form=".3f", chart="request"
    )
    eval_score: float | None = _metric(
        "eval score", unit="share of what is right", trainer_key="eval_score", form=".3f", chart="request"
    )


METRICS = tuple(Metric(name=field.name, **field.metadata) for field in attrs.fields(LogMetrics) if field.metadata)
EVAL_METRICS = tuple(metric for metric in METRICS if metric.name.startswith("eval_"))
METRIC_NAMES = tuple(metric.name for metric in METRICS)
COLUMNS = ("step", *METRIC_NAMES, "timestamp")
WIRE_COLUMNS = tuple(map(wire_name, COLUMNS))

# What a row has that is asked for without naming columns: what clients before the feature "figure-columns" read.
UNNAMED_WIRE_COLUMNS = ("step", "loss", "evalLoss", "learningRate", "epoch", "samplesPerSecond", "timestamp")


def plain_time(value: Any) -> str:
    """Return a time of the wire as it came; empty for anything else, which a spreadsheet might take for a formula."""
    return value if isinstance(value, str) and re.fullmatch(r"[0-9][0-9TZ:.+-]{0,39}", value) else ""
