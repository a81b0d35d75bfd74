"""Examples of earlier jobs, kept under all that they depend on: a job that resumes, or a second one, starts at once."""

from __future__ import annotations

import datetime
import hashlib
import importlib.metadata
import json
import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import attrs

from arkor.backend.training_worker.limits.lengths import Lengths
from arkor.protocol.config import ROW_SETTINGS, JobConfig
from arkor.system.folder_cache import FolderCache

T = TypeVar("T")

log = logging.getLogger("arkor.worker")

_FORM = 1  # of the examples and their files: it grows when the code makes others of the same rows
_LIBRARIES = ("arkor", "transformers", "tokenizers", "jinja2")


@attrs.frozen
class ExampleCache:
    """The cache of a backend, as one job uses it.

    Attributes:
        folders: where the examples are.
        job_id: the job: an entry goes with the last job that used it.
    """

    folders: FolderCache
    job_id: str

    def entry(
        self, config: JobConfig, contents: Sequence[str | None], tokenizer: Any, most_tokens: Lengths
    ) -> CacheEntry | None:
        """Return the place of a job's examples; None if they cannot be known again.

        Args: see ``cache_key``.
        """
        key = cache_key(config, contents, tokenizer, most_tokens, datetime.date.today())
        return None if key is None else CacheEntry(self.folders, key, self.job_id)


@attrs.frozen
class CacheEntry:
    """The place of some examples in the cache, whether or not they are there."""

    _folders: FolderCache
    _key: str
    _job_id: str

    def load(self, open_folder: Callable[[Path], T]) -> T | None:
        """Return the examples; None if they are not there, or not whole.

        Args:
            open_folder: opens them; it may raise OSError, ValueError, KeyError or TypeError.
        """
        folder = self._folders.find(self._key, self._job_id)
        if folder is None:
            return None
        try:
            return open_folder(folder)
        except (OSError, ValueError, KeyError, TypeError) as exc:
            log.warning("Kept examples cannot be used (%s): the rows are tokenized again", type(exc).__name__)
            self._folders.remove(self._key)
            return None

    def keep(self, folder: Path) -> None:
        """Move examples that are open into the cache; if that fails, the next job makes them again."""
        try:
            self._folders.add(self._key, folder, self._job_id)
        except OSError as exc:
            log.warning("The examples cannot be kept for later jobs: %s", exc)
        self._folders.sweep()


def cache_key(
    config: JobConfig, contents: Sequence[str | None], tokenizer: Any, most_tokens: Lengths, today: datetime.date
) -> str | None:
    """Return what only examples of the same rows, tokenizer, settings and versions share; None if that is not known.

    Args:
        config: the job's settings.
        contents: of each source of rows, what only the same rows share; None if there is no such source.
        tokenizer: the model's, of transformers.
        most_tokens: how long an example may be if the job does not say.
        today: a template may tell the date.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:  # not one of the library tokenizers
        return None
    template = str(tokenizer.chat_template)
    parts = {
        "form": _FORM,
        "versions": [sys.version_info[:2], *map(_version, _LIBRARIES)],
        "contents": list(contents),
        "settings": {name: getattr(config, name) for name in (*ROW_SETTINGS, "dry_run")},
        "lengths": attrs.asdict(most_tokens),
        "tokenizer": [type(tokenizer).__name__, backend.to_str(), template, str(tokenizer.special_tokens_map)],
        "date": today.isoformat() if "strftime_now" in template else None,
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


def _version(library: str) -> str:
    try:
        return importlib.metadata.version(library)
    except importlib.metadata.PackageNotFoundError:  # arkor itself, run from a clone
        return ""
