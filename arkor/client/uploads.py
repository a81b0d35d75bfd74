"""A data set on its way to a backend: streamed from the disk, unless the backend has those bytes already.

Protocol: docs/protocol.md, "Datasets".
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from arkor.data.checked import CheckedDataset
from arkor.data.datasets import UploadedDataset
from arkor.errors import CloudApiError, DatasetError, NotFound
from arkor.http.abort import check_scope
from arkor.http.connections import CONNECT_TIMEOUT_S
from arkor.http.transport import Transport, path
from arkor.protocol import wire
from arkor.protocol.jobs import Scope
from arkor.protocol.progress import Progress, ProgressReport, raising_as_it_was

ANSWER_TIMEOUT_S = 600.0  # the backend checks every row before it answers


def upload(transport: Transport, scope: Scope, rows: CheckedDataset, on_progress: Progress | None) -> UploadedDataset:
    """Send rows, unless the backend has those bytes already.

    Args:
        transport: the backend.
        scope: the project.
        rows: what to send.
        on_progress: see ``CloudApiClient.upload_dataset``.

    Raises:
        DatasetError: the rows changed meanwhile, or the backend found bad ones.
        ConnectionFailed, CloudApiError: the backend did not answer, or with an error.
        Aborted, WaitTimeout: as the active abort scope says.
    """
    where = path("v1", "datasets", rows.id)
    try:
        transport.call("GET", where, params=scope.to_query())
    except NotFound:
        _send(transport, where, scope, rows, on_progress)
    return UploadedDataset(rows.id)


def _send(transport: Transport, where: str, scope: Scope, rows: CheckedDataset, on_progress: Progress | None) -> None:
    try:
        with raising_as_it_was():
            transport.call(
                "PUT",
                where,
                params=scope.to_query(),
                headers={"Content-Type": "application/jsonl"},
                data=_Body(rows, on_progress),
                timeout_s=(CONNECT_TIMEOUT_S, ANSWER_TIMEOUT_S),
            )
    except CloudApiError as exc:
        if exc.status == 422:
            raise _bad_rows(rows.source, exc) from exc
        if exc.status in {400, 409, 413}:
            raise type(exc)(exc.status, f"{rows.source} was not taken: {exc.message}") from exc
        raise


def _bad_rows(source: str, refusal: CloudApiError) -> DatasetError:
    """Return what the backend found in rows that are good for this version."""
    listed = [item for item in wire.objects(refusal.body.get("rows")) if wire.whole_number(item.get("row")) is not None]
    problems = [(int(item["row"]), wire.text(item.get("reason"))) for item in listed]
    said = refusal.message.partition("\n")[0] if problems else refusal.message
    return DatasetError(source, f"the backend refuses it: {said}", problems)


class _Body:
    """Rows as the body of a request; each iteration begins at the first byte, so that it can be sent again.

    The last bytes are held back until all of them are known to be those that were checked: a backend never gets the
    whole of something else.
    """

    def __init__(self, rows: CheckedDataset, on_progress: Progress | None) -> None:
        self._rows = rows
        self._report = ProgressReport(on_progress, len(self))

    def __len__(self) -> int:
        return self._rows.summary.size_bytes

    def __iter__(self) -> Iterator[bytes]:
        sent = 0
        for chunk in self._whole_chunks():
            self._report.tell(sent)
            check_scope()
            yield chunk
            sent += len(chunk)
        self._report.tell(sent)

    def tell(self) -> int:
        """Say that it is at its beginning, for a request that is made again."""
        return 0

    def seek(self, position: int, whence: int = 0) -> int:
        """Do nothing: the next iteration begins at the beginning."""
        return 0

    def _whole_chunks(self) -> Iterator[bytes]:
        digest, size, held = hashlib.sha256(), 0, b""
        for chunk in self._rows.chunks():
            size += len(chunk)
            if size > len(self):
                break
            digest.update(chunk)
            if held:
                yield held
            held = chunk
        if size != len(self) or digest.hexdigest() != self._rows.id:
            raise DatasetError(
                self._rows.source,
                "changed while it was being sent, and the backend kept nothing. Start again when it is complete",
            )
        yield held
