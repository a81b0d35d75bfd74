"""Every call a backend answers, one method each; the other modules of calls bring theirs.

Protocol: docs/protocol.md, "Identity", "Project routing", "Jobs", "Inference", "Self-hosted backend".
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import requests

from arkor.auth.credentials import default_cloud_api_url
from arkor.auth.identity import LOCAL_HOST_KEY, forget, identity_for
from arkor.client import local_backend
from arkor.client.chat import (
    ANSWER_TIMEOUT_S,
    IDLE_TIMEOUT_S,
    ChatOptions,
    ChatResponse,
    CompletionOptions,
    newer_options,
    question_body,
)
from arkor.client.deployments import DeploymentCalls
from arkor.client.downloads import download
from arkor.client.evaluations import EvaluationCalls
from arkor.client.exports import ExportCalls
from arkor.client.history import HistoryCalls
from arkor.client.previews import PreviewCalls
from arkor.client.uploads import upload
from arkor.data.checked import CheckedDataset
from arkor.data.datasets import LocalDataset, UploadedDataset, opened
from arkor.errors import AuthenticationError
from arkor.http.abort import AbortScope, Deadline
from arkor.http.connections import CONNECT_TIMEOUT_S
from arkor.http.transport import path
from arkor.protocol import wire
from arkor.protocol.jobs import AdapterRef, Artifact, Scope
from arkor.protocol.progress import Progress

if TYPE_CHECKING:
    from typing import Unpack  # Python 3.11; the type checker alone reads it


@attrs.frozen
class Project:
    """A project of an organisation.

    Attributes:
        id: the backend's id.
        slug: its name in URLs.
        name: its name for people.
        org_id: the organisation's id.
        extra: fields this version does not know.
    """

    id: str = attrs.field(default="", converter=wire.text)
    slug: str = attrs.field(default="", converter=wire.text)
    name: str = attrs.field(default="", converter=wire.text)
    org_id: str = attrs.field(default="", converter=wire.text)
    extra: Mapping[str, Any] = attrs.field(factory=dict, hash=False)

    @classmethod
    def from_wire(cls, body: Mapping[str, Any]) -> Project:
        """Read a project as the backend sent it."""
        return cls(**wire.known_fields(cls, body))


@attrs.frozen
class ModelStatus:
    """A model that a self-hosted backend knows by name.

    Attributes:
        id: its name.
        ready: whether it lies on the backend's disk.
        size_bytes: its size there, or None.
        hub_id: its id on the Hugging Face hub, or None.
        pull: how far fetching it is: ``state`` (``running`` or ``failed``), ``phase``, ``done``, ``total``, ``error``.
        extra: fields this version does not know.
    """

    id: str = attrs.field(converter=wire.text)
    ready: bool = attrs.field(default=False, converter=bool)
    size_bytes: int | None = attrs.field(default=None, converter=wire.whole_number)
    hub_id: str | None = attrs.field(default=None, converter=wire.optional_text)
    pull: Mapping[str, Any] = attrs.field(factory=dict, converter=wire.mapping, hash=False)
    extra: Mapping[str, Any] = attrs.field(factory=dict, hash=False)

    @classmethod
    def from_wire(cls, body: Mapping[str, Any]) -> ModelStatus:
        """Read a model as the backend sent it."""
        return cls(**wire.known_fields(cls, {"id": "", **body}))


class CloudApiClient(DeploymentCalls, EvaluationCalls, ExportCalls, HistoryCalls, PreviewCalls):
    """One backend, spoken to under one identity.

    Args:
        base_url: the backend's address; by default ``default_cloud_api_url()``.
        token: the bearer token; None for the calls that need none.
        identity: the whole identity, where it is known; wins over ``token``.

    Raises:
        ConfigError: the base URL is not one.

    Every method raises ConnectionFailed where the backend does not answer, and the CloudApiError of its status where
    it answers with an error.

    Thread-safety: methods may be called from several threads; ``close`` by whoever made it.
    """

    @classmethod
    def connect(cls, backend: str | None = None) -> CloudApiClient:
        """Return a client for a backend, with the stored identity or a new anonymous one.

        Args:
            backend: a base URL, or ``local`` for this user's own backend, which is started where it does not run.
                By default ``default_cloud_api_url()``.

        Raises:
            LocalBackendError: the local backend cannot be started.
            CredentialsError: the stored identity cannot be read.
            ConnectionFailed, CloudApiError: the backend gave no identity.
        """
        address = default_cloud_api_url() if backend is None else backend
        if address.rstrip("/") != "local":
            return cls(address, identity=identity_for(address))
        return cls._connect_locally(local_backend.find_or_start())

    @classmethod
    def _connect_locally(cls, base_url: str) -> CloudApiClient:
        client = cls(base_url, identity=identity_for(base_url, local=True))
        try:
            client.me()
        except AuthenticationError:
            client.close()
            if client.identity.org_slug is None:  # ARKOR_TOKEN: the user's choice, and not ours to replace
                raise
            # The backend's data was removed since: an anonymous identity is worth nothing without it.
            forget(LOCAL_HOST_KEY)
            client = cls(base_url, identity=identity_for(base_url, local=True))
        return client

    def me(self) -> dict[str, Any]:
        """Return who the backend takes this client for: ``{"user": …, "orgs": […]}``."""
        return self._json("GET", "v1", "me")

    # Projects

    def create_project(self, org_slug: str, *, name: str, slug: str) -> Project:
        """Create a project in an organisation. Raises Conflict where the slug is taken."""
        query = {"orgSlug": org_slug}
        answer = self._transport.call("POST", path("v1", "projects"), params=query, json={"name": name, "slug": slug})
        return Project.from_wire(wire.mapping(wire.json_object(answer).get("project")))

    def list_projects(self, org_slug: str) -> list[Project]:
        """Return an organisation's projects."""
        return list(map(Project.from_wire, self._listed("projects", "v1", "projects", query={"orgSlug": org_slug})))

    # Inference

    def chat(
        self,
        scope: Scope,
        *,
        adapter: AdapterRef | None = None,
        base_model: str | None = None,
        **options: Unpack[ChatOptions],
    ) -> ChatResponse:
        """Ask a model.

        Args:
            scope: the project that the adapter belongs to.
            adapter: a final adapter or a checkpoint; or else
            base_model: a model without an adapter.
            options: the question, see ``ChatOptions``.

        Returns:
            The answer, as it arrives.

        Raises:
            ConfigError: the request contradicts itself; nothing was sent.
            UnsupportedByBackend: the backend does not know an option.
            Aborted, WaitTimeout: the abort event was set, or the timeout passed.
        """
        return self._answer_to("chat", scope, question_body("chat", adapter, base_model, options), options)

    def complete(
        self,
        scope: Scope,
        *,
        adapter: AdapterRef | None = None,
        base_model: str | None = None,
        **options: Unpack[CompletionOptions],
    ) -> ChatResponse:
        """Let a model go on with a text, without a chat template: the form of a job whose ``prompt_form`` is ``raw``.

        Args:
            scope: the project that the adapter belongs to.
            adapter: a final adapter or a checkpoint; or else
            base_model: a model without an adapter.
            options: the text and how to go on, see ``CompletionOptions``.

        Returns:
            What follows the text, as it arrives.

        Raises:
            ConfigError: the request contradicts itself; nothing was sent.
            UnsupportedByBackend: the backend can only chat, or does not know an option.
            Aborted, WaitTimeout: the abort event was set, or the timeout passed.
        """
        body = question_body("completions", adapter, base_model, options)
        return self._answer_to("completions", scope, body, options)

    def _answer_to(
        self, call: str, scope: Scope, body: Mapping[str, Any], options: ChatOptions | CompletionOptions
    ) -> ChatResponse:
        timeout_s = (CONNECT_TIMEOUT_S, IDLE_TIMEOUT_S if body["stream"] else ANSWER_TIMEOUT_S)
        limits = AbortScope(options.get("abort_event"), Deadline(options.get("timeout")))
        with contextlib.ExitStack() as opened:
            opened.enter_context(limits)
            response = limits.opened(lambda: self.open_answer(call, scope, body, timeout_s=timeout_s))
            opened.callback(response.close)
            return ChatResponse(response, limits, opened.pop_all())

    def open_answer(
        self, call: str, scope: Scope, body: Mapping[str, Any], *, timeout_s: tuple[float, float]
    ) -> requests.Response:
        """Send a question as it travels, once.

        Args:
            call: ``chat`` or ``completions``.
            scope: the project that an adapter belongs to.
            body: the request's JSON object, in wire names.
            timeout_s: seconds to connect, and seconds without a byte until it counts as dead.

        Returns:
            The open answer; the caller reads and closes it.

        Raises:
            UnsupportedByBackend: the backend makes no completions, or does not know an option.
        """
        if call == "completions":
            self.require("completions", "going on with a text")
        newer = newer_options(body)
        if newer:
            self.require("logprobs", f"the options {', '.join(newer)} of a question")
        return self._transport.send(
            "POST",
            path("v1", "inference", call),
            params=scope.to_query(),
            headers={"Accept-Encoding": "identity"},  # compression would hold the text back
            json=body,
            stream=True,
            timeout_s=timeout_s,
        )

    # Data sets, artifacts, models: the self-hosted backend only

    def upload_dataset(
        self, scope: Scope, dataset: LocalDataset | CheckedDataset, on_progress: Progress | None = None
    ) -> UploadedDataset:
        """Check rows of this machine and send them, unless the backend has those bytes already.

        An upload that is cut begins anew, up to three times in all.

        Args:
            scope: the project that gets them.
            dataset: a file, or what ``arkor.dataset_from`` made.
            on_progress: called on this thread as the bytes leave, about ten times a second: with how many are sent
                (fewer again where it begins anew) and how many there are. What it raises ends the upload.

        Raises:
            DatasetError: rows cannot be trained on, and nothing was sent; or they changed meanwhile.
            UnsupportedByBackend: the backend takes no uploads.
        """
        with opened(dataset) as rows:
            self.require("datasets", "uploading a data set")
            return upload(self._transport, scope, rows, on_progress)

    def list_artifacts(self, scope: Scope, job_id: str) -> list[Artifact]:
        """Return what a job has left so far. Raises UnsupportedByBackend where the backend keeps no artifacts."""
        self.require("artifacts", "listing artifacts")
        found = self._listed("artifacts", "v1", "jobs", job_id, "artifacts", query=scope.to_query())
        return list(Artifact.list_from_wire(list(found)))

    def open_artifact(self, scope: Scope, job_id: str, name: str) -> requests.Response:
        """Begin to fetch an artifact's tar, once.

        Args:
            scope: the project the job belongs to.
            job_id: the job.
            name: the artifact's name.

        Returns:
            The open answer; the caller reads and closes it.

        Raises:
            UnsupportedByBackend: the backend keeps no artifacts.
        """
        self.require("artifacts", "downloading artifacts")
        url_path = path("v1", "jobs", job_id, "artifacts", name)
        headers = {"Accept-Encoding": "identity"}  # the size that is told is that of the tar
        return self._transport.send("GET", url_path, params=scope.to_query(), headers=headers, stream=True)

    def download_artifact(
        self, scope: Scope, job_id: str, artifact: Artifact, dest: str | Path, *, on_progress: Progress | None = None
    ) -> Path:
        """Download an artifact and unpack it.

        A download that is cut goes on where it was, for as long as it gets further. The folder appears whole or not at
        all; one of the same name is replaced when the new one is complete.

        Args:
            scope: the project the job belongs to.
            job_id: the job.
            artifact: which one.
            dest: the folder that gets a folder of the artifact's name; created where missing.
            on_progress: called on this thread as the bytes arrive: with how many are there (fewer again where it starts
                over) and how many there will be, or None. What it raises ends the download.

        Returns:
            The artifact's folder.

        Raises:
            UnsupportedByBackend: the backend keeps no artifacts.
            ArkorError: what arrived is not what the backend said it would be, or the folder cannot be written.
        """
        self.require("artifacts", "downloading artifacts")
        return download(self._transport, scope, job_id, artifact, Path(dest), on_progress=on_progress)

    def list_models(self) -> list[ModelStatus]:
        """Return the models the backend knows by name. Raises UnsupportedByBackend where it has no such list."""
        self.require("models", "listing models")
        return [ModelStatus.from_wire(item) for item in wire.objects(self._json("GET", "v1", "models").get("models"))]

    def pull_model(self, model_id: str) -> None:
        """Let the backend fetch a model it knows by name; ``list_models`` says how far it is."""
        self._transport.call("POST", path("v1", "models", model_id, "pull"), repeatable=True)
