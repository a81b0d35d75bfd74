"""What a trainer submits: its name, its settings and its rows, checked and made ready before there is a job.

Protocol: docs/protocol.md, "Jobs" and "Self-hosted backend".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import attrs

from arkor.api.abort import pause
from arkor.api.client import CloudApiClient
from arkor.config import JobConfig
from arkor.datasets import LocalDataset, check_rows
from arkor.errors import DatasetError, ModelError
from arkor.jobs import Scope, TrainingJob

MODEL_POLL_S = 0.5

ModelProgress = Callable[[Mapping[str, Any]], object]


@attrs.frozen(kw_only=True)
class Submission:
    """A job that is not submitted yet.

    Attributes:
        name: what to call it.
        config: its settings; those of a local data set lack its id until it was sent.
        rows: the rows of a local data set, or None.
    """

    name: str
    config: JobConfig
    rows: LocalDataset | None

    def check_rows(self, project_dir: Path) -> Path | None:
        """Check the rows of a local data set, and return its file.

        Args:
            project_dir: where a relative path starts.

        Raises:
            DatasetError: they cannot be trained on.
        """
        if self.rows is None:
            return None
        file = project_dir / self.rows.path
        try:
            with file.open("rb") as lines:
                check_rows(str(self.rows.path), lines)
        except OSError as exc:
            raise DatasetError(str(self.rows.path), f"cannot be read: {exc.strerror} ({file.absolute()})") from exc
        return file

    def prepare(
        self, client: CloudApiClient, scope: Scope, file: Path | None, on_model_progress: ModelProgress | None
    ) -> JobConfig:
        """Let the backend fetch the model, and send it the rows.

        Args:
            client: the backend.
            scope: the project.
            file: the checked rows, or None.
            on_model_progress: called while the backend fetches the model, with how far it is.

        Returns:
            The settings to submit.

        Raises:
            ModelError: the model cannot be fetched.
        """
        _fetch_model(client, self.config.model, on_model_progress)
        if file is None:
            return self.config
        return attrs.evolve(self.config, dataset_source=client.upload_dataset(scope, file).to_wire())

    def differences(self, job: TrainingJob) -> list[str]:
        """Return the wire names of the settings that a job was submitted with otherwise."""
        wanted = self.config.to_wire()
        return [key for key, value in wanted.items() if value != {} and job.config.get(key) != value]


def _fetch_model(client: CloudApiClient, model: str, on_progress: ModelProgress | None) -> None:
    """Let the backend fetch a model that it knows by name but does not have, and wait for it."""
    if "models" not in client.features:
        return
    asked = False
    while True:
        status = next((item for item in client.list_models() if item.id == model), None)
        if status is None or status.ready:
            return
        if asked and status.pull.get("state") != "running":
            raise ModelError(f"Model {model} cannot be fetched: {status.pull.get('error') or 'no reason given'}")
        if not asked:
            client.pull_model(model)
            asked = True
        elif on_progress is not None:
            on_progress(status.pull)
        pause(MODEL_POLL_S)
