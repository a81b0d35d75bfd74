"""The options of a reproduction, as Python has them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypedDict

from arkor.protocol.jobs import TrainingJob


class ReproduceOptions(TypedDict, total=False):
    """What a reproduction may be told.

    Attributes:
        anyway: whether to train again although the versions, the machine, the model, the rows or the settings differ
            from those of the job; False by default.
        with_job: the id of a job that an earlier call started: it is waited for and compared, and no new one is made.
        timeout: seconds for the whole call.
        abort_event: ends the call at once when set. The job goes on.
        on_progress: called on this thread with the new ``TrainingJob`` whenever the backend was asked for it.
    """

    anyway: bool
    with_job: str | None
    timeout: float | None
    abort_event: threading.Event | None
    on_progress: Callable[[TrainingJob], object] | None
