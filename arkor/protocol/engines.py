"""The programs that compute answers, and the number types in which llama.cpp does.

Protocol: docs/protocol.md, "Inference".
"""

from __future__ import annotations

AUTO = "auto"
TRANSFORMERS = "transformers"
LLAMA_CPP = "llama.cpp"
ENGINES = (AUTO, LLAMA_CPP, TRANSFORMERS)
BF16 = "bf16"
LLAMA_CPP_DTYPES = (BF16, "q8_0")
