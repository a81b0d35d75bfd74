"""What a backup has, in a file that is written last: without it, a backup is not complete."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import attrs

from arkor.backend.storage.interface import Content
from arkor.errors import LocalBackendError
from arkor.system.files import write_atomically

FILE = "backup.json"
_VERSION = 1


@attrs.frozen(kw_only=True)
class Manifest:
    """What a backup has.

    Attributes:
        made_at: when, ISO 8601, UTC.
        data: the data folder that it was made of.
        files: the contents by their paths in the backup, which are those in a data folder.
        missing: the paths of what the database knows, but was not there any more.
    """

    made_at: str
    data: str
    files: dict[str, Content]
    missing: tuple[str, ...] = ()

    def write(self, folder: Path) -> None:
        """Write it into a backup's folder.

        Raises:
            OSError: the disk is full.
        """
        files = {path: attrs.asdict(content) for path, content in self.files.items()}
        body = {**attrs.asdict(self), "version": _VERSION, "files": files}
        write_atomically(folder / FILE, json.dumps(body, indent=1).encode(), mode=0o600)

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """Read that of a backup.

        Raises:
            LocalBackendError: there is no complete backup in the folder, or a newer arkor made it.
        """
        try:
            body: dict[str, Any] = json.loads((folder / FILE).read_bytes())
            version = body.pop("version")
            if version > _VERSION:
                raise LocalBackendError(f"The backup {folder} was made by a newer arkor: upgrade arkor.")
            files = {path: Content(**content) for path, content in body.pop("files").items()}
            return cls(**{**body, "files": files, "missing": tuple(body["missing"])})
        except FileNotFoundError:
            raise LocalBackendError(
                f"{folder} has no complete backup: {FILE}, which is written last, is missing."
            ) from None
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as exc:
            raise LocalBackendError(f"{folder / FILE} cannot be read: {type(exc).__name__}: {exc}") from exc
