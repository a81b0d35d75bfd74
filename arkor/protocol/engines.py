"""The programs that compute answers, the number types in which llama.cpp does, and what runs the workers.

Protocol: docs/protocol.md, "Inference".
"""

from __future__ import annotations

AUTO = "auto"
TRANSFORMERS = "transformers"
LLAMA_CPP = "llama.cpp"
ENGINES = (AUTO, LLAMA_CPP, TRANSFORMERS)
BF16 = "bf16"
LLAMA_CPP_DTYPES = (BF16, "q8_0")
PROCESS = "process"
RAY = "ray"
WORKER_ENGINES = (PROCESS, RAY)
