from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from arkor.backend.app import create_app
from arkor.backend.backend import Backend
from arkor.backend.settings import Settings
from tests.support.databases import database_url


@pytest.fixture
def backend(tmp_path: Path) -> Iterator[Backend]:
    """The parts of a backend, which is not started."""
    backend = Backend(Settings(data=tmp_path / "data", database=database_url(tmp_path / "data")), "http://127.0.0.1:1")
    yield backend
    backend.close()


@pytest.fixture
def http(backend: Backend) -> FlaskClient:
    """Its application, without a port."""
    return create_app(backend).test_client()
