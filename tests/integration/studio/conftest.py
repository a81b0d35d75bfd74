from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from flask.testing import FlaskClient


@pytest.fixture(scope="package", autouse=True)
def _heed_signals() -> Iterator[None]:
    """Let these reach Studio also where the tests run in the background or under nohup, which ignore them."""
    before_int = signal.signal(signal.SIGINT, signal.default_int_handler)
    before_hup = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGINT, before_int)
    signal.signal(signal.SIGHUP, before_hup)


@pytest.fixture
def page(project: Path) -> Iterator[FlaskClient]:
    """A page's side of its API, without a network between."""
    from arkor.studio.state import Studio
    from tests.support.studio_server import api

    studio = Studio.of(project, local=False)
    yield api(studio)
    studio.stopping.set()
