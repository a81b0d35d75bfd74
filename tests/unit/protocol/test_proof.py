"""The proof that this user's own backend gives."""

from __future__ import annotations

import hashlib
import hmac
from typing import Any

import pytest

from arkor.protocol.proof import is_challenge, is_proof, new_challenge, new_secret, proof_of


def test_a_proof_is_the_hmac_of_the_challenge() -> None:
    """SHA-256, in hexadecimal digits, keyed with the secret as it is in the file."""
    secret, challenge = new_secret(), new_challenge()
    proof = hmac.new(secret.encode(), challenge.encode(), hashlib.sha256).hexdigest()
    assert proof_of(secret, challenge) == proof
    assert is_proof(proof, secret, challenge)


def test_secrets_and_challenges_are_used_once() -> None:
    """A former proof is worth nothing."""
    assert len({new_secret() for _ in range(10)} | {new_challenge() for _ in range(10)}) == 20
    assert is_challenge(new_challenge())
    assert not is_challenge(new_challenge() + "\n")


@pytest.mark.parametrize("proof", [None, 1, True, [], {}, "", "x", "é", "\ud800", proof_of("other", "challenge")])
def test_anything_else_proves_nothing(proof: Any) -> None:
    """A stranger answers as it likes."""
    assert not is_proof(proof, "secret", "challenge")
