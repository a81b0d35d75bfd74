"""Answering chats, the server's side: what is asked of which model, and the process that knows the answer."""

from arkor.backend.inference.service import Inference
from arkor.backend.inference.targets import Targets

__all__ = ["Inference", "Targets"]
