"""The storage that ``--storage`` names."""

from __future__ import annotations

import re
from pathlib import Path

from arkor.backend.storage.interface import Storage
from arkor.backend.storage.local import LocalStorage
from arkor.errors import StorageError
from arkor.system.origin import install_command

PATIENCE_S = 20.0
_S3 = "s3://"
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{1,254}")
_PREFIX = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*(?:/[A-Za-z0-9_-][A-Za-z0-9._-]*)*")


def is_folder(where: str) -> bool:
    """Whether a storage is a folder of this machine."""
    return "://" not in where


def absolute_place(where: str) -> str:
    """Return where a storage is, also for processes that have another working folder."""
    return str(Path(where).absolute()) if is_folder(where) else where


def open_storage(where: str, patience_s: float = PATIENCE_S) -> Storage:
    """Return a storage; nothing is asked of it yet.

    Args:
        where: a folder, or ``s3://bucket/prefix``.
        patience_s: for so many seconds, an error that passes is tried again.

    Raises:
        StorageError: it is neither, or a package is missing.
    """
    if is_folder(where):
        return LocalStorage(Path(absolute_place(where)))
    if not where.startswith(_S3):
        raise StorageError(f"--storage {where.partition('://')[0]}://… is unknown: name a folder or s3://…", "")
    bucket, _, prefix = where.removeprefix(_S3).partition("/")
    prefix = prefix.strip("/")
    if not _BUCKET.fullmatch(bucket) or (prefix and not _PREFIX.fullmatch(prefix)):  # it may hold a password
        raise StorageError(
            "--storage: write s3://bucket/prefix, with letters, digits, dots, dashes and underscores. Credentials are "
            "read from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or as boto3 finds them.",
            "",
        )
    try:
        from arkor.backend.storage.s3 import S3Storage
    except ModuleNotFoundError as exc:
        if exc.name not in {"boto3", "botocore"}:
            raise
        raise StorageError(f"S3 needs boto3. Install it with: {install_command('s3')}", where) from exc
    return S3Storage(bucket, prefix, patience_s)
