from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.auth0 import Auth0, trusted_auth0
from tests.support.cloud import Cloud


@pytest.fixture
def auth0(cloud: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Auth0]:
    """A stand-in for Auth0 that accounts of ``cloud`` log in at."""
    with trusted_auth0(cloud, tmp_path, monkeypatch) as running:
        yield running
