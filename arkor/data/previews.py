"""A data set as a model sees it: the methods that every data set has for it.

A backend answers them, and asking one is the client's work, on a higher floor. So the client passes its functions in
when it is loaded (``arkor.client.datasets``); the public names of the data sets load it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

import attrs

from arkor.errors import ArkorError, ConfigError
from arkor.protocol.previews import RowPreview, TokenSummary

if TYPE_CHECKING:
    from typing import Unpack  # Python 3.11; the type checker alone reads it


class PreviewOptions(TypedDict, total=False):
    """The options of ``check`` and ``preview`` of a data set; the settings are those of ``Trainer``, for the same job.

    Attributes:
        dataset_format: ``chatml``, ``prompt_completion``, ``text`` or ``alpaca``, or a mapping with that ``type``.
        dataset_split: ``{"train": …, "eval": …}`` or ``{"eval_fraction": …, "seed": …}``.
        max_length: longest example in tokens, 8 to 1e7.
        excess_length: what becomes of a longer row: ``truncate``, ``drop`` or ``error``.
        train_on_responses_only: whether the loss counts only what the assistant says.
        apply_chat_template: whether texts of ``prompt`` and ``completion`` become a question and an answer of a chat.
        chat_template_kwargs: variables of the model's chat template.
        escape_special_tokens: whether special tokens in the text of messages stay text.
        allow_dropped_fields: parts of a row that the chat template may leave out.
        client: the backend to use, a ``CloudApiClient``, where the caller has a client.
        backend: a base URL, or ``local`` for this user's own backend; by default ``default_cloud_api_url()``.
        project_dir: the folder whose project gets the rows, and where a relative path starts; by default the working
            directory.
        timeout: seconds for the whole call; None for no limit.
        abort_event: ends the call when set.
    """

    dataset_format: str | Mapping[str, Any] | None
    dataset_split: Mapping[str, Any] | None
    max_length: int | None
    excess_length: str | None
    train_on_responses_only: bool | None
    apply_chat_template: bool | None
    chat_template_kwargs: Mapping[str, Any] | None
    escape_special_tokens: bool | None
    allow_dropped_fields: Sequence[str] | None
    client: Any
    backend: str | None
    project_dir: str | Path | None
    timeout: float | None
    abort_event: threading.Event | None


@attrs.frozen
class Asking:
    """The client's functions.

    Attributes:
        check: sums up a data set; takes it, the model and the options.
        preview: shows a row; takes the data set, the row's number or None, the model and the options.
    """

    check: Callable[[Any, str, Mapping[str, Any]], TokenSummary]
    preview: Callable[[Any, int | None, str, Mapping[str, Any]], RowPreview]


_passed_in: list[Asking] = []


def pass_in(asking: Asking) -> None:
    """Let the data sets of this process ask a backend."""
    _passed_in[:] = [asking]


def asking() -> Asking:
    """Return the client's functions.

    Raises:
        ArkorError: the client was not loaded.
    """
    if not _passed_in:
        raise ArkorError("Data sets cannot ask a backend yet: take their classes from arkor, as in arkor.LocalDataset.")
    return _passed_in[0]


def check_no_options(options: Mapping[str, Any]) -> None:
    """Refuse options that only a backend understands, where none is asked.

    Raises:
        ConfigError: there are some.
    """
    if options:
        raise ConfigError(next(iter(options)), "needs a model, whose tokenizer the rows are read with: check(model=…)")


class Previewed:
    """What every data set has."""

    __slots__ = ()

    def check(self, *, model: str, **options: Unpack[PreviewOptions]) -> TokenSummary:
        """Sum up what a model would learn of the rows; nothing is trained.

        The backend reads the rows as a job with the same settings would; rows of this machine are sent to it first,
        unless it has them.

        Args:
            model: as for ``Trainer``; its tokenizer is on the backend's machine.
            options: settings of the job, which backend, and when to give up, see ``PreviewOptions``.

        Returns:
            Lengths in tokens, the longest rows, and the job's receipt.

        Raises:
            DatasetError: the rows cannot be read, or one of them cannot be trained on.
            ConfigError: a setting is out of its range; nothing was sent.
            Conflict: the model is not on the backend's machine; the error says how to fetch it.
            UnsupportedByBackend: the backend shows no rows, as Arkor Cloud.
            Aborted, WaitTimeout: the abort event was set, or the timeout passed.
            ConnectionFailed, CloudApiError: the backend did not answer, or with an error.

        Example:
            ``print(arkor.LocalDataset("rows.jsonl").check(model="smollm2-135m", backend="local"))``
        """
        return asking().check(self, model, options)

    def preview(self, row: int | None = None, *, model: str, **options: Unpack[PreviewOptions]) -> RowPreview:
        """Show a row as the model sees it: its tokens, and which of them the loss counts.

        Args:
            row: its number as errors count it, from 1: a line of a file, or a place in a table or split. None for the
                first row.
            model: as for ``check``.
            options: as for ``check``.

        Raises:
            As ``check`` does with a model; DatasetError also if there is no such row.

        Example:
            ``print(arkor.LocalDataset("rows.jsonl").preview(3, model="smollm2-135m", backend="local"))``
        """
        return asking().preview(self, row, model, options)
