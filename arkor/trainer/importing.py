"""Bringing an adapter here that was trained elsewhere: it becomes a finished job, as those that trained here.

Protocol: docs/protocol.md, "Importing an adapter".
"""

from __future__ import annotations

import tempfile
import threading
import uuid
from pathlib import Path

from arkor.client.adapter_source import AdapterArchive, AdapterSource, find_adapter
from arkor.client.client import CloudApiClient
from arkor.client.project import ensure_project
from arkor.client.reconnect import until_answered
from arkor.client.result import TrainingResult
from arkor.client.stream import ReconnectPolicy
from arkor.errors import Aborted, CloudApiError, ConfigError, ModelError, WaitTimeout
from arkor.http.abort import AbortScope, Deadline
from arkor.options import known_options
from arkor.protocol.checks import NAME, TEXT
from arkor.protocol.jobs import Scope, TrainingJob
from arkor.trainer.run_options import RunOptions
from arkor.trainer.submission import fetch_model
from arkor.trainer.trainer import Trainer

_REFUSED = frozenset({400, 413, 422})
_MAY_BE_MADE = "The job may have been made: 'arkor jobs' lists the project's jobs."


@known_options
def import_adapter(
    source: str | Path,
    *,
    model: str | None = None,
    name: str | None = None,
    revision: str | None = None,
    backend: str | None = None,
    project_dir: str | Path | None = None,
    timeout: float | None = None,
    abort_event: threading.Event | None = None,
) -> TrainingResult:
    """Make a finished job of a LoRA adapter that was trained elsewhere.

    It can be chatted with, evaluated, exported, downloaded, and continued with ``base_adapter=``. The job has no rows:
    name some to evaluate it. The backend checks every tensor against the base model before it keeps anything.

    Args:
        source: a folder that PEFT's ``save_pretrained`` has written, with ``adapter_config.json`` and
            ``adapter_model.safetensors``; or ``owner/name`` of the Hugging Face hub, which this process fetches, with
            the token of its environment and the package huggingface_hub (``pip install 'arkor[local]'``).
        model: the base model, as a trainer names it: a name that the backend knows, a Hugging Face id, or a folder on
            the backend's machine. By default the one that ``adapter_config.json`` names. It has to be on the backend's
            machine; a model that the backend knows by name is fetched.
        name: what to call the job, 1 to 200 characters; by default the folder's or the repository's name.
        revision: a branch, tag or commit of the hub; by default the newest.
        backend: a base URL, or ``local``; by default as for a ``Trainer``.
        project_dir: the folder whose project the job belongs to, and where a relative ``source`` starts; by default the
            current one.
        timeout: seconds after which to give up, above 0; None waits as long as it takes.
        abort_event: ends the call at once when set, or None.

    Returns:
        The result of the job, which has completed.

    Raises:
        ConfigError: an argument is out of its range, or ``source`` is neither a folder nor a name; nothing was sent.
        ModelError: a file is missing, the hub does not hand it out, or the backend does not take the adapter: it is no
            LoRA adapter, does not fit the base model, or is damaged. The text names the file, the field or the tensor.
        UnsupportedByBackend: the backend imports no adapters.
        ConnectionFailed, CloudApiError: the backend did not answer, or with an error.
        Aborted, WaitTimeout: the abort event was set, or the timeout passed.

    Example:
        ``arkor.import_adapter("outputs/my-lora", model="smollm2-135m", backend="local").chat(messages=[…])``
    """
    for field, value, check in (("name", name, NAME), ("model", model, TEXT), ("revision", revision, TEXT)):
        if value is not None and not check.accepts(value):
            raise ConfigError(field, f"must be {check.words}, not {value!r:.100}")
    if not isinstance(source, str | Path) or not str(source).strip():
        raise ConfigError("source", f"must be a folder or owner/name of the Hugging Face hub, not {source!r:.100}")
    if timeout is not None and not timeout > 0:
        raise ConfigError("timeout", f"must be above 0 seconds, not {timeout!r}")
    RunOptions(backend=backend, project_dir=project_dir, abort_event=abort_event)  # checks them
    folder, deadline = Path.cwd() if project_dir is None else Path(project_dir), Deadline(timeout)
    with AbortScope(abort_event, deadline) as limits, limits.noticing_the_end(), limits.active():
        found = find_adapter(source, revision, folder, limits)
        client = CloudApiClient.connect(backend)
        client.require("import", "importing an adapter")
        scope = ensure_project(client, folder)
        base = _base_model(client, found) if model is None else model
        fetch_model(client, base, None)
        try:
            job = _sent(client, scope, found, limits, name=name or found.job_name, model=base)
        except (Aborted, WaitTimeout) as exc:
            exc.args = (f"{exc} {_MAY_BE_MADE}",)
            raise
        except CloudApiError as exc:
            if exc.status not in _REFUSED:
                raise
            raise ModelError(_refusal(found, exc.message, is_named=model is not None)) from exc
    trainer = Trainer.attach(job.id, client=client, project_dir=folder, abort_event=abort_event)
    return trainer.wait(timeout=deadline.remaining())


def _base_model(client: CloudApiClient, source: AdapterSource) -> str:
    """Return the base model that an adapter names, by the backend's own name if it has one."""
    if source.base is None:
        raise ConfigError("model", f"is missing: adapter_config.json of {source.name} names no base model")
    known = {item.hub_id: item.id for item in client.list_models()} if "models" in client.features else {}
    return known.get(source.base, source.base)


def _sent(
    client: CloudApiClient, scope: Scope, source: AdapterSource, limits: AbortScope, *, name: str, model: str
) -> TrainingJob:
    key = uuid.uuid4().hex
    with tempfile.TemporaryFile() as file:
        archive = AdapterArchive(file, source)
        return until_answered(
            lambda: client.import_job(scope, source, archive, name=name, model=model, key=key),
            policy=ReconnectPolicy(),
            limits=limits,
            check_alive=client.check_alive,
        )


def _refusal(source: AdapterSource, message: str, *, is_named: bool) -> str:
    is_base = message.startswith("model: ") and not is_named
    advice = " adapter_config.json names this model: name the right one with model= (--model)." if is_base else ""
    return f"{source.name} was not imported: {message}{advice}"
