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
        to: the format: ``adapter``, a folder that PEFT loads beside the base model; ``vllm``, an adapter that vLLM
            loads; ``merged``, a whole model of transformers; ``gguf``, one of llama.cpp; ``ollama``, the same with a
            Modelfile; or ``hub``, one of these (see ``upload``) that is uploaded to the Hugging Face hub with the token
            of this process's environment. The only setting that is required.
        step: the checkpoint that is exported; by default the final adapter.
        dtype: the number type of a merged model's weights: ``bfloat16`` (the default) or ``float16``.
        quantization: the number type of a GGUF file's weights: ``bf16`` (the default), ``f16``, ``q8_0``, ``q6_k``,
            ``q5_k_m``, ``q4_k_m`` or ``q4_0``. Those below 8 bits need llama.cpp's ``llama-quantize`` on the backend.
        adapter_only: whether a GGUF file has the adapter alone; False by default.
        check: whether what was made is loaded and compared with what chats get; True by default.
        repo: the repository of the Hugging Face hub that an export with ``to="hub"`` is uploaded to, ``owner/name``.
        upload: the format of what is uploaded with ``to="hub"``; ``adapter`` by default.
        private: whether a repository that is made is private; True by default.
        dest: the folder that gets the export; by default ``exports``.
        timeout: seconds for the whole call.
        abort_event: ends the call at once when set. The export goes on.
        on_progress: called on this thread with the ``Export`` whenever it was asked how far it is.
    """

    to: str
    step: int | None
    dtype: str | None
    quantization: str | None
    adapter_only: bool
    check: bool
    repo: str
    upload: str
    private: bool
    dest: str | Path
    timeout: float | None
    abort_event: threading.Event | None
    on_progress: Callable[[Export], object] | None
