"""The parts of a running backend, put together."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from arkor.backend.activity import Activity
from arkor.backend.evaluations.service import EvaluationService
from arkor.backend.event_streams import EventStreams
from arkor.backend.exports.service import ExportService
from arkor.backend.gguf.conversions import Conversions
from arkor.backend.imports.service import Importer
from arkor.backend.inference.engines import Engines
from arkor.backend.inference.service import Inference
from arkor.backend.inference.targets import Targets
from arkor.backend.jobs.creating import Creator
from arkor.backend.jobs.deletion import Deleter
from arkor.backend.jobs.devices import Devices
from arkor.backend.jobs.membership import Membership, forget_shared, this_server
from arkor.backend.jobs.retention import Retention
from arkor.backend.jobs.scheduler import Scheduler
from arkor.backend.models.catalogue import models_dir
from arkor.backend.models.hardware import cuda_devices
from arkor.backend.models.pulls import Pulls
from arkor.backend.previews import Previews
from arkor.backend.processes.child_engine import ProcessEngine
from arkor.backend.processes.engine import Engine
from arkor.backend.readiness import Readiness
from arkor.backend.row_checks import RowChecks
from arkor.backend.settings import Settings
from arkor.backend.storage.choose import open_storage
from arkor.backend.storage.marks import is_apart
from arkor.backend.store import Store
from arkor.backend.store.feed import Feed
from arkor.backend.store.opening import open_database
from arkor.backend.tasks.queue import Parts
from arkor.protocol.engines import PROCESS
from arkor.system.files import make_private_folder

log = logging.getLogger("arkor.backend")

NAME = "arkor-local"
FEATURES = (
    "datasets",
    "artifacts",
    "idempotent-jobs",
    "models",
    "cancelled-event",
    "inference",
    "delete-jobs",
    "stored-events",
    "figure-columns",
    "pages",
    "completions",
    "eval-dataset",
    "previews",
    "columns",
    "row-search",
    "best-checkpoint",
    "best-metric",
    "base-adapter",
    "pause-jobs",
    "resume-jobs",
    "evaluations",
    "logprobs",
    "best-score",
    "exports",
    "import",
    "full-determinism",
    "devices",
    "samples",
)


# Ray keeps those that it has no room for, each as an actor that waits.
_MOST_ON_RAY = 64


def _engine(settings: Settings) -> Engine:
    """Return what runs the workers; the parts of Ray's engine are loaded only for it."""
    if settings.engine == PROCESS:
        return ProcessEngine(settings.worker_module)
    from arkor.backend.processes.ray_engine import RayEngine, Reservation, connect

    reservation = Reservation(
        cpus=settings.ray_cpus,
        gpus=settings.ray_gpus,
        python=settings.ray_python,
        stop_wait_s=max(settings.cancel_grace_s, settings.stop_grace_s),
    )
    return RayEngine(connect(settings.ray_address), settings.worker_module, reservation)


def _devices(settings: Settings) -> Devices:
    """Return what jobs train on: this machine's devices, or the part of Ray's cluster that each device is."""
    if settings.trains_here:
        return Devices(gpus=cuda_devices(), max_parallel=settings.max_parallel)
    return Devices(
        max_parallel=settings.max_parallel or _MOST_ON_RAY,
        cores_of_device=int(settings.ray_cpus),
    )


class Backend:
    """Everything that the routes work with. Thread-safe; ``stop`` and ``close`` belong to whoever made it.

    Args:
        settings: what it was told.
        url: where workers reach it.
        secret: what its server file carries, and what it proves to know; None where it has no such file.

    Raises:
        LocalBackendError: a newer arkor wrote its data, or Ray wants another token.
        StorageError: the storage cannot be used.
        OSError: the data folder cannot be written.
    """

    def __init__(self, settings: Settings, url: str, secret: str | None = None) -> None:
        # What users train on is their own business, also in a data folder that others can reach.
        for folder in (settings.data, settings.datasets_folder, settings.jobs_folder):
            make_private_folder(folder)
        self.settings = settings
        self.url = url
        self.secret = secret
        self.feed = Feed()
        self.storage = open_storage(settings.storage, settings.storage_patience_s)
        apart = self.storage if is_apart(self.storage, settings.data) else None
        if apart is not None:
            apart.check()
        elif settings.database is not None:
            log.warning(
                "Other servers cannot go on with the jobs of this one, whose files are in its own data folder: "
                "give all of them the same --storage."
            )
        database = open_database(settings.database, settings.database_path, self.feed)
        server = this_server(settings.data, url) if database.is_shared else None
        if server is None:
            forget_shared(settings.data)
        server_id = None if server is None else server.id
        self.store = Store(database, settings.datasets_folder, server_id, self.storage)
        self.membership = Membership(self.store, server, settings.lease_s)
        self.pulls = Pulls(settings.models_module)
        devices = _devices(settings)
        self.scheduler = Scheduler(self.store.queue, self.membership, _engine(settings), settings, url, devices=devices)
        is_training = self.scheduler.is_training if settings.trains_here else lambda: False
        self.readiness = Readiness(settings.data, self.store, self.scheduler, apart)
        self.conversions = Conversions(models_dir() / ".gguf", settings.tools_folder)
        self.engines = Engines(settings, self.conversions)
        self.inference = Inference(settings, self.engines, devices.places, is_training, self.scheduler.kept_threads)
        self.targets = Targets(settings, self.store, self.storage)
        self.creator = Creator(settings, self.store, self.storage, self.scheduler.held_bytes)
        self.deleter = Deleter(settings, self.store, self.storage, self.targets)
        self.row_checks = RowChecks()
        self.previews = Previews(settings, self.storage)
        self.activity = Activity()
        self.streams = EventStreams(self.store.events, self.activity, cap=settings.stream_cap, ping_s=settings.ping_s)
        parts = Parts(
            settings=settings,
            store=self.store,
            inference=self.inference,
            targets=self.targets,
            storage=self.storage,
            others_s=settings.lease_s if database.is_shared else None,
        )
        self.evaluations = EvaluationService(parts, is_training)
        self.exports = ExportService(parts)
        self.importer = Importer(settings, self.store, self.storage, self.inference)
        self.retention = Retention(settings.retention_s, self.store.jobs, self.deleter, self.delete)
        self.feed.listen(self._pass_on, self._pass_on_of_others)
        self.stopping = False

    def start(self) -> None:
        """Begin to train what is queued, and take over what was running."""
        self.scheduler.start()
        self.deleter.remove_left_behind()  # after the workers of deleted jobs have been ended
        self.evaluations.start()
        self.exports.start()
        self.retention.start()

    def is_idle(self, seconds: float) -> bool:
        """Whether for that long nobody has asked for anything, and there is nothing to do."""
        is_busy = self.pulls.busy or self.conversions.busy or self._has_work()
        return self.activity.idle_s() >= seconds and not is_busy

    def stop(self) -> None:
        """Refuse new requests, end the event streams and the chats, and let the workers save what they have.

        Workers are still listened to meanwhile, so that nothing they did is lost.
        """
        self.stopping = True
        self.retention.stop()
        self.streams.close()
        self.pulls.close()
        self.row_checks.close()
        self.previews.close()
        self.importer.close()
        self.conversions.close()
        for work in (self.evaluations, self.exports):
            work.stop()  # before the chats: their end is no failure of an evaluation
        self.inference.close()
        self.scheduler.stop()

    def delete(self, job_id: str) -> bool:
        """Delete a job that has ended, with all that was made of it; return False if its worker has not left.

        Raises:
            StorageError: the storage cannot be used; nothing was deleted.
        """
        if self.store.queue.is_under_way(job_id):
            return False
        for work in (self.evaluations, self.exports):
            work.cancel_all(job_id)
        self.deleter.delete(job_id)
        return True

    def _pass_on(self, job_id: str) -> None:
        self.streams.publish(job_id)
        for work in (self.evaluations, self.exports):
            work.heard_of(job_id)

    def _pass_on_of_others(self, job_ids: Sequence[str] | None, queued: bool) -> None:
        if job_ids is None:
            self.streams.publish_all()
        for job_id in job_ids or ():
            self.streams.publish(job_id)
            for work in (self.evaluations, self.exports):
                work.heard_of(job_id)
        self.scheduler.others_stored(job_ids, queued)

    def _has_work(self) -> bool:
        return any(work.has_work() for work in (self.store.queue, self.store.evaluations, self.store.exports))

    def close(self) -> None:
        """Close the database. Nothing may use the backend afterwards."""
        self.store.close()
