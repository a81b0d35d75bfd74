"""What a trainer remembers on disk, so that another process goes on with its job where this one was killed.

The file is written before the job is submitted, after that, and after every event that was handled; it is removed when
the job has ended. Whatever kills the process, at most the event in flight is handled again.

Protocol: docs/protocol.md, "The remembered job".
"""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs
from attrs.validators import instance_of, optional

from arkor.client.position import StreamPosition
from arkor.errors import ArkorError, ConfigError
from arkor.http.abort import pause
from arkor.protocol import wire
from arkor.system.files import file_lock, write_atomically

logger = logging.getLogger(__name__)


@attrs.frozen(kw_only=True)
class Place:
    """Where a trainer is with its job.

    Attributes:
        backend: the backend's name on disk, see ``arkor.auth.identity.host_key``.
        name: the job's name; empty for a job that another process started.
        idempotency_key: what the job is, or was, submitted with.
        job_id: the job; None while it is being submitted.
        last_event_id: the event that was handled last.
        first_event_id: the first event that was handled.
        extra: fields this version does not know.
    """

    backend: str = attrs.field(validator=instance_of(str))
    name: str = attrs.field(default="", validator=instance_of(str))
    idempotency_key: str = attrs.field(default="", validator=instance_of(str))
    job_id: str | None = attrs.field(default=None, validator=optional(instance_of(str)))
    last_event_id: str | None = attrs.field(default=None, validator=optional(instance_of(str)))
    first_event_id: str | None = attrs.field(default=None, validator=optional(instance_of(str)))
    extra: Mapping[str, Any] = attrs.field(factory=dict, hash=False)

    @property
    def position(self) -> StreamPosition:
        """Where the job's event stream is to be followed on."""
        return StreamPosition(self.last_event_id, self.first_event_id)


class Bookmark:
    """The file that a place is kept in.

    Args:
        path: the file; None for a trainer that keeps none: every method then does nothing.

    Attributes:
        path: the file.

    Thread-safety: safe, also between processes.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path

    @contextlib.contextmanager
    def held(self) -> Iterator[Place | None]:
        """Keep other processes from submitting under this bookmark, and give the place that it holds, if any.

        Raises:
            ConfigError: the file cannot be used, or holds something else.
            Aborted, WaitTimeout: the active abort scope ended while another process held it.
        """
        if self.path is None:
            yield None
            return
        with _locked(self.path):
            yield _read(self.path)

    def read(self) -> Place | None:
        """Return the place that it holds, if any.

        Raises:
            ConfigError: the file cannot be used, or holds something else.
        """
        return None if self.path is None else _read(self.path)

    def write(self, place: Place) -> None:
        """Write a place.

        Raises:
            ConfigError: the file cannot be written; what was in it is whole.
        """
        if self.path is not None:
            try:
                _write(self.path, place)
            except OSError as exc:
                raise _unusable(self.path, exc) from exc

    def note(self, place: Place) -> None:
        """Write a place; where that fails, say so and go on: what it tells of has happened."""
        try:
            self.write(place)
        except ConfigError as exc:
            logger.warning("%s; a process that is killed now loses sight of job %s", exc, place.job_id)

    def clear(self) -> None:
        """Remove what was written while the bookmark is held."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)

    def move(self, job_id: str, position: StreamPosition) -> None:
        """Note that events were handled up to here, unless the file was removed or is of another job by now.

        A file that cannot be written costs a warning, not the wait: the older place in it loses no event.
        """

        def moved(path: Path, place: Place) -> None:
            _write(path, attrs.evolve(place, last_event_id=position.last_id, first_event_id=position.first_id))

        self._change(job_id, moved)

    def remove(self, job_id: str) -> None:
        """Forget the job, which has ended, unless the file is of another one by now."""
        self._change(job_id, lambda path, _: path.unlink(missing_ok=True))

    def _change(self, job_id: str, change: Callable[[Path, Place], object]) -> None:
        if self.path is None:
            return
        try:
            if _place_of(job_id, self.path) is None:
                return
            with _locked(self.path):
                place = _place_of(job_id, self.path)
                if place is not None:
                    change(self.path, place)
        except (OSError, ConfigError) as exc:
            logger.warning("%s could not be brought up to date, but job %s goes on: %s", self.path, job_id, exc)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(file_lock(path.with_name(f".{path.name}.lock"), pause))
        except ArkorError:  # the abort scope ended; some of ours are OSErrors too
            raise
        except OSError as exc:
            raise _unusable(path, exc) from exc
        yield


def _place_of(job_id: str, path: Path) -> Place | None:
    place = _read(path)
    return place if place is not None and place.job_id == job_id else None


def _read(path: Path) -> Place | None:
    try:
        body = json.loads(path.read_bytes())
        return Place(**wire.known_fields(Place, wire.mapping(body)))
    except FileNotFoundError:
        return None
    except OSError as exc:
        raise _unusable(path, exc) from exc
    except (ValueError, TypeError, RecursionError) as exc:
        raise ConfigError("remember", f"names {path}, which does not hold a remembered job: delete it") from exc


def _write(path: Path, place: Place) -> None:
    # Not flushed to the disk: it must outlive the process, not the machine, and is written after every event.
    write_atomically(path, json.dumps(wire.to_wire(place)).encode() + b"\n", durable=False)


def _unusable(path: Path, exc: OSError) -> ConfigError:
    return ConfigError("remember", f"names {path}, which cannot be used: {exc.strerror}")
