from __future__ import annotations

from collections.abc import Iterator

import pytest

from arkor.http.transport import Transport
from tests.support.cloud import Cloud


@pytest.fixture
def known(cloud: Cloud) -> Iterator[Transport]:
    """A transport whose token the stand-in accepts."""
    cloud.know("secret", "org")
    transport = Transport(cloud.url, "secret")
    yield transport
    transport.close()
