"""The options of an evaluation, as Python has them.

Protocol: docs/protocol.md, "Evaluations".
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict

from arkor.data.datasets import Dataset
from arkor.evaluation.own_scores import OwnScorer
from arkor.options import unknown_option
from arkor.protocol.evaluations import Evaluation
from arkor.protocol.jobs import AdapterRef

Progress = Callable[[Evaluation], object]


class EvaluateOptions(TypedDict, total=False):
    """What an evaluation may say.

    Attributes:
        rows: ``held_out`` (the default), the rows that the job held out; or a data set, or a path for ``LocalDataset``.
        limit: the most rows that are asked, 0 to 1000; 50 by default. They are chosen at random, the same ones each
            time.
        scorers: names of built-in scorers; functions of your own, ``f(expected, answer)``, which return a number from 0
            to 1, or True or False; and a ``judge``. The latter two run in this process. By default the built-in scorers
            that fit the rows.
        against: what the adapter is compared with: ``base`` (the default), or the adapter of another job with the same
            model: its id, or an ``AdapterRef``.
        checkpoints: steps of checkpoints that answer too, at most 8.
        max_tokens: longest answer in tokens; by default twice the longest expected answer, at least 16.
        retention: whether 40 general questions are asked too, which tell whether the adapter forgot something; True by
            default.
        check: whether the adapter that answers is checked against the one that was trained; True by default.
        timeout: seconds for the whole call.
        abort_event: ends the call at once when set. The evaluation goes on.
        on_progress: called on this thread with the ``Evaluation`` whenever it was asked how far it is.
    """

    rows: Dataset | Mapping[str, Any] | str | Path
    limit: int
    scorers: Sequence[str | OwnScorer] | None
    against: AdapterRef | Mapping[str, Any] | str
    checkpoints: Sequence[int]
    max_tokens: int | None
    retention: bool
    check: bool
    timeout: float | None
    abort_event: threading.Event | None
    on_progress: Progress | None


def check_known(options: Mapping[str, Any]) -> None:
    """Raise UnknownOption if an evaluation has no such option; the error names the nearest one."""
    for name in options:
        if name not in EvaluateOptions.__annotations__:
            raise unknown_option("An evaluation", name, EvaluateOptions.__annotations__)
