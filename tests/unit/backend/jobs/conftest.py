"""A store with a project in it, for the tests of jobs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from arkor.backend.settings import Settings
from arkor.backend.store import Store
from tests.support.databases import open_for
from tests.support.scripted_engine import House, ScriptedEngine


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    store = Store(open_for(tmp_path), tmp_path)
    _, identity = store.tenants.create_anonymous("cli")
    project = store.tenants.create_project(identity.org, "p", "P")
    assert project is not None
    settings = Settings(data=tmp_path, lease_s=0.5, first_lease_s=5.0, cancel_grace_s=0.1, stop_grace_s=1.0)
    yield House(store, project, ScriptedEngine(), settings)
    store.close()
