"""Every exception arkor raises, in one tree.

::

    ArkorError
    ├── CloudApiError            the backend answered with an error status
    │   ├── AuthenticationError  401
    │   ├── PermissionDenied     403
    │   ├── NotFound             404
    │   ├── Conflict             409
    │   ├── UpgradeRequired      426
    │   ├── RateLimited          429
    │   └── ServerError          5xx
    ├── ConnectionFailed         no answer (also a ConnectionError)
    ├── StreamError              an event stream that breaks the rules
    │   └── ReconnectExhausted   too many failures in a row
    ├── Aborted                  the abort event was set
    ├── WaitTimeout              the deadline passed (also a TimeoutError)
    ├── TrainingFailed           raise_for_status() on a job that did not complete (in client/result.py)
    ├── EvaluationFailed         an evaluation that ended without a report
    ├── ExportFailed             an export that ended without a folder
    ├── NotReproducible          a job that cannot be trained again as it was
    ├── ConfigError              a setting out of its range (also a ValueError)
    │   └── UnknownOption        an option that does not exist (also a TypeError)
    ├── DatasetError             rows that cannot be trained on (also a ValueError)
    ├── EntryError               an entry without a trainer
    ├── BuildError               an entry that cannot be bundled
    ├── ScaffoldError            a project that cannot be set up
    ├── CredentialsError         an identity that cannot be read or obtained
    ├── ProjectStateError        a project that cannot be routed
    ├── InterpreterMissing       the Python that runs arkor is gone (also a FileNotFoundError)
    ├── LocalBackendError        this machine's own backend cannot start, or died
    ├── StudioError              Studio cannot start
    ├── ModelError               a model that cannot be fetched or loaded
    ├── StorageError             a backend's storage that cannot be used
    │   ├── ObjectMissing        an object that is not in the storage
    │   └── ObjectChanged        an object that is not as it was stored
    └── UnsupportedByBackend     a feature the backend does not have

Each carries what it knows as attributes, pickles, and says what happened, where, and what to do next.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path


class ArkorError(Exception):
    """The base of every error that arkor raises."""


class CloudApiError(ArkorError):
    """The backend answered with an error status.

    Attributes:
        status: the HTTP status, 400-599.
        message: the backend's own text, or ``cloud-api <status>`` where it gave none.
        retry_after: seconds the backend asks to wait, from ``Retry-After``; None where it did not.
        body: the JSON object of the answer; empty where it was none.
    """

    def __init__(self, status: int, message: str, retry_after: float | None = None) -> None:
        super().__init__(status, message, retry_after)
        self.status = status
        self.message = message
        self.retry_after = retry_after
        self.body: Mapping[str, Any] = {}

    def __str__(self) -> str:
        return self.message


class AuthenticationError(CloudApiError):
    """401: the token is missing, wrong or expired."""


class PermissionDenied(CloudApiError):
    """403: this identity may not do that."""


class NotFound(CloudApiError):
    """404: there is no such thing, or it is not visible to this identity."""


class Conflict(CloudApiError):
    """409: it exists already, or its state does not allow this."""


class UpgradeRequired(CloudApiError):
    """426: the backend no longer speaks to this version of arkor."""


class RateLimited(CloudApiError):
    """429: too many requests; ``retry_after`` says when to come back."""


class ServerError(CloudApiError):
    """5xx: the backend failed."""


_BY_STATUS: dict[int, type[CloudApiError]] = {
    401: AuthenticationError,
    403: PermissionDenied,
    404: NotFound,
    409: Conflict,
    426: UpgradeRequired,
    429: RateLimited,
}


def error_for_status(status: int, message: str, retry_after: float | None = None) -> CloudApiError:
    """Return the exception of the class that belongs to an HTTP status.

    Args:
        status: 400-599.
        message: what to tell the user.
        retry_after: seconds from ``Retry-After``, where the answer carried one.
    """
    fallback = ServerError if status >= 500 else CloudApiError
    return _BY_STATUS.get(status, fallback)(status, message, retry_after)


class ConnectionFailed(ArkorError, ConnectionError):
    """No answer from the backend: refused, unreachable, timed out, or cut.

    Attributes:
        sent: False where it is certain that the backend never saw the request.
        is_cloud: whether the backend is Arkor Cloud.
    """

    def __init__(self, message: str, sent: bool = True, is_cloud: bool = False) -> None:
        super().__init__(message, sent, is_cloud)
        self.sent = sent
        self.is_cloud = is_cloud

    def __str__(self) -> str:
        return self.advising('pass backend="local" to Trainer')

    def advising(self, way: str) -> str:
        """Return the message. If Arkor Cloud is out of reach, it ends with a way to do without.

        Args:
            way: how the reader chooses the backend on this machine, in the imperative: a script does it differently
                from the command line.
        """
        message = str(self.args[0])
        is_out_of_reach = self.is_cloud and not self.sent
        return f"{message} To use the backend on this machine instead, {way}." if is_out_of_reach else message


class StreamError(ArkorError):
    """The event stream broke its own rules, or answered with something that is not one."""


class ReconnectExhausted(StreamError):
    """The event stream failed more often in a row than the reconnect policy allows.

    Attributes:
        attempts: how many failures there were in a row.
    """

    def __init__(self, attempts: int) -> None:
        super().__init__(attempts)
        self.attempts = attempts

    def __str__(self) -> str:
        return f"Trainer SSE stream failed {self.attempts} consecutive times; giving up."


class Aborted(ArkorError):
    """The abort event was set: the call ended. A trainer's message says whether a job was submitted; it goes on."""


class WaitTimeout(ArkorError, TimeoutError):
    """The timeout passed. A trainer's message says whether a job was submitted; ``wait()`` may be called again."""


class ConfigError(ArkorError, ValueError):
    """A setting is out of its range or of the wrong type.

    Attributes:
        field: the setting's Python name.
    """

    def __init__(self, field: str, message: str) -> None:
        super().__init__(field, message)
        self.field = field

    def __str__(self) -> str:
        return f"{self.field}: {self.args[1]}"


class EvaluationFailed(ArkorError):
    """An evaluation ended without a report.

    Attributes:
        evaluation_id: the evaluation.
        job_id: its job.
        status: ``failed`` or ``cancelled``.
        reason: why, in the backend's words; may be empty.
    """

    def __init__(self, evaluation_id: str, job_id: str, status: str, reason: str) -> None:
        super().__init__(evaluation_id, job_id, status, reason)
        self.evaluation_id = evaluation_id
        self.job_id = job_id
        self.status = status
        self.reason = reason

    def __str__(self) -> str:
        return _end_of(f"Evaluation {self.evaluation_id} of job {self.job_id}", self.status, self.reason)


class ExportFailed(ArkorError):
    """An export ended without a folder.

    Attributes:
        export_id: the export.
        job_id: its job.
        status: ``failed`` or ``cancelled``.
        reason: why, in the backend's words; may be empty.
    """

    def __init__(self, export_id: str, job_id: str, status: str, reason: str) -> None:
        super().__init__(export_id, job_id, status, reason)
        self.export_id = export_id
        self.job_id = job_id
        self.status = status
        self.reason = reason

    def __str__(self) -> str:
        return _end_of(f"Export {self.export_id} of job {self.job_id}", self.status, self.reason)


class NotReproducible(ArkorError):
    """A job cannot be trained again as it was, because something is not as it was.

    Attributes:
        job_id: the job.
        again_id: the job that was to train once more; it was cancelled if the same call had started it.
        difference: what is not as it was, in a clause.
    """

    def __init__(self, job_id: str, again_id: str, difference: str) -> None:
        super().__init__(job_id, again_id, difference)
        self.job_id = job_id
        self.again_id = again_id
        self.difference = difference

    def __str__(self) -> str:
        return (
            f"Job {self.job_id} cannot be reproduced by job {self.again_id}: {self.difference}. Make it as it was, or "
            "compare anyway: --anyway on the command line, anyway=True in Python."
        )


def _end_of(what: str, status: str, reason: str) -> str:
    how = "was cancelled" if status == "cancelled" else "failed"
    return f"{what} {how}: {reason or 'no reason is known'}"


class UnknownOption(ConfigError, TypeError):
    """A trainer, a chat or another call was given an option that does not exist: mostly a misspelt one.

    Attributes:
        field: the option as it was given.
        suggestion: the option that was most likely meant, or None.
    """

    def __init__(self, field: str, message: str, suggestion: str | None = None) -> None:
        super().__init__(field, message)
        self.args = (field, message, suggestion)
        self.suggestion = suggestion


class DatasetError(ArkorError, ValueError):
    """Rows that cannot be trained on; nothing was sent.

    Attributes:
        source: the file or the name of the data set.
        problems: (row number from 1, reason) pairs, in order; empty when the whole source is at fault.
        more: how many bad rows there are beyond those listed.
    """

    def __init__(self, source: str, message: str, problems: Sequence[tuple[int, str]] = (), more: int = 0) -> None:
        super().__init__(source, message, tuple(problems), more)
        self.source = source
        self.message = message
        self.problems = tuple(problems)
        self.more = more

    def __str__(self) -> str:
        lines = [f"{self.source}: {self.message}"]
        lines += [f"  row {row}: {reason}" for row, reason in self.problems]
        if self.more:
            lines.append(f"  and {self.more} more")
        return "\n".join(lines)


class EntryError(ArkorError):
    """The training entry is missing, or gives no trainer."""


class BuildError(ArkorError):
    """The entry cannot be bundled.

    Attributes:
        path: the file at fault, or None.
        line: its line, from 1, or None.
    """

    def __init__(self, message: str, path: Path | None = None, line: int | None = None) -> None:
        super().__init__(message, path, line)
        self.path = path
        self.line = line

    def __str__(self) -> str:
        if self.path is None:
            return str(self.args[0])
        place = f"{self.path}:{self.line}" if self.line else str(self.path)
        return f"{place}: {self.args[0]}"


class ScaffoldError(ArkorError):
    """A project cannot be set up in a folder."""


class CredentialsError(ArkorError):
    """The identity on disk cannot be read, or a new one cannot be obtained."""


class ProjectStateError(ArkorError):
    """``.arkor/state.json`` does not fit this identity, or cannot be made."""


class InterpreterMissing(ArkorError, FileNotFoundError):
    """The Python that runs arkor cannot be started again: its file is gone, or may not be run.

    Attributes:
        errno: ``ENOENT``.
        strerror: the message.
    """

    def __str__(self) -> str:
        return str(self.strerror)


class LocalBackendError(ArkorError):
    """The backend on this machine cannot be started, or it has died."""


class StudioError(ArkorError):
    """Studio cannot start: packages are missing, or its port is in use."""


class ModelError(ArkorError):
    """A model cannot be found, fetched, or loaded in the memory there is."""


class StorageError(ArkorError):
    """A backend's storage cannot be used: it is not there, gives no answer, or refuses.

    Attributes:
        place: the storage or the object in it, as a URL or a path; it has no secrets.
    """

    def __init__(self, message: str, place: str) -> None:
        super().__init__(message, place)
        self.place = place

    def __str__(self) -> str:
        return str(self.args[0])


class ObjectMissing(StorageError):
    """An object is not in a backend's storage: it was never stored, or was removed."""


class ObjectChanged(StorageError):
    """An object in a backend's storage is not as it was stored: its bytes are others, or it was cut."""


SELF_HOSTED = "A self-hosted backend (arkor serve) does."
OLDER_BACKEND = "It runs an older arkor: upgrade it, and start it again."


class UnsupportedByBackend(ArkorError):
    """The backend does not have this feature.

    Attributes:
        feature: what was asked for.
        capability: the feature's name in a backend's capabilities; None where it has none.
    """

    def __init__(
        self,
        feature: str,
        backend: str,
        advice: str = SELF_HOSTED,
        capability: str | None = None,
    ) -> None:
        super().__init__(feature, backend, advice, capability)
        self.feature = feature
        self.capability = capability

    def __str__(self) -> str:
        return f"{self.args[1]} does not support {self.feature}. {self.args[2]}"
