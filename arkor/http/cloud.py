"""Arkor Cloud's address: the backend unless you choose another one.

Protocol: docs/protocol.md, "Addressing a backend".
"""

from __future__ import annotations

CLOUD_API_URL = "https://api.arkor.ai"
