"""Fine-tune open-weight language models from plain Python.

Names load on first use (PEP 562), so that importing arkor is quick.
"""

from __future__ import annotations

import importlib
import logging
from typing import TYPE_CHECKING, Any

from arkor.version import __version__

if TYPE_CHECKING:
    from arkor.api.client import (
        CloudApiClient as CloudApiClient,
    )
    from arkor.api.client import (
        ModelStatus as ModelStatus,
    )
    from arkor.api.client import (
        Project as Project,
    )
    from arkor.api.deployments import (
        CreatedDeploymentKey as CreatedDeploymentKey,
    )
    from arkor.api.deployments import (
        Deployment as Deployment,
    )
    from arkor.api.deployments import (
        DeploymentChanges as DeploymentChanges,
    )
    from arkor.api.deployments import (
        DeploymentKey as DeploymentKey,
    )
    from arkor.api.deployments import (
        DeploymentTarget as DeploymentTarget,
    )
    from arkor.api.inference import ChatOptions as ChatOptions
    from arkor.api.inference import ChatResponse as ChatResponse
    from arkor.api.notices import (
        Notice as Notice,
    )
    from arkor.api.notices import (
        last_notice as last_notice,
    )
    from arkor.api.notices import (
        on_notice as on_notice,
    )
    from arkor.api.stream import (
        ReconnectPolicy as ReconnectPolicy,
    )
    from arkor.auth.credentials import (
        AnonymousCredentials as AnonymousCredentials,
    )
    from arkor.auth.credentials import (
        Credentials as Credentials,
    )
    from arkor.auth.credentials import (
        OAuthCredentials as OAuthCredentials,
    )
    from arkor.auth.credentials import (
        credentials_path as credentials_path,
    )
    from arkor.auth.credentials import (
        default_cloud_api_url as default_cloud_api_url,
    )
    from arkor.auth.credentials import (
        read_credentials as read_credentials,
    )
    from arkor.auth.credentials import (
        write_credentials as write_credentials,
    )
    from arkor.auth.identity import (
        AnonymousToken as AnonymousToken,
    )
    from arkor.auth.identity import (
        ensure_credentials as ensure_credentials,
    )
    from arkor.auth.identity import (
        request_anonymous_token as request_anonymous_token,
    )
    from arkor.auth.oauth import (
        OAuthConfig as OAuthConfig,
    )
    from arkor.auth.oauth import (
        request_oauth_config as request_oauth_config,
    )
    from arkor.callbacks import (
        Callbacks as Callbacks,
    )
    from arkor.callbacks import (
        CheckpointContext as CheckpointContext,
    )
    from arkor.callbacks import (
        CompletedContext as CompletedContext,
    )
    from arkor.callbacks import (
        FailedContext as FailedContext,
    )
    from arkor.callbacks import (
        LogContext as LogContext,
    )
    from arkor.callbacks import (
        StartedContext as StartedContext,
    )
    from arkor.checked import (
        CheckedDataset as CheckedDataset,
    )
    from arkor.config import (
        JobConfig as JobConfig,
    )
    from arkor.config import (
        LoraConfig as LoraConfig,
    )
    from arkor.datasets import (
        BlobDataset as BlobDataset,
    )
    from arkor.datasets import (
        HuggingFaceDataset as HuggingFaceDataset,
    )
    from arkor.datasets import (
        LocalDataset as LocalDataset,
    )
    from arkor.datasets import (
        UploadedDataset as UploadedDataset,
    )
    from arkor.errors import (
        Aborted as Aborted,
    )
    from arkor.errors import (
        ArkorError as ArkorError,
    )
    from arkor.errors import (
        AuthenticationError as AuthenticationError,
    )
    from arkor.errors import (
        BuildError as BuildError,
    )
    from arkor.errors import (
        CloudApiError as CloudApiError,
    )
    from arkor.errors import (
        ConfigError as ConfigError,
    )
    from arkor.errors import (
        Conflict as Conflict,
    )
    from arkor.errors import (
        ConnectionFailed as ConnectionFailed,
    )
    from arkor.errors import (
        CredentialsError as CredentialsError,
    )
    from arkor.errors import (
        DatasetError as DatasetError,
    )
    from arkor.errors import (
        EntryError as EntryError,
    )
    from arkor.errors import (
        LocalBackendError as LocalBackendError,
    )
    from arkor.errors import (
        ModelError as ModelError,
    )
    from arkor.errors import (
        NotFound as NotFound,
    )
    from arkor.errors import (
        PermissionDenied as PermissionDenied,
    )
    from arkor.errors import (
        ProjectStateError as ProjectStateError,
    )
    from arkor.errors import (
        RateLimited as RateLimited,
    )
    from arkor.errors import (
        ReconnectExhausted as ReconnectExhausted,
    )
    from arkor.errors import (
        ScaffoldError as ScaffoldError,
    )
    from arkor.errors import (
        ServerError as ServerError,
    )
    from arkor.errors import (
        StreamError as StreamError,
    )
    from arkor.errors import (
        StudioError as StudioError,
    )
    from arkor.errors import (
        TrainingFailed as TrainingFailed,
    )
    from arkor.errors import (
        UnsupportedByBackend as UnsupportedByBackend,
    )
    from arkor.errors import (
        UpgradeRequired as UpgradeRequired,
    )
    from arkor.errors import (
        WaitTimeout as WaitTimeout,
    )
    from arkor.events import (
        CheckpointSavedEvent as CheckpointSavedEvent,
    )
    from arkor.events import (
        Event as Event,
    )
    from arkor.events import (
        TrainingCancelledEvent as TrainingCancelledEvent,
    )
    from arkor.events import (
        TrainingCompletedEvent as TrainingCompletedEvent,
    )
    from arkor.events import (
        TrainingFailedEvent as TrainingFailedEvent,
    )
    from arkor.events import (
        TrainingLogEvent as TrainingLogEvent,
    )
    from arkor.events import (
        TrainingStartedEvent as TrainingStartedEvent,
    )
    from arkor.jobs import (
        AdapterRef as AdapterRef,
    )
    from arkor.jobs import (
        Artifact as Artifact,
    )
    from arkor.jobs import (
        JobStatus as JobStatus,
    )
    from arkor.jobs import (
        Scope as Scope,
    )
    from arkor.jobs import (
        TrainingJob as TrainingJob,
    )
    from arkor.jobs import (
        TrainingResult as TrainingResult,
    )
    from arkor.jsonl import (
        DatasetSummary as DatasetSummary,
    )
    from arkor.manifest import (
        Arkor as Arkor,
    )
    from arkor.manifest import (
        create_arkor as create_arkor,
    )
    from arkor.manifest import (
        is_arkor as is_arkor,
    )
    from arkor.metrics import Metrics as Metrics
    from arkor.project import (
        ProjectState as ProjectState,
    )
    from arkor.project import (
        read_state as read_state,
    )
    from arkor.project import (
        state_path as state_path,
    )
    from arkor.project import (
        write_state as write_state,
    )
    from arkor.runner import (
        run_trainer as run_trainer,
    )
    from arkor.tables import (
        dataset_from as dataset_from,
    )
    from arkor.trainer import (
        Trainer as Trainer,
    )
    from arkor.trainer import (
        create_trainer as create_trainer,
    )

_HOMES = {
    "arkor.api.client": ("CloudApiClient", "ModelStatus", "Project"),
    "arkor.api.deployments": (
        "CreatedDeploymentKey",
        "Deployment",
        "DeploymentChanges",
        "DeploymentKey",
        "DeploymentTarget",
    ),
    "arkor.api.inference": ("ChatOptions", "ChatResponse"),
    "arkor.api.notices": ("Notice", "last_notice", "on_notice"),
    "arkor.api.stream": ("ReconnectPolicy",),
    "arkor.auth.credentials": (
        "AnonymousCredentials",
        "Credentials",
        "OAuthCredentials",
        "credentials_path",
        "default_cloud_api_url",
        "read_credentials",
        "write_credentials",
    ),
    "arkor.auth.identity": ("AnonymousToken", "ensure_credentials", "request_anonymous_token"),
    "arkor.auth.oauth": ("OAuthConfig", "request_oauth_config"),
    "arkor.callbacks": (
        "Callbacks",
        "CheckpointContext",
        "CompletedContext",
        "FailedContext",
        "LogContext",
        "StartedContext",
    ),
    "arkor.checked": ("CheckedDataset",),
    "arkor.config": ("JobConfig", "LoraConfig"),
    "arkor.datasets": ("BlobDataset", "HuggingFaceDataset", "LocalDataset", "UploadedDataset"),
    "arkor.errors": (
        "Aborted",
        "ArkorError",
        "AuthenticationError",
        "BuildError",
        "CloudApiError",
        "ConfigError",
        "Conflict",
        "ConnectionFailed",
        "CredentialsError",
        "DatasetError",
        "EntryError",
        "LocalBackendError",
        "ModelError",
        "NotFound",
        "PermissionDenied",
        "ProjectStateError",
        "RateLimited",
        "ReconnectExhausted",
        "ScaffoldError",
        "ServerError",
        "StreamError",
        "StudioError",
        "TrainingFailed",
        "UnsupportedByBackend",
        "UpgradeRequired",
        "WaitTimeout",
    ),
    "arkor.events": (
        "CheckpointSavedEvent",
        "Event",
        "TrainingCancelledEvent",
        "TrainingCompletedEvent",
        "TrainingFailedEvent",
        "TrainingLogEvent",
        "TrainingStartedEvent",
    ),
    "arkor.jobs": ("AdapterRef", "Artifact", "JobStatus", "Scope", "TrainingJob", "TrainingResult"),
    "arkor.jsonl": ("DatasetSummary",),
    "arkor.manifest": ("Arkor", "create_arkor", "is_arkor"),
    "arkor.metrics": ("Metrics",),
    "arkor.project": ("ProjectState", "read_state", "state_path", "write_state"),
    "arkor.runner": ("run_trainer",),
    "arkor.tables": ("dataset_from",),
    "arkor.trainer": ("Trainer", "create_trainer"),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = ["__version__", *sorted(_HOME_OF)]  # noqa: PLE0604

logging.getLogger("arkor").addHandler(logging.NullHandler())


if not TYPE_CHECKING:  # a type checker would take every name for one of ours

    def __getattr__(name: str) -> Any:
        if name not in _HOME_OF:
            raise AttributeError(f"module 'arkor' has no attribute {name!r}")
        value = getattr(importlib.import_module(_HOME_OF[name]), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
