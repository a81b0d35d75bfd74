"""What a trainer submits: its name, its settings and its rows, checked and made ready before there is a job.

Protocol: docs/protocol.md, "Jobs" and "Self-hosted backend".
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from arkor.client.client import CloudApiClient
from arkor.client.result import TrainingResult, final_adapter
from arkor.data.checked import CheckedDataset
from arkor.data.datasets import Dataset, LocalDataset, opened, parse_dataset
from arkor.data.formats import format_to_wire, split_to_wire
from arkor.errors import ConfigError, ModelError
from arkor.http.abort import pause
from arkor.protocol import wire
from arkor.protocol.checks import NAME, Json
from arkor.protocol.config import JobConfig, LoraConfig
from arkor.protocol.evaluations import EvaluationOptions, evaluation_to_wire
from arkor.protocol.jobs import AdapterRef, Scope, TrainingJob
from arkor.protocol.progress import Progress
from arkor.protocol.samples import prompts_to_wire
from arkor.text import short_repr
from arkor.trainer.phases import HELD_OUT, READING, UPLOADING

MODEL_POLL_S = 0.5

_ROLES = {"dataset_source": "", "eval_dataset_source": HELD_OUT}

StartProgress = Callable[[Mapping[str, Any]], object]


@attrs.frozen(kw_only=True)
class Submission:
    """A job that is not submitted yet.

    Attributes:
        name: what to call it.
        config: its settings; where rows are to be sent first, they lack where those are.
        rows: rows of this machine, by the setting that will say where they are: ``dataset_source``,
            ``eval_dataset_source``.
    """

    name: str
    config: JobConfig
    rows: Mapping[str, LocalDataset | CheckedDataset]

    @classmethod
    def of(
        cls,
        *,
        name: str,
        base_adapter: AdapterRef | TrainingResult | Mapping[str, Any] | str | None,
        dataset: Dataset | Mapping[str, Any] | str | Path,
        eval_dataset: Dataset | Mapping[str, Any] | str | Path | None,
        lora: LoraConfig | Mapping[str, Any] | None,
        allow_dropped_fields: Sequence[str] | None,
        dataset_format: Json | None,
        dataset_split: Json | None,
        evaluation: EvaluationOptions | Mapping[str, Any] | bool | None = None,
        sample_prompts: int | Sequence[Any] | None = None,
        **settings: Any,
    ) -> Submission:
        """Return the submission of a trainer's settings; all are those of ``Trainer``, further ones go on as they are.

        Raises:
            ConfigError: a setting is out of its range.
        """
        if not NAME.accepts(name):
            raise ConfigError("name", f"must be {NAME.words}, not {short_repr(name)}")
        source = parse_dataset(dataset)
        eval_source = None if eval_dataset is None else parse_dataset(eval_dataset, "eval_dataset")
        sources = {"dataset_source": source, "eval_dataset_source": eval_source}
        config = JobConfig(
            base_adapter=None if base_adapter is None else _adapter_to_wire(base_adapter),
            dataset_source=_source_to_wire(source),
            eval_dataset_source=None if eval_source is None else _source_to_wire(eval_source),
            dataset_format=format_to_wire(dataset_format),
            dataset_split=split_to_wire(dataset_split),
            evaluation=evaluation_to_wire(evaluation),
            sample_prompts=prompts_to_wire(sample_prompts),
            allow_dropped_fields=None if allow_dropped_fields is None else list(allow_dropped_fields),
            **settings,
            **(LoraConfig.parse(lora).to_settings() if lora is not None else {}),
        )
        rows = {setting: one for setting, one in sources.items() if isinstance(one, (LocalDataset, CheckedDataset))}
        return cls(name=name, config=config, rows=rows)

    @contextlib.contextmanager
    def checked_rows(
        self, project_dir: Path, on_progress: StartProgress | None = None
    ) -> Iterator[dict[str, CheckedDataset]]:
        """Have the rows of this machine, all of them checked, inside the block, by setting as in ``rows``.

        Args:
            project_dir: where a relative path starts.
            on_progress: see ``Trainer.start``.

        Raises:
            DatasetError: they cannot be trained on.
        """
        with contextlib.ExitStack() as open_files:
            yield {
                setting: open_files.enter_context(
                    opened(rows, project_dir, _telling_of_bytes(on_progress, READING + _ROLES[setting]))
                )
                for setting, rows in self.rows.items()
            }

    def prepare(
        self,
        client: CloudApiClient,
        scope: Scope,
        rows: Mapping[str, CheckedDataset],
        on_progress: StartProgress | None,
    ) -> JobConfig:
        """Let the backend fetch the model, and send it the rows.

        Args:
            client: the backend.
            scope: the project.
            rows: the checked rows, by setting as in ``rows``.
            on_progress: see ``Trainer.start``.

        Returns:
            The settings to submit.

        Raises:
            ModelError: the model cannot be fetched.
            DatasetError, UnsupportedByBackend: as ``send_rows`` raises.
            UnsupportedByBackend: the backend would pass over a setting.
        """
        client.check_settings(self.config)
        fetch_model(client, self.config.model, on_progress)
        return self.send_rows(client, scope, rows, on_progress)

    def send_rows(
        self,
        client: CloudApiClient,
        scope: Scope,
        rows: Mapping[str, CheckedDataset],
        on_progress: StartProgress | None = None,
    ) -> JobConfig:
        """Send the backend the rows, and return the settings with where they are.

        Args: see ``prepare``.

        Raises:
            DatasetError: the rows changed meanwhile, or the backend found bad ones.
            UnsupportedByBackend: the backend takes no uploads.
        """
        sources: dict[str, Any] = {}
        for setting, checked in rows.items():
            tell = _telling_of_bytes(on_progress, UPLOADING + _ROLES[setting])
            sources[setting] = client.upload_dataset(scope, checked, on_progress=tell).to_wire()
        return attrs.evolve(self.config, **sources)

    def differences(self, job: TrainingJob) -> list[str]:
        """Return the wire names of the settings that a job was submitted with otherwise."""
        wanted = self.config.to_wire()
        return [
            key for key, value in wanted.items() if value != {} and _lasting(job.config.get(key)) != _lasting(value)
        ]


def _lasting(value: Any) -> Any:
    """Return a setting without what a backend takes out, a source's token, and adds, the hash of an adapter."""
    if not isinstance(value, Mapping):
        return value
    return {key: item for key, item in value.items() if key not in {"token", "sha256"}}


def _adapter_to_wire(adapter: AdapterRef | TrainingResult | Mapping[str, Any] | str) -> Mapping[str, Any]:
    if isinstance(adapter, TrainingResult):
        return final_adapter(adapter, "base_adapter").to_wire()
    if isinstance(adapter, str):
        return AdapterRef("final", adapter).to_wire()
    if isinstance(adapter, AdapterRef):
        return adapter.to_wire()
    return {wire.wire_name(name): value for name, value in adapter.items()} if isinstance(adapter, Mapping) else adapter


def _source_to_wire(source: Dataset) -> dict[str, Any]:
    """Return where rows are; nothing as long as they are on this machine."""
    return {} if isinstance(source, (LocalDataset, CheckedDataset)) else source.to_wire()


def _telling_of_bytes(on_progress: StartProgress | None, phase: str) -> Progress | None:
    if on_progress is None:
        return None
    return lambda done, total: on_progress({"phase": phase, "done": done, "total": total})


def fetch_model(client: CloudApiClient, model: str, on_progress: StartProgress | None) -> None:
    """Let the backend fetch a model that it knows by name but does not have, and wait for it.

    Args:
        client: the backend.
        model: as a job names it; one that the backend does not know by name is passed over.
        on_progress: see ``Trainer.start``.

    Raises:
        ModelError: the model cannot be fetched.
    """
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
            on_progress({**status.pull, "model": model})
        pause(MODEL_POLL_S)
