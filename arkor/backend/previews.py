"""Previews: how many at a time, each in a process of its own, which has a tokenizer and ends with its client.

Protocol: docs/protocol.md, "Previews".
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from arkor.backend.jobs.job_files import uploaded_rows
from arkor.backend.processes.exit_reasons import describe_preview_exit
from arkor.backend.settings import Settings
from arkor.backend.storage.interface import Storage
from arkor.protocol.config import JobConfig
from arkor.serving.refusal import Refusal
from arkor.system.files import make_private_folder
from arkor.system.processes import child, module_command, signal_group

STOPPING = "The backend is stopping."
_CHUNK_BYTES = 64 * 1024


class Preview:
    """One preview that is being made. Not thread-safe.

    Args:
        process: makes it.
        said: the file that it writes to.
        limit_s: seconds after which it is given up.
        is_stopping: says whether the backend stops.
    """

    def __init__(
        self, process: subprocess.Popen[bytes], said: IO[bytes], limit_s: float, is_stopping: Callable[[], bool]
    ) -> None:
        self._process = process
        self._said = said
        self._limit_s = limit_s
        self._is_stopping = is_stopping
        self._ends_at = time.monotonic() + limit_s

    def wait(self, wait_s: float) -> Iterable[bytes] | None:
        """Return the answer, a JSON object in pieces; None if it is not there within so many seconds."""
        try:
            code = self._process.wait(wait_s)
        except subprocess.TimeoutExpired:
            if time.monotonic() < self._ends_at:
                return None
            return _failure(500, f"The rows were not looked through within {self._limit_s:g} s: check a part of them.")
        if code != 0 or not self._said.seek(0, os.SEEK_END):
            return _failure(503, STOPPING) if self._is_stopping() else _failure(500, describe_preview_exit(code))
        self._said.seek(0)
        return iter(lambda: self._said.read(_CHUNK_BYTES), b"")


class Previews:
    """Starts the processes. Thread-safe.

    Args:
        settings: what the backend was told.
        storage: has the uploaded rows.
    """

    def __init__(self, settings: Settings, storage: Storage) -> None:
        self._settings = settings
        self._storage = storage
        self._folder = settings.data / "previews"
        self._lock = threading.Lock()
        self._open = 0
        self._processes: set[subprocess.Popen[bytes]] = set()
        self._is_closed = False
        shutil.rmtree(self._folder, ignore_errors=True)  # of a backend that was killed

    @contextlib.contextmanager
    def start(self, config: JobConfig, model_path: str, question: Mapping[str, Any]) -> Iterator[Preview]:
        """Begin a preview; its process ends with the block.

        Args:
            config: the settings of a job.
            model_path: what transformers loads its tokenizer from.
            question: what is asked of the rows, see ``training_worker/preview``; empty for a summary.

        Raises:
            Refusal: 503, as many as there may be are being made, or the backend stops.
            StorageError: the rows cannot be had.
            OSError: the process cannot be started.
        """
        with self._place(), self._own_folder() as folder, tempfile.TemporaryFile(dir=folder) as said:
            task = {
                "config": config.to_wire(),
                "modelPath": model_path,
                "datasetPath": uploaded_rows(self._storage, config.dataset_source, Path(folder)),
                "evalDatasetPath": uploaded_rows(self._storage, config.eval_dataset_source, Path(folder)),
                "folder": folder,
                "allowPrivateUrls": self._settings.allow_private_urls,
                **question,
            }
            with self._process(said, folder) as process:
                _tell(process, task)
                yield Preview(process, said, self._settings.preview_limit_s, lambda: self._is_closed)

    def close(self) -> None:
        """End all of them."""
        with self._lock:
            self._is_closed = True
            for process in self._processes:
                process.kill()

    @contextlib.contextmanager
    def _place(self) -> Iterator[None]:
        with self._lock:
            if self._open >= self._settings.preview_cap:
                cap = self._settings.preview_cap
                raise Refusal(503, f"All {cap} previews of this backend are taken.", headers={"Retry-After": "2"})
            self._open += 1
        try:
            yield
        finally:
            with self._lock:
                self._open -= 1

    @contextlib.contextmanager
    def _own_folder(self) -> Iterator[str]:
        make_private_folder(self._folder)
        with tempfile.TemporaryDirectory(dir=self._folder) as folder:
            yield folder

    @contextlib.contextmanager
    def _process(self, said: IO[bytes], folder: str) -> Iterator[subprocess.Popen[bytes]]:
        command = module_command(self._settings.preview_module)
        # The libraries take a folder in the working folder for a name of the hub.
        with child(command, stdin=subprocess.PIPE, stdout=said, start_new_session=True, cwd=folder) as process:
            with self._lock:
                if self._is_closed:
                    raise Refusal(503, STOPPING, headers={"Retry-After": "5"})
                self._processes.add(process)
            try:
                yield process
            finally:
                with self._lock:
                    self._processes.discard(process)
                if process.poll() is None:
                    signal_group(process.pid)
                assert process.stdin is not None  # PIPE
                with contextlib.suppress(OSError):  # what it did not read is not wanted any more
                    process.stdin.close()


def _tell(process: subprocess.Popen[bytes], task: Mapping[str, Any]) -> None:
    """Send the task. The pipe stays open: the process takes its end for the end of the backend."""
    assert process.stdin is not None  # PIPE
    with contextlib.suppress(OSError):  # it died at its start, and its exit code says more
        process.stdin.write(json.dumps(task).encode() + b"\n")
        process.stdin.flush()


def _failure(status: int, message: str) -> list[bytes]:
    return [json.dumps({"status": status, "error": message}).encode()]
