"""Artifacts on their way to the disk: streamed, resumed where they were cut, checked, unpacked, and put in place whole.

Protocol: docs/protocol.md, "Artifacts"; RFC 9110, sections 13 and 14, on conditions and ranges.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import re
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, NoReturn

import requests
import tenacity

from arkor.client.unpack import unpack
from arkor.errors import ArkorError, CloudApiError, ConnectionFailed
from arkor.http.abort import AbortScope, current_scope, pause
from arkor.http.translate import translated
from arkor.http.transport import READ_TIMEOUT_S, RETRIES, Transport, may_help, path, retry_delay_s
from arkor.protocol.jobs import Artifact, Scope
from arkor.protocol.progress import Progress
from arkor.system.staging import put_in_place, work_folder

ATTEMPTS = 8  # half a minute
READ_BYTES = 1024 * 1024
_LENGTH = re.compile(r"[0-9]{1,18}")
_PART = re.compile(r"bytes ([0-9]{1,18})-[0-9]{1,18}/(\*|[0-9]{1,18})")


def download(
    transport: Transport,
    scope: Scope,
    job_id: str,
    artifact: Artifact,
    dest: Path,
    *,
    on_progress: Progress | None = None,
) -> Path:
    """Download an artifact and unpack it.

    Args:
        transport: the backend.
        scope: the project the job belongs to.
        job_id: the job.
        artifact: which one.
        dest: the folder that gets a folder of the artifact's name; created where missing.
        on_progress: called as the bytes arrive, see ``CloudApiClient.download_artifact``.

    Returns:
        The artifact's folder.

    Raises:
        ArkorError: what arrived is not what the backend said it would be, or the folder cannot be written.
        ConnectionFailed, CloudApiError: the backend did not answer, or with an error.
        Aborted, WaitTimeout: as the active abort scope says.
    """
    _check_name(artifact.name)
    what, target = f"Artifact {artifact.name} of job {job_id}", dest / artifact.name
    url_path = path("v1", "jobs", job_id, "artifacts", artifact.name)
    ask = functools.partial(transport.send, "GET", url_path, params=scope.to_query(), stream=True)
    with contextlib.ExitStack() as opened:
        with _writing(target):
            if target.is_file():
                raise ArkorError(f"{target} is a file, and the artifact becomes a folder of that name. Move it away.")
            work = opened.enter_context(work_folder(dest))
            file = opened.enter_context((work / "artifact.tar").open("w+b", buffering=0))
        _Arrival(ask, what, artifact, file=file, target=target, on_progress=on_progress).complete()
        with _writing(target):
            try:
                unpack(file, work / "unpacked")
            except tarfile.TarError as exc:
                raise ArkorError(f"{what} cannot be unpacked: {exc}. Nothing was written.") from exc
            put_in_place(work / "unpacked", target, work)
    return target


class _Arrival:
    """One artifact's tar, as far as it has arrived. One thread."""

    def __init__(
        self,
        ask: Callable[..., requests.Response],
        what: str,
        artifact: Artifact,
        *,
        file: IO[bytes],
        target: Path,
        on_progress: Progress | None,
    ) -> None:
        self._ask = ask
        self._what = what
        self._artifact = artifact
        self._file = file
        self._target = target
        self._on_progress = on_progress
        self._limits = current_scope() or AbortScope(None)
        self._headers = {"Accept-Encoding": "identity"}  # a part of compressed bytes is a part of nothing
        self._failures = self._furthest = 0
        self._start_over()

    def complete(self) -> None:
        """Fetch until all of it is there, and check it; what is damaged is fetched once more."""
        self._fetch()
        if self._fault() is not None:
            self._headers["Cache-Control"] = "no-cache"  # the damage may sit in a cache on the way
            self._start_over()
            self._failures = self._furthest = 0
            self._fetch()
        fault = self._fault()
        if fault is not None:
            raise ArkorError(f"{self._what} arrived damaged, twice: {fault}. Nothing was written.")

    def _fetch(self) -> None:
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception(lambda exc: may_help(exc, safe=True)),
            wait=self._wait_s,
            stop=lambda _: self._failures >= (ATTEMPTS if self._furthest else RETRIES),
            sleep=pause,
            reraise=True,
        )
        retrying(self._connection)

    def _wait_s(self, state: tenacity.RetryCallState) -> float:
        return retry_delay_s(max(1, self._failures), state.outcome.exception() if state.outcome else None)

    def _connection(self) -> None:
        """Make one request and read its answer; a failure after which there is more than ever before counts as none."""
        furthest = self._furthest
        try:
            with self._limits.noticing_the_end(), self._open() as response:
                self._take_head(response)
                self._read(response)
        except (ConnectionFailed, CloudApiError):
            self._failures = 0 if self._furthest > furthest else self._failures + 1
            raise

    def _open(self) -> requests.Response:
        headers = dict(self._headers)
        is_strong = self._etag.startswith('"')  # a weak one promises nothing about bytes
        if self._done and not (is_strong or self._artifact.sha256):  # nothing would tell that the parts fit together
            self._start_over()
        if self._done:
            headers["Range"] = f"bytes={self._done}-"
            if is_strong:
                headers["If-Range"] = self._etag
        try:
            return self._ask(headers=headers)
        except CloudApiError as exc:
            if exc.status == 416 and self._done:
                self._refuse_part()
            raise

    def _take_head(self, response: requests.Response) -> None:
        """Read where an answer's body belongs: after what is there, or at the start."""
        encoding = response.headers.get("Content-Encoding", "identity")
        if response.status_code not in {200, 206} or encoding != "identity":
            kind = f"compressed ({encoding})" if encoding != "identity" else f"with status {response.status_code}"
            raise ArkorError(f"{self._what} was answered {kind}. Is something between here and the backend?")
        if response.status_code == 206:
            self._take_part(response)
            return
        self._start_over()
        self._etag = response.headers.get("ETag", "")
        length = response.headers.get("Content-Length", "")
        self._total = int(length) if _LENGTH.fullmatch(length) else self._artifact.size_bytes

    def _take_part(self, response: requests.Response) -> None:
        part = _PART.fullmatch(response.headers.get("Content-Range", ""))
        etag = response.headers.get("ETag", self._etag)
        if part is None or not self._done or int(part[1]) != self._done or etag != self._etag:
            self._refuse_part()
        if part[2] != "*":
            if self._total not in {None, int(part[2])}:
                self._refuse_part()
            self._total = int(part[2])

    def _refuse_part(self) -> NoReturn:
        self._start_over()
        raise ConnectionFailed(f"{self._what} has changed on the backend while it was downloaded; try again.")

    def _start_over(self) -> None:
        self._done = 0
        self._etag = ""
        self._total = self._artifact.size_bytes
        self._hash = hashlib.sha256()
        with _writing(self._target):
            self._file.seek(0)
            self._file.truncate()

    def _read(self, response: requests.Response) -> None:
        while piece := self._piece(response):
            self._write(piece)
            self._hash.update(piece)
            self._done += len(piece)
            self._furthest = max(self._furthest, self._done)
            if self._on_progress is not None:
                self._on_progress(self._done, self._total)
            if self._is_enough():
                return
        if self._total is not None and self._done < self._total:
            raise ConnectionFailed(f"{self._what} was cut after {self._done} of {self._total} bytes; try again.")

    def _is_enough(self) -> bool:
        """Say whether nothing more is to be read: all of it is there, or more than the list of artifacts announced."""
        announced = self._artifact.size_bytes
        return (self._total is not None and self._done >= self._total) or (
            announced is not None and self._done > announced
        )

    def _piece(self, response: requests.Response) -> bytes:
        self._limits.limit_reads(READ_TIMEOUT_S)
        # The whole of what has arrived, but no waiting for more; urllib3 before 2.3 can only do the latter.
        read = getattr(response.raw, "read1", response.raw.read)
        with self._limits.noticing_the_end(), translated(response.url.partition("?")[0]):
            piece: bytes = read(READ_BYTES)
        return piece

    def _write(self, piece: bytes) -> None:
        rest = memoryview(piece)
        with _writing(self._target):
            while rest:
                rest = rest[self._file.write(rest) :]

    def _fault(self) -> str | None:
        """Say in what the bytes differ from those that were announced."""
        sha256 = self._artifact.sha256
        for announced in (self._artifact.size_bytes, self._total):
            if announced is not None and self._done != announced:
                return f"{self._done} bytes came, and {announced} were announced"
        if sha256 and self._hash.hexdigest() != sha256.lower():
            return "its SHA-256 differs from the one that the backend named"
        return None


def _check_name(name: str) -> None:
    if not name or name.startswith(".") or name != Path(name).name or "\\" in name or not name.isprintable():
        raise ArkorError(f"The artifact name {name!r:.200} cannot be a folder's name.")


@contextlib.contextmanager
def _writing(target: Path) -> Iterator[None]:
    """Say of what the disk does not take for which folder it was."""
    try:
        yield
    except ArkorError:  # some are OSErrors too
        raise
    except OSError as exc:
        raise ArkorError(f"{target} cannot be written: {exc.strerror or exc}. Nothing of it was kept.") from exc
