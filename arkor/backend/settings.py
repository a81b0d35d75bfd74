"""What a backend can be told when it starts."""

from __future__ import annotations

from pathlib import Path

import attrs

from arkor.backend.storage.choose import PATIENCE_S, absolute_place
from arkor.protocol.engines import AUTO, LLAMA_CPP_DTYPES, PROCESS

GIB = 1024**3


def _absolute(path: str | Path) -> Path:
    """Make a path good for child processes, which have another working folder."""
    return Path(path).absolute()


@attrs.frozen(kw_only=True)
class Settings:
    """The settings of one backend process.

    Attributes:
        data: the folder with the work folders of jobs, and with the database if that is a file; made where missing.
        database: address of a PostgreSQL database, ``postgresql+psycopg://…``; None keeps a SQLite file.
        storage: where data sets, checkpoints and artifacts are kept, see ``storage.choose``; by default in ``data``.
        retention_s: seconds after which a job that has ended is removed; None keeps all.
        storage_patience_s: seconds for which an error of the storage that passes is tried again.
        model_root: folder below which model folders may be named by jobs and chats; None accepts no folder.
        allow_private_urls: whether jobs may name URLs of hosts that are not on the public internet.
        host: address to listen on.
        advertise_url: where workers on other machines reach it; None if they reach ``host`` and ``port``.
        port: TCP port; 0 takes a free one (the former one where it is still free).
        server_file: where to say the address; None says it nowhere.
        idle_exit_s: seconds without work or clients after which the process ends; None stays.
        max_parallel: the most jobs that train at the same time, at least 1; None for one on each GPU, one on the
            processor, or 64 on Ray.
        engine: what runs the workers, one of ``engines.WORKER_ENGINES``.
        ray_address: the dashboard of the Ray cluster.
        ray_cpus: CPUs of the cluster for each device of a job, above 0.
        ray_gpus: GPUs of the cluster for each device of a job, 0 or more.
        ray_python: the interpreter on the cluster's nodes.
        worker_module: what ``python -m`` runs for each attempt at a job.
        models_module: what ``python -m`` runs to pull a model.
        stream_cap: event streams open at the same time, at least 1; beyond it a 503.
        chat_module: what ``python -m`` runs to answer chats.
        chat_engine: who computes the answers to chats, one of ``engines.ENGINES``.
        chat_dtype: the number type in which llama.cpp does, one of ``engines.LLAMA_CPP_DTYPES``.
        chat_cap: chats answered at the same time, at least 1; beyond it a 503.
        chat_idle_s: seconds without a chat after which its process is let go, with the models in it.
        preview_module: what ``python -m`` runs to show rows as a model sees them.
        preview_cap: previews made at the same time, at least 1; beyond it a 503.
        preview_limit_s: seconds after which a preview is given up.
        evaluation_module: what ``python -m`` runs to make a report.
        export_module: what ``python -m`` runs to make an export.
        import_module: what ``python -m`` runs to check an adapter that was trained elsewhere.
        import_limit_s: seconds after which such a check is given up.
        checks_served: whether a job with held-out rows is followed by a check that the adapter that answers is the one
            that was trained.
        ping_s: seconds between two signs of life on a silent event stream.
        lease_s: seconds a worker may be silent before its attempt is lost.
        first_lease_s: the same from its start until its first report.
        cancel_grace_s: seconds from a cancel (or a last event) until the worker is killed.
        stop_grace_s: seconds that a stopping backend gives its workers to save what they have.
        max_attempts: lost attempts in a row without progress after which a job fails, at least 1.
        max_starts: tries to start a job's worker after which the job fails, at least 1.
        disk_room_bytes: by how much the free space of the data folder's disk has to grow until a job goes on that was
            paused because the disk was full.
        disk_retry_s: seconds after which such a job is tried again in any case, as another disk may have been full,
            or there was room again when it was paused; twice as long after each further try, at most an hour.
        disk_patience_s: seconds after which such a job fails.
        start_retry_s: seconds until the second try; twice as long before each later one, at most a minute.
        max_dataset_bytes: largest data set, uncompressed.
        examples_bytes: how large the tokenized rows that are kept for later jobs may be together, 0 or more.
    """

    data: Path = attrs.field(converter=_absolute)
    database: str | None = attrs.field(default=None, repr=False)  # it may have a password
    storage: str = attrs.field(converter=absolute_place)
    storage_patience_s: float = PATIENCE_S
    retention_s: float | None = None
    model_root: Path | None = attrs.field(default=None, converter=attrs.converters.optional(_absolute))
    allow_private_urls: bool = False
    host: str = "127.0.0.1"
    advertise_url: str | None = None
    port: int = 0
    server_file: Path | None = None
    idle_exit_s: float | None = None
    max_parallel: int | None = None
    engine: str = PROCESS
    ray_address: str = "http://127.0.0.1:8265"
    ray_cpus: float = 1.0
    ray_gpus: float = 0.0
    ray_python: str = "python"
    worker_module: str = "arkor.backend.training_worker"
    models_module: str = "arkor.backend.models"
    stream_cap: int = 1000
    chat_module: str = "arkor.backend.inference_worker"
    chat_engine: str = AUTO
    chat_dtype: str = LLAMA_CPP_DTYPES[0]
    chat_cap: int = 32
    chat_idle_s: float = 300.0
    preview_module: str = "arkor.backend.training_worker.preview"
    preview_cap: int = 2
    preview_limit_s: float = 3600.0
    evaluation_module: str = "arkor.backend.evaluation_worker"
    export_module: str = "arkor.backend.export_worker"
    import_module: str = "arkor.backend.import_worker"
    import_limit_s: float = 300.0
    checks_served: bool = True
    ping_s: float = 5.0
    lease_s: float = 15.0
    first_lease_s: float = 60.0
    cancel_grace_s: float = 20.0
    stop_grace_s: float = 10.0
    max_attempts: int = 3
    max_starts: int = 12
    disk_room_bytes: int = 64 * 1024**2
    disk_retry_s: float = 15.0
    disk_patience_s: float = 24 * 3600.0
    start_retry_s: float = 1.0
    max_dataset_bytes: int = 4 * GIB
    examples_bytes: int = 8 * GIB

    @storage.default
    def _(self) -> str:
        return str(self.data)

    @property
    def trains_here(self) -> bool:
        """Whether workers run on this machine, so that its memory and its devices are theirs."""
        return self.engine == PROCESS

    @property
    def database_path(self) -> Path:
        """The SQLite file."""
        return self.data / "backend.sqlite3"

    @property
    def datasets_folder(self) -> Path:
        """Where uploaded data sets are, each named by the SHA-256 of its bytes."""
        return self.data / "datasets"

    @property
    def adapters_folder(self) -> Path:
        """Where adapters are unpacked for chats; all of it can be made again."""
        return self.data / "adapters"

    @property
    def examples_folder(self) -> Path:
        """Where tokenized rows are kept for later jobs; all of it can be made again."""
        return self.data / "examples"

    @property
    def tools_folder(self) -> Path:
        """Where programs are that exports fetch; all of it can be fetched again."""
        return self.data / "tools"

    @property
    def jobs_folder(self) -> Path:
        """Where each job has its folder."""
        return self.data / "jobs"

    def job_folder(self, job_id: str) -> Path:
        """Return the folder that belongs to one job."""
        return self.jobs_folder / job_id
