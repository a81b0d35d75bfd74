"""Addresses of downloads: secret, for one use, for a minute."""

from __future__ import annotations

import time

import pytest

from arkor.studio import download_links
from arkor.studio.download_links import Links


def test_an_address_is_for_one_use() -> None:
    """No two are alike, and none can be guessed."""
    made = Links()
    secrets = [made.make("job_1", "adapter"), made.make("job_1", "checkpoint-2")]
    assert len(set(secrets)) == 2
    assert all(len(secret) >= 43 for secret in secrets)
    assert made.use(secrets[1]) == ("job_1", "checkpoint-2")
    assert made.use(secrets[1]) is None
    assert made.use("guessed") is None
    assert made.use(secrets[0]) == ("job_1", "adapter")


def test_an_address_gets_too_old(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a minute it is for nothing."""
    made, now = Links(), time.monotonic()
    young, old = made.make("job_1", "a"), made.make("job_1", "b")
    monkeypatch.setattr(time, "monotonic", lambda: now + 55)
    assert made.use(young) == ("job_1", "a")
    monkeypatch.setattr(time, "monotonic", lambda: now + 61)
    assert made.use(old) is None


def test_only_so_many_addresses_are_kept() -> None:
    """The oldest go first."""
    made = Links()
    secrets = [made.make("job_1", str(number)) for number in range(download_links.MOST_LINKS + 1)]
    assert made.use(secrets[0]) is None
    assert made.use(secrets[1]) == ("job_1", "1")
