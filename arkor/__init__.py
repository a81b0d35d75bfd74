"""Fine-tune open-weight language models from plain Python.

Names load on first use (PEP 562), so that importing arkor is quick.
"""

from __future__ import annotations

import importlib
import logging
from typing import TYPE_CHECKING, Any

from arkor.version import __version__

if TYPE_CHECKING:
    from arkor.auth.credentials import (
        AnonymousCredentials as AnonymousCredentials,
        Credentials as Credentials,
        OAuthCredentials as OAuthCredentials,
        credentials_path as credentials_path,
        default_cloud_api_url as default_cloud_api_url,
        read_credentials as read_credentials,
        write_credentials as write_credentials,
    )
    from arkor.auth.identity import (
        AnonymousToken as AnonymousToken,
        ensure_credentials as ensure_credentials,
        request_anonymous_token as request_anonymous_token,
    )
    from arkor.auth.oauth import (
        OAuthConfig as OAuthConfig,
        request_oauth_config as request_oauth_config,
    )
    from arkor.client.chat import (
        ChatOptions as ChatOptions,
        ChatResponse as ChatResponse,
        CompletionOptions as CompletionOptions,
    )
    from arkor.client.choices import (
        ChatChoice as ChatChoice,
        ChatDelta as ChatDelta,
        TokenLogprob as TokenLogprob,
    )
    from arkor.client.client import (
        CloudApiClient as CloudApiClient,
        ModelStatus as ModelStatus,
        Project as Project,
    )
    from arkor.client.datasets import (
        BlobDataset as BlobDataset,
        CheckedDataset as CheckedDataset,
        HuggingFaceDataset as HuggingFaceDataset,
        LocalDataset as LocalDataset,
        UploadedDataset as UploadedDataset,
        dataset_from as dataset_from,
    )
    from arkor.client.deployments import (
        CreatedDeploymentKey as CreatedDeploymentKey,
        Deployment as Deployment,
        DeploymentChanges as DeploymentChanges,
        DeploymentKey as DeploymentKey,
        DeploymentTarget as DeploymentTarget,
    )
    from arkor.client.judge import judge as judge
    from arkor.client.project import (
        ProjectState as ProjectState,
        read_state as read_state,
        state_path as state_path,
        write_state as write_state,
    )
    from arkor.client.reproduction import Reproduction as Reproduction
    from arkor.client.result import TrainingFailed as TrainingFailed, TrainingResult as TrainingResult
    from arkor.client.stream import ReconnectPolicy as ReconnectPolicy
    from arkor.data.jsonl import DatasetSummary as DatasetSummary
    from arkor.data.previews import PreviewOptions as PreviewOptions
    from arkor.data.questions import Question as Question, split_questions as split_questions
    from arkor.entry.manifest import (
        Arkor as Arkor,
        create_arkor as create_arkor,
        is_arkor as is_arkor,
    )
    from arkor.entry.runner import run_trainer as run_trainer
    from arkor.errors import (
        Aborted as Aborted,
        ArkorError as ArkorError,
        AuthenticationError as AuthenticationError,
        BuildError as BuildError,
        CloudApiError as CloudApiError,
        ConfigError as ConfigError,
        Conflict as Conflict,
        ConnectionFailed as ConnectionFailed,
        CredentialsError as CredentialsError,
        DatasetError as DatasetError,
        EntryError as EntryError,
        EvaluationFailed as EvaluationFailed,
        ExportFailed as ExportFailed,
        InterpreterMissing as InterpreterMissing,
        LocalBackendError as LocalBackendError,
        ModelError as ModelError,
        NotFound as NotFound,
        NotReproducible as NotReproducible,
        ObjectChanged as ObjectChanged,
        ObjectMissing as ObjectMissing,
        PermissionDenied as PermissionDenied,
        ProjectStateError as ProjectStateError,
        RateLimited as RateLimited,
        ReconnectExhausted as ReconnectExhausted,
        ScaffoldError as ScaffoldError,
        ServerError as ServerError,
        StorageError as StorageError,
        StreamError as StreamError,
        StudioError as StudioError,
        UnknownOption as UnknownOption,
        UnsupportedByBackend as UnsupportedByBackend,
        UpgradeRequired as UpgradeRequired,
        WaitTimeout as WaitTimeout,
    )
    from arkor.evaluation.report import EvaluationReport as EvaluationReport
    from arkor.http.deprecation import (
        Notice as Notice,
        last_notice as last_notice,
        on_notice as on_notice,
    )
    from arkor.protocol.config import (
        JobConfig as JobConfig,
        LoraConfig as LoraConfig,
    )
    from arkor.protocol.evaluations import Evaluation as Evaluation, EvaluationOptions as EvaluationOptions
    from arkor.protocol.events import (
        CheckpointSavedEvent as CheckpointSavedEvent,
        Event as Event,
        SampleMadeEvent as SampleMadeEvent,
        TrainingCancelledEvent as TrainingCancelledEvent,
        TrainingCompletedEvent as TrainingCompletedEvent,
        TrainingFailedEvent as TrainingFailedEvent,
        TrainingInterruptedEvent as TrainingInterruptedEvent,
        TrainingLogEvent as TrainingLogEvent,
        TrainingPausedEvent as TrainingPausedEvent,
        TrainingPreparingEvent as TrainingPreparingEvent,
        TrainingStartedEvent as TrainingStartedEvent,
        TrainingUnpausedEvent as TrainingUnpausedEvent,
    )
    from arkor.protocol.job_metrics import Metrics as Metrics
    from arkor.protocol.jobs import (
        AdapterRef as AdapterRef,
        Artifact as Artifact,
        JobStatus as JobStatus,
        ResumedFrom as ResumedFrom,
        Scope as Scope,
        TrainingJob as TrainingJob,
    )
    from arkor.protocol.previews import (
        Example as Example,
        LongerRows as LongerRows,
        RowLength as RowLength,
        RowPreview as RowPreview,
        Token as Token,
        TokenSummary as TokenSummary,
    )
    from arkor.protocol.receipt import NumberedCount as NumberedCount, Receipt as Receipt
    from arkor.protocol.record import TrainingRecord as TrainingRecord
    from arkor.protocol.samples import Sample as Sample, Samples as Samples
    from arkor.trainer.callbacks import (
        Callbacks as Callbacks,
        CheckpointContext as CheckpointContext,
        CompletedContext as CompletedContext,
        FailedContext as FailedContext,
        LogContext as LogContext,
        SampleContext as SampleContext,
        StartedContext as StartedContext,
    )
    from arkor.trainer.comparing import Comparison as Comparison, compare as compare
    from arkor.trainer.importing import import_adapter as import_adapter
    from arkor.trainer.recipe import Recipe as Recipe, recipe_for as recipe_for
    from arkor.trainer.trainer import (
        Trainer as Trainer,
        create_trainer as create_trainer,
    )
    from arkor.trainer.watching import watch as watch

_HOMES = {
    "arkor.client.client": ("CloudApiClient", "ModelStatus", "Project"),
    "arkor.client.datasets": (
        "BlobDataset",
        "CheckedDataset",
        "HuggingFaceDataset",
        "LocalDataset",
        "UploadedDataset",
        "dataset_from",
    ),
    "arkor.client.deployments": (
        "CreatedDeploymentKey",
        "Deployment",
        "DeploymentChanges",
        "DeploymentKey",
        "DeploymentTarget",
    ),
    "arkor.client.chat": ("ChatOptions", "ChatResponse", "CompletionOptions"),
    "arkor.client.choices": ("ChatChoice", "ChatDelta", "TokenLogprob"),
    "arkor.client.judge": ("judge",),
    "arkor.http.deprecation": ("Notice", "last_notice", "on_notice"),
    "arkor.client.result": ("TrainingFailed", "TrainingResult"),
    "arkor.client.stream": ("ReconnectPolicy",),
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
    "arkor.trainer.callbacks": (
        "Callbacks",
        "CheckpointContext",
        "CompletedContext",
        "FailedContext",
        "LogContext",
        "SampleContext",
        "StartedContext",
    ),
    "arkor.protocol.config": ("JobConfig", "LoraConfig"),
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
        "EvaluationFailed",
        "ExportFailed",
        "InterpreterMissing",
        "LocalBackendError",
        "ModelError",
        "NotFound",
        "NotReproducible",
        "ObjectChanged",
        "ObjectMissing",
        "PermissionDenied",
        "ProjectStateError",
        "RateLimited",
        "ReconnectExhausted",
        "ScaffoldError",
        "ServerError",
        "StorageError",
        "StreamError",
        "StudioError",
        "UnknownOption",
        "UnsupportedByBackend",
        "UpgradeRequired",
        "WaitTimeout",
    ),
    "arkor.client.reproduction": ("Reproduction",),
    "arkor.evaluation.report": ("EvaluationReport",),
    "arkor.protocol.evaluations": ("Evaluation", "EvaluationOptions"),
    "arkor.protocol.events": (
        "CheckpointSavedEvent",
        "Event",
        "SampleMadeEvent",
        "TrainingCancelledEvent",
        "TrainingCompletedEvent",
        "TrainingFailedEvent",
        "TrainingInterruptedEvent",
        "TrainingLogEvent",
        "TrainingPausedEvent",
        "TrainingPreparingEvent",
        "TrainingStartedEvent",
        "TrainingUnpausedEvent",
    ),
    "arkor.protocol.jobs": ("AdapterRef", "Artifact", "JobStatus", "ResumedFrom", "Scope", "TrainingJob"),
    "arkor.data.jsonl": ("DatasetSummary",),
    "arkor.data.previews": ("PreviewOptions",),
    "arkor.data.questions": ("Question", "split_questions"),
    "arkor.entry.manifest": ("Arkor", "create_arkor", "is_arkor"),
    "arkor.protocol.job_metrics": ("Metrics",),
    "arkor.protocol.previews": ("Example", "LongerRows", "RowLength", "RowPreview", "Token", "TokenSummary"),
    "arkor.protocol.receipt": ("NumberedCount", "Receipt"),
    "arkor.protocol.record": ("TrainingRecord",),
    "arkor.protocol.samples": ("Sample", "Samples"),
    "arkor.client.project": ("ProjectState", "read_state", "state_path", "write_state"),
    "arkor.entry.runner": ("run_trainer",),
    "arkor.trainer.comparing": ("Comparison", "compare"),
    "arkor.trainer.importing": ("import_adapter",),
    "arkor.trainer.recipe": ("Recipe", "recipe_for"),
    "arkor.trainer.trainer": ("Trainer", "create_trainer"),
    "arkor.trainer.watching": ("watch",),
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
    """Return the public names and the dunder names; submodules, and names that this module needs itself, are hidden."""
    return sorted({*__all__, *(name for name in globals() if name.startswith("__") and name.endswith("__"))})
