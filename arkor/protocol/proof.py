"""How a backend proves that it knows a secret, before a token is sent to it.

To clients this user's own backend proves that it wrote ``server.json``, to a worker that it knows the attempt's token.

Protocol: docs/protocol.md, "The home folder" and "Worker reports".
"""

from __future__ import annotations

import hashlib
import hmac
import http.client
import json
import re
import secrets
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

CHALLENGE_HEADER = "X-Arkor-Challenge"

_BYTES = 32
_LONGEST_ANSWER = 64 * 1024
_CHALLENGE = re.compile(rf"[0-9a-f]{{{2 * _BYTES}}}")


def new_secret() -> str:
    """Return the secret of one backend process, which only the file of its address carries."""
    return secrets.token_hex(_BYTES)


def secret_of(token: str) -> str:
    """Return the secret that a token's holder and the backend that issued it share: its SHA-256, in hexadecimal digits.

    The backend stores nothing else of the token.
    """
    return hashlib.sha256(token.encode()).hexdigest()


def attempt_secret(token_hash: str, port: int) -> str:
    """Return what a backend proves to a worker: that it knows the attempt's token, and listens on the port itself.

    Without the port, another program on the backend's former port could pass challenges on to the backend.

    Args:
        token_hash: ``secret_of`` the attempt's token.
        port: the port that the worker connects to.
    """
    return f"{token_hash}:{port}"


def port_of(url: str) -> int:
    """Return the port that a URL leads to."""
    parts = urlsplit(url)
    return parts.port or (443 if parts.scheme == "https" else 80)


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


def is_proven(connection: http.client.HTTPConnection, path: str, headers: Mapping[str, str], secret: str) -> bool:
    """Let the other end of a connection prove that it knows a secret.

    Args:
        connection: the connection; it can be used for further requests afterwards.
        path: the address that answers challenges.
        headers: headers of the request, without a token.
        secret: the secret.

    Returns:
        False if the proof is wrong or missing.

    Raises:
        OSError: it does not answer, which says nothing of who it is.
    """
    challenge = new_challenge()
    connection.request("GET", path, headers={**headers, CHALLENGE_HEADER: challenge})
    try:
        answer = json.loads(connection.getresponse().read(_LONGEST_ANSWER))
    except OSError:
        raise
    except (http.client.HTTPException, ValueError, RecursionError):  # neither HTTP nor JSON
        return False
    return isinstance(answer, Mapping) and is_proof(answer.get("proof"), secret, challenge)
