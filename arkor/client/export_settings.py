"""The settings of an export, as Python has them.

Protocol: docs/protocol.md, "Exports".
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypedDict

from arkor.protocol.exports import Export


class ExportSettings(TypedDict, total=False):
    """What an export may say.

    Attributes:
        to: the format: ``adapter``, a folder that PEFT and vLLM load beside the base model; or ``merged``, a whole
            model of transformers. The only one that is required.
        step: the checkpoint that is exported; by default the final adapter.
        dtype: the number type of a merged model's weights: ``bfloat16`` (the default) or ``float16``.
        check: whether what was made is loaded and compared with what chats get; True by default.
        dest: the folder that gets the export; by default ``exports``.
        timeout: seconds for the whole call.
        abort_event: ends the call at once when set. The export goes on.
        on_progress: called on this thread with the ``Export`` whenever it was asked how far it is.
    """

    to: str
    step: int | None
    dtype: str | None
    check: bool
    dest: str | Path
    timeout: float | None
    abort_event: threading.Event | None
    on_progress: Callable[[Export], object] | None
