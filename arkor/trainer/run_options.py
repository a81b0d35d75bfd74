"""The options of a trainer that do not travel: which backend it uses, what it calls, and when it gives up."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import attrs

from arkor.client.client import CloudApiClient
from arkor.client.stream import ReconnectPolicy
from arkor.errors import ConfigError
from arkor.http.transport import split_base_url
from arkor.trainer.callbacks import Callbacks
from arkor.trainer.start import Attachment, Starter
from arkor.trainer.submission import Submission


def _of_type(expected: type | tuple[type, ...], what: str) -> Callable[[RunOptions, attrs.Attribute[Any], Any], None]:
    def check(_: RunOptions, field: attrs.Attribute[Any], value: Any) -> None:
        if value is not None and not isinstance(value, expected):
            raise ConfigError(field.name, f"must be {what}, not {value!r}")

    return check


def _callbacks(value: Callbacks | Mapping[str, Any] | None) -> Callbacks:
    return Callbacks.parse(value)


def _address(_: object, _field: attrs.Attribute[Any], value: str | None) -> None:
    if value is not None and value.rstrip("/") != "local":
        split_base_url(value)


@attrs.frozen(kw_only=True)
class RunOptions:
    """See ``Trainer`` for each of them.

    Raises:
        ConfigError: one has the wrong type.
    """

    callbacks: Callbacks = attrs.field(default=None, converter=_callbacks)
    abort_event: threading.Event | None = attrs.field(
        default=None, validator=_of_type(threading.Event, "a threading.Event")
    )
    reconnect: ReconnectPolicy | None = attrs.field(
        default=None, validator=_of_type(ReconnectPolicy, "a ReconnectPolicy")
    )
    client: CloudApiClient | None = attrs.field(default=None, validator=_of_type(CloudApiClient, "a CloudApiClient"))
    backend: str | None = attrs.field(default=None, validator=[_of_type(str, "a URL or 'local'"), _address])
    project_dir: str | Path | None = attrs.field(default=None, validator=_of_type((str, Path), "a path"))
    remember: str | Path | None = attrs.field(default=None, validator=_of_type((str, Path), "a path"))

    def starter(self, source: Submission | Attachment) -> Starter:
        """Return what starts a job, or finds it, with these options.

        Args:
            source: what to submit, or the job to attach to.
        """
        return Starter(
            source,
            client=self.client,
            backend=self.backend,
            project_dir=Path.cwd() if self.project_dir is None else Path(self.project_dir),
            remember=None if self.remember is None else Path(self.remember),
            abort_event=self.abort_event,
        )
