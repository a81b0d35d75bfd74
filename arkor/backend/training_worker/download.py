"""Fetching a JSONL file behind a URL, once for all attempts at a job."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import requests

from arkor.errors import DatasetError

_TIMEOUT_S = (10.0, 60.0)
_BLOCK_BYTES = 1024 * 1024


def download_blob(source: Mapping[str, Any], job_dir: Path) -> Path:
    """Fetch a blob into the job's folder, unless an earlier attempt did: a resumed job sees the same rows.

    Args:
        source: the ``datasetSource`` object, with ``url`` and possibly ``token``.
        job_dir: the job's folder.

    Raises:
        DatasetError: the URL cannot be fetched.
        OSError: the disk is full.
    """
    target = job_dir / "dataset.jsonl"
    if target.exists():
        return target
    url = str(source["url"])
    headers = {"Authorization": f"Bearer {source['token']}"} if source.get("token") else {}
    handle, temporary = tempfile.mkstemp(dir=job_dir, prefix=".dataset.")
    try:
        with (
            os.fdopen(handle, "wb") as file,
            requests.get(url, headers=headers, stream=True, timeout=_TIMEOUT_S) as answer,
        ):
            answer.raise_for_status()
            for block in answer.iter_content(_BLOCK_BYTES):
                file.write(block)
        Path(temporary).replace(target)
    except requests.RequestException as exc:
        raise DatasetError(url.partition("?")[0], _why(exc)) from exc
    finally:
        Path(temporary).unlink(missing_ok=True)
    return target


def _why(exc: requests.RequestException) -> str:
    if exc.response is not None:
        hint = "; check the data set's token" if exc.response.status_code in {401, 403} else ""
        return f"cannot be fetched: the server answered {exc.response.status_code}{hint}"
    return f"cannot be fetched from the backend's machine: {type(exc).__name__}"
