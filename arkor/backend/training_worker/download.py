"""Fetching a JSONL file behind a URL, once for all attempts at a job."""

from __future__ import annotations

import codecs
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import requests
import requests.auth
import requests.utils

from arkor.errors import DatasetError

_TIMEOUT_S = (10.0, 60.0)
_BLOCK_BYTES = 1024 * 1024
_COMPRESSED = {
    b"\x1f\x8b": "gzip",
    b"PK\x03\x04": "zip",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"BZh": "bzip2",
    b"\xfd7zXZ": "xz",
}


class _BlobAuth(requests.auth.AuthBase):
    """Sends what the job itself gives, a token or the name and password in its URL, and never the ``.netrc``."""

    def __init__(self, token: str | None) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        user, password = requests.utils.get_auth_from_url(request.url or "")
        if self._token:
            request.headers["Authorization"] = f"Bearer {self._token}"
        elif user:
            requests.auth.HTTPBasicAuth(user, password)(request)
        return request


class _Session(requests.Session):
    """Takes proxies and certificates from the environment, but no passwords."""

    def rebuild_auth(self, prepared_request: requests.PreparedRequest, response: requests.Response) -> None:
        """Keep the job's token on a redirect within its host alone; the library would add the ``.netrc``."""
        leaves = self.should_strip_auth(response.request.url, prepared_request.url)  # type: ignore[no-untyped-call]
        if leaves:
            prepared_request.headers.pop("Authorization", None)


def download_blob(source: Mapping[str, Any], job_dir: Path) -> Path:
    """Fetch a blob into the job's folder, unless an earlier attempt did: a resumed job sees the same rows.

    Args:
        source: the ``datasetSource`` object, with ``url`` and possibly ``token``.
        job_dir: the job's folder.

    Raises:
        DatasetError: the URL cannot be fetched, the body is cut, or it is not a text of rows: the error says which.
        OSError: the disk is full.
    """
    target = job_dir / "dataset.jsonl"
    if target.exists():
        return target
    url = str(source["url"])
    handle, temporary = tempfile.mkstemp(dir=job_dir, prefix=".dataset.")
    try:
        with (
            os.fdopen(handle, "wb") as file,
            _Session() as session,
            session.get(url, auth=_BlobAuth(source.get("token")), stream=True, timeout=_TIMEOUT_S) as answer,
        ):
            answer.raise_for_status()
            _write(answer, file)
        Path(temporary).replace(target)
    except requests.RequestException as exc:
        raise DatasetError(shown_url(url), _why(exc)) from exc
    except _BadBody as exc:
        raise DatasetError(shown_url(url), str(exc)) from exc
    finally:
        Path(temporary).unlink(missing_ok=True)
    return target


class _BadBody(Exception):
    """The body is cut, or of another kind; the text says what is wrong."""


def _write(answer: requests.Response, file: IO[bytes]) -> None:
    blocks = _blocks(answer)
    first = next(blocks, b"")
    _check_kind(first)
    file.write(first)
    for block in blocks:
        file.write(block)
    if answer.raw.tell() < int(answer.headers.get("Content-Length") or 0):  # not every urllib3 counts by itself
        raise _BadBody(_cut(answer))


def _blocks(answer: requests.Response) -> Iterator[bytes]:
    try:
        yield from answer.iter_content(_BLOCK_BYTES)
    except requests.exceptions.ChunkedEncodingError as exc:
        raise _BadBody(_cut(answer)) from exc


def _cut(answer: requests.Response) -> str:
    announced = answer.headers.get("Content-Length")
    of_all = f" of {announced}" if announced else ""
    return f"cannot be fetched whole: the connection ended after {answer.raw.tell()}{of_all} bytes; try again"


def _check_kind(start: bytes) -> None:
    form = next((form for mark, form in _COMPRESSED.items() if start.startswith(mark)), None)
    if form is not None:
        raise _BadBody(f"is compressed with {form}: give the URL of the JSONL file as it is, not compressed")
    if start.removeprefix(codecs.BOM_UTF8).lstrip().startswith(b"<"):
        raise _BadBody(
            "is a web page (HTML or XML) and not JSONL, as a server answers that wants a login: check the URL, and the "
            "data set's token"
        )


def shown_url(url: str) -> str:
    """Return a URL without its secrets: a signature in the query, a name and password before the host."""
    scheme, _, rest = url.partition("?")[0].partition("//")
    host, slash, path = rest.partition("/")
    return f"{scheme}//{host.rpartition('@')[2]}{slash}{path}"


def _why(exc: requests.RequestException) -> str:
    if exc.response is not None:
        hint = "; check the data set's token" if exc.response.status_code in {401, 403} else ""
        return f"cannot be fetched: the server answered {exc.response.status_code}{hint}"
    return f"cannot be fetched from the backend's machine: {type(exc).__name__}"
