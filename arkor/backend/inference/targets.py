"""Which model is to answer, found from what the request names.

Protocol: docs/protocol.md, "Inference": ``adapter`` and ``baseModel``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import attrs

from arkor.backend.inference.adapter_cache import AdapterFolder
from arkor.backend.models.catalogue import CATALOGUE, folder_problem
from arkor.backend.models.hub import is_cached, is_hub_id
from arkor.backend.models.naming import local_folder
from arkor.backend.settings import Settings
from arkor.backend.storage import keys
from arkor.backend.storage.interface import Content, Storage
from arkor.backend.store import Store
from arkor.backend.store.tenants import Project
from arkor.errors import ModelError, ObjectMissing
from arkor.protocol import wire
from arkor.protocol.jobs import ADAPTER_KIND, TERMINAL_STATUSES, AdapterRef, Artifact, TrainingJob
from arkor.serving.refusal import Refusal


@attrs.frozen(kw_only=True)
class Target:
    """A model that is ready to answer.

    Attributes:
        name: what the answer calls it.
        base: the base model's folder, or its id in the hub's cache.
        adapter: the adapter's name and folder, or None.
        template_options: what the adapter was trained with beside the conversations, see ``Prompts``.
        escape_special_tokens: whether it was trained with the special tokens in messages as text, see ``Prompts``.
    """

    name: str
    base: str
    adapter: tuple[str, str] | None = None
    template_options: Mapping[str, Any] = attrs.field(factory=dict, hash=False)
    escape_special_tokens: bool = False

    def to_line(self) -> dict[str, Any]:
        """Return its part of a question to the chat process."""
        adapter = self.adapter and {"name": self.adapter[0], "path": self.adapter[1]}
        return {
            "base": self.base,
            "adapter": adapter,
            "templateOptions": dict(self.template_options),
            "escapeSpecialTokens": self.escape_special_tokens,
        }


class Targets:
    """Finds models. Thread-safe.

    Args:
        settings: which model folders are allowed, and where adapters are unpacked.
        store: the jobs and what they made.
        storage: has the adapters.
    """

    def __init__(self, settings: Settings, store: Store, storage: Storage) -> None:
        self._settings = settings
        self._store = store
        self._storage = storage
        self._adapters = AdapterFolder(settings.adapters_folder)

    def find(self, fields: Mapping[str, Any], project: Project) -> Target:
        """Find the model that ``adapter`` or ``baseModel`` names.

        Args:
            fields: the request's, in wire names.
            project: whose jobs may be named.

        Raises:
            Refusal: 400 both, neither or a malformed one; 404 no such job or model; 409 it is not there yet; 410 it
                is no longer in the storage.
            StorageError: the storage cannot be used.
        """
        adapter, model = fields.get("adapter"), fields.get("baseModel")
        if (adapter is None) == (model is None):
            raise Refusal(400, "Give either adapter or baseModel, the model that is to answer.")
        if adapter is not None:
            return self._adapter(read_adapter(adapter), project)
        if not isinstance(model, str) or not model:
            raise Refusal(400, f"baseModel: must be a model's name, not {model!r:.100}.")
        return Target(name=model, base=ready_model(model, self._settings.model_root))

    def forget(self, adapters: Iterable[str]) -> None:
        """Remove the copies of adapters that no job has any more. A chat that is under way has its own in memory.

        Args:
            adapters: the SHA-256 of their artifacts.
        """
        for sha256 in adapters:
            self._adapters.remove(sha256)

    def _adapter(self, wanted: AdapterRef, project: Project) -> Target:
        found = find_adapter(wanted, project, self._store)
        config = found.job.config
        base = ready_model(str(config["model"]), self._settings.model_root)
        return Target(
            name=f"{found.job.id}:{found.artifact.name}",
            base=base,
            adapter=(found.content.sha256, str(self._unpacked(found))),
            template_options=wire.mapping(config.get("chatTemplateKwargs")),
            escape_special_tokens=config.get("escapeSpecialTokens") is True,
        )

    def _unpacked(self, found: FoundAdapter) -> Path:
        """Return the folder of an adapter; one that is unpacked is not looked for in a storage over a network.

        Raises:
            Refusal: 410, the storage does not have it any more.
        """
        if self._storage.path(found.key) is not None:
            check_stored(found, self._storage)
        try:
            return self._adapters.unpack(found.key, found.content, self._storage)
        except ObjectMissing:
            raise gone(found.job.id, found.artifact) from None


@attrs.frozen
class FoundAdapter:
    """An adapter that a job made.

    Attributes:
        job: made it.
        artifact: what is known of its file.
    """

    job: TrainingJob
    artifact: Artifact

    @property
    def key(self) -> str:
        """The key of its archive in the storage."""
        return keys.artifact(self.job.id, self.artifact.name)

    @property
    def content(self) -> Content:
        """The content of its archive."""
        return content_of(self.artifact)


def content_of(artifact: Artifact) -> Content:
    """Return the content of an artifact's archive; every registered one has a SHA-256."""
    return Content(artifact.size_bytes, artifact.sha256 or "")


def gone(job_id: str, artifact: Artifact) -> Refusal:
    """Return the refusal for an artifact whose archive is not there any more."""
    return Refusal(410, f"Artifact {artifact.name} of job {job_id} is no longer in the backend's storage.")


def check_stored(found: FoundAdapter, storage: Storage) -> None:
    """Find out whether the storage has an adapter's archive.

    Raises:
        Refusal: 410, it does not.
        StorageError: the storage cannot be used.
    """
    if storage.size(found.key) is None:
        raise gone(found.job.id, found.artifact)


def find_adapter(wanted: AdapterRef, project: Project, store: Store) -> FoundAdapter:
    """Find an adapter of a job; ``check_stored`` says whether its archive is there.

    Args:
        wanted: which one.
        project: whose jobs may be named.
        store: the jobs and what they made.

    Raises:
        Refusal: 404 no such job; 409 it is not there yet, or never will be.
    """
    job = store.jobs.get(project, wanted.job_id)
    if job is None:
        raise Refusal(404, f"There is no job {wanted.job_id!r:.100} in this project.")
    return FoundAdapter(job, _artifact(job, wanted, store))


def _artifact(job: TrainingJob, wanted: AdapterRef, store: Store) -> Artifact:
    found = [artifact for artifact in store.events.artifacts(job.id) if artifact.kind == ADAPTER_KIND]
    for artifact in found:
        if artifact.step == wanted.step:
            return artifact
    what = "final adapter" if wanted.step is None else f"checkpoint of step {wanted.step}"
    yet = "" if job.status in TERMINAL_STATUSES else " yet"
    has = f"; it has {', '.join(artifact.name for artifact in found)}" if found else ""
    raise Refusal(409, f"Job {job.id} has no {what}{yet}: it is {job.status}{has}.")


def read_adapter(value: Any) -> AdapterRef:
    """Read ``adapter``.

    Raises:
        Refusal: 400, it is malformed.
    """
    adapter = AdapterRef.from_wire(value)
    if adapter is None:
        raise Refusal(400, 'adapter: must be {"kind": "final", "jobId"} or {"kind": "checkpoint", "jobId", "step"}.')
    return adapter


def ready_model(name: str, root: Path | None) -> str:
    """Return what transformers loads a model from; nothing is fetched for a chat.

    Args:
        name: a catalogue name, a folder, or a hub id.
        root: folder below which model folders have to lie; None allows none.

    Raises:
        Refusal: 404 there is no such folder or name, or the folder is outside ``root``; 409 it has to be fetched first.
    """
    try:
        folder = local_folder(name, root)
    except ModelError as exc:
        raise Refusal(404, str(exc)) from exc
    if folder is None:
        if not _is_cached(name):
            raise Refusal(409, f"Model {name!r:.200} is not on the backend's machine: {_how_to_get(name)}.")
        return name
    problem = folder_problem(folder)
    if problem is None:
        return str(folder)
    if name in CATALOGUE:
        raise Refusal(409, f"Model {name} is not there yet: run `arkor models pull {name}`, or start a job with it.")
    raise Refusal(404, f"The model folder {name!r:.200} {problem}.")


def _is_cached(name: str) -> bool:
    try:
        return is_cached(name)
    except ValueError:  # no id at all
        return False


def _how_to_get(name: str) -> str:
    known = ", ".join(sorted(CATALOGUE))
    advice = f"run `hf download {name}` there, or start a job with it; " if is_hub_id(name) else ""
    return f"{advice}by name it knows {known}"
