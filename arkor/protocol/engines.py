"""The programs that compute answers.

Protocol: docs/protocol.md, "Inference".
"""

from __future__ import annotations

TRANSFORMERS = "transformers"
LLAMA_CPP = "llama.cpp"
ENGINES = (TRANSFORMERS, LLAMA_CPP)
