from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import s3
from tests.support.backend import BackendProcess, Client
from tests.support.job_tasks import complete
from tests.support.tiny_model import write_tiny_model


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder that looks like a very small model."""
    return str(write_tiny_model(tmp_path_factory.mktemp("model")))


@pytest.fixture(scope="session")
def config(model: str) -> dict[str, Any]:
    """The least that a job needs."""
    return {"model": model, "datasetSource": {"type": "huggingface", "name": "owner/rows"}}


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BackendProcess]:
    """One backend for all tests that neither stop nor kill it."""
    backend = BackendProcess(tmp_path_factory.mktemp("shared"), stream_cap=16).start()
    yield backend
    backend.close()


@pytest.fixture(scope="session")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An S3."""
    with s3.moto_server(tmp_path_factory.mktemp("moto") / "log") as url:
        yield url


@pytest.fixture(scope="module", params=["folder", "s3"])
def where(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A storage beside the data folder."""
    if request.param == "folder":
        yield str(tmp_path_factory.mktemp("storage"))
        return
    with pytest.MonkeyPatch.context() as environment:
        for name, value in {**s3.VARIABLES, "AWS_ENDPOINT_URL": request.getfixturevalue("endpoint")}.items():
            environment.setenv(name, value)
        yield f"s3://{s3.BUCKET}/shared"


@pytest.fixture
def client(shared: BackendProcess) -> Client:
    """A new identity with a project of its own at the shared backend."""
    return shared.client()


@pytest.fixture
def prepare(tmp_path: Path) -> Iterator[Callable[..., BackendProcess]]:
    """Make a backend of the test's own, not started yet; its options are keyword arguments."""
    made: list[BackendProcess] = []

    def make(**options: Any) -> BackendProcess:
        made.append(BackendProcess(tmp_path / f"backend-{len(made)}", **options))
        return made[-1]

    yield make
    for backend in made:
        backend.close()


@pytest.fixture
def start(prepare: Callable[..., BackendProcess]) -> Callable[..., BackendProcess]:
    """Start a backend of the test's own; its options are keyword arguments."""
    return lambda **options: prepare(**options).start()


@pytest.fixture
def trained(client: Client, shared: BackendProcess, config: dict[str, Any]) -> str:
    """A job that completed, with a checkpoint; its worker has left."""
    return complete(client, shared, config)
