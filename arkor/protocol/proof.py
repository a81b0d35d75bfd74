"""How this user's own backend proves that it wrote ``server.json``, without a token being sent.

Protocol: docs/protocol.md, "The home folder".
"""

from __future__ import annotations

import hmac
import re
import secrets
from typing import Any

CHALLENGE_HEADER = "X-Arkor-Challenge"

_BYTES = 32
_CHALLENGE = re.compile(rf"[0-9a-f]{{{2 * _BYTES}}}")


def new_secret() -> str:
    """Return the secret of one backend process, which only the file of its address carries."""
    return secrets.token_hex(_BYTES)


def new_challenge() -> str:
    """Return a challenge that was never used before."""
    return secrets.token_hex(_BYTES)


def is_challenge(text: str) -> bool:
    """Say whether a header's value has the form of a challenge: 64 hexadecimal digits in lower case."""
    return _CHALLENGE.fullmatch(text) is not None


def proof_of(secret: str, challenge: str) -> str:
    """Return the proof that somebody knows the secret: HMAC-SHA256 of the challenge, in hexadecimal digits."""
    return hmac.digest(secret.encode(), challenge.encode(), "sha256").hex()


def is_proof(proof: Any, secret: str, challenge: str) -> bool:
    """Say whether an answer's ``proof``, of any type, is the right one."""
    right = proof_of(secret, challenge).encode()
    return isinstance(proof, str) and hmac.compare_digest(proof.encode(errors="replace"), right)
