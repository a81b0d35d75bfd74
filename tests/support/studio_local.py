"""A real ``arkor dev --local`` before a real backend with scripted workers, for all tests of a module."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest

from arkor.client.client import CloudApiClient
from arkor.client.project import ensure_project
from tests.support.backend import BackendProcess, Client, own_backend
from tests.support.studio import StudioProcess
from tests.support.tiny_model import write_tiny_model

ENTRY = """\
import arkor
{code}
trainer = arkor.create_trainer(name={name!r}, model={model!r}, dataset=arkor.LocalDataset("rows.jsonl"), max_steps=100)
"""


@attrs.frozen
class LocalStudio:
    """Both, and a client of the same project.

    Attributes:
        home: the HOME of Studio and of whoever is this user.
        project: the folder that Studio runs in.
        model: a folder that passes for a model.
    """

    studio: StudioProcess
    backend: BackendProcess
    client: Client
    home: Path
    project: Path
    model: Path

    def submit(self, name: str, **config: Any) -> str:
        """Submit a job, which does what its name says, and return its id."""
        wanted = {"model": str(self.model), "datasetSource": {"type": "huggingface", "name": "a/b"}, **config}
        answer = self.client.submit(name, wanted)
        assert answer.status_code in (200, 201), answer.text
        return str(answer.json()["job"]["id"])

    def write_entry(self, name: str, code: str = "") -> None:
        """Write the project's entry: a trainer, and what is run where it is imported."""
        entry = self.project / "src" / "arkor" / "index.py"
        entry.parent.mkdir(parents=True, exist_ok=True)
        entry.write_text(ENTRY.format(name=name, model=str(self.model), code=code))


@contextmanager
def local_studio(folder: Path) -> Iterator[LocalStudio]:
    """Run both in a folder of their own inside the block."""
    project, home = folder / "project", folder / "home"
    project.mkdir()
    row = {"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]}
    (project / "rows.jsonl").write_text(f"{json.dumps(row)}\n" * 3)
    with own_backend(home) as backend:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("HOME", str(home))
            ours = CloudApiClient.connect("local")
            scope = ensure_project(ours, project)
            ours.close()
            client = Client(backend.url, ours.identity.token, scope.org_slug, scope.project_slug)
            studio = StudioProcess("--local", project=project)
        with studio:
            yield LocalStudio(studio, backend, client, home, project, write_tiny_model(folder / "model"))
