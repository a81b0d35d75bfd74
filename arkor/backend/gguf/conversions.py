"""What llama.cpp answers chats with: models and adapters as GGUF files, made once and kept.

A model is turned into a file in the background; until it is there, the other engine answers. An adapter takes less than
a second, and is turned into one when it is first asked for.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import attrs

from arkor.backend.gguf import children, scripts
from arkor.errors import ArkorError
from arkor.system.files import file_lock, make_private_folder

log = logging.getLogger("arkor.backend")

MODEL, MAP, SOURCE = "model.gguf", "tensors.json", "source.json"
MODEL_LIMIT_S = 3600.0
_ADAPTER_LIMIT_S = 60.0
_LOOK_S = 0.2
_ROOM = 2  # times the size of a model has to be free on the disk, half of which stays free
_AGAIN_S = 3600.0  # after a failure: a disk that was full may have room again
_READ_BY_THE_SCRIPTS = ("*.safetensors", "*.json")


@attrs.frozen
class ConvertedModel:
    """A model that is ready for llama.cpp.

    Attributes:
        folder: where its files are.
        dtype: the number type of its weights, ``bf16`` or ``q8_0``.
    """

    folder: Path
    dtype: str

    @property
    def file(self) -> Path:
        """The GGUF file."""
        return self.folder / MODEL


class Conversions:
    """Converts models and adapters. Thread-safe.

    Args:
        folder: where models are kept; backends may share it.
        tools: where llama.cpp's scripts are kept.
    """

    def __init__(self, folder: Path, tools: Path) -> None:
        self._folder = folder
        self._tools = tools
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._under_way: dict[str, threading.Thread] = {}
        self._failed: dict[str, float] = {}  # when it may be tried again
        self._adapting = threading.Lock()

    def model(
        self,
        base: Path,
        dtype: str,
        patience_s: float = 0.0,
        stopping: threading.Event | None = None,
    ) -> ConvertedModel | None:
        """Return a model if it is converted; otherwise begin to convert it.

        Args:
            base: the model's folder.
            dtype: the number type of its weights, ``bf16`` or ``q8_0``.
            patience_s: how long to wait until it is converted, in seconds.
            stopping: ends the wait when it is set.

        Returns:
            None while it is not converted, or where it cannot be; the log then says why.
        """
        name = _name(base, dtype)
        folder = self._folder / name
        if folder.is_dir():
            return ConvertedModel(folder, dtype)
        thread = self._begin(name, base, dtype)
        deadline = time.monotonic() + patience_s
        while thread is not None and thread.is_alive() and (left := deadline - time.monotonic()) > 0:
            thread.join(min(left, _LOOK_S))
            if stopping is not None and stopping.is_set():
                break
        return ConvertedModel(folder, dtype) if folder.is_dir() else None

    def adapter(self, model: ConvertedModel, adapter: Path) -> Path | None:
        """Return the GGUF file of an adapter, made where it was not.

        Args:
            model: the model that it belongs to.
            adapter: the folder of PEFT's files; the GGUF file is kept in it.

        Returns:
            None where it cannot be made; the log then says why.
        """
        file = adapter / f"{model.folder.name}.gguf"
        with self._adapting:
            if not file.exists() and self._may_try(str(file)):
                self._convert(
                    str(file), f"The adapter {adapter.name}", lambda: self._make_adapter(model, adapter, file)
                )
            return file if file.exists() else None

    @property
    def busy(self) -> bool:
        """Whether a model is being converted."""
        return bool(self._under_way)

    def close(self) -> None:
        """End what is under way. Nothing is converted afterwards."""
        self._stopping.set()
        with self._lock:
            threads = list(self._under_way.values())
        for thread in threads:
            thread.join()

    def _begin(self, name: str, base: Path, dtype: str) -> threading.Thread | None:
        with self._lock:
            if name not in self._under_way:
                if self._stopping.is_set() or not self._may_try(name):
                    return None
                thread = threading.Thread(target=self._run, args=(name, base, dtype), name="conversion", daemon=True)
                self._under_way[name] = thread
                thread.start()
            return self._under_way[name]

    def _run(self, name: str, base: Path, dtype: str) -> None:
        began = time.monotonic()
        try:
            if self._convert(name, f"The model {base}", lambda: self._make_model(name, base, dtype)):
                log.info("%s converted for llama.cpp in %.1f s", base, time.monotonic() - began)
        finally:
            with self._lock:
                del self._under_way[name]

    def _may_try(self, name: str) -> bool:
        return time.monotonic() >= self._failed.get(name, 0.0)

    def _convert(self, name: str, what: str, make: Callable[[], None]) -> bool:
        """Make something; return whether that worked."""
        try:
            make()
        except (ArkorError, OSError) as exc:
            self._failed[name] = time.monotonic() + _AGAIN_S
            if not self._stopping.is_set():
                log.warning("%s is not answered by llama.cpp: %s", what, exc)
            return False
        return True

    def _make_model(self, name: str, base: Path, dtype: str) -> None:
        make_private_folder(self._folder)
        with file_lock(self._folder / ".lock"):
            if (self._folder / name).is_dir():  # another backend has made it
                return
            self._sweep()
            needed = _ROOM * sum(file.stat().st_size for file in base.glob("*.safetensors"))
            free = shutil.disk_usage(self._folder).free
            if free < needed:
                raise ArkorError(f"{free / 2**20:.0f} MiB are free in {self._folder}, {needed / 2**20:.0f} are needed.")
            work = Path(tempfile.mkdtemp(dir=self._folder, prefix=".work-"))
            try:
                arguments = [str(base), str(work), dtype]
                how = {"limit_s": MODEL_LIMIT_S, "stopping": self._stopping}
                scripts.run(self._tools, "arkor.backend.gguf.chat_model", arguments, work, **how)
                (work / SOURCE).write_text(json.dumps({"path": str(base), "dtype": dtype}))
                work.replace(self._folder / name)
            finally:
                shutil.rmtree(work, ignore_errors=True)

    def _sweep(self) -> None:
        """Remove what a conversion left that was killed, and files of models that are gone or have changed."""
        for folder in self._folder.iterdir():
            if folder.is_dir() and not _is_wanted(folder):
                shutil.rmtree(folder, ignore_errors=True)

    def _make_adapter(self, model: ConvertedModel, adapter: Path, file: Path) -> None:
        work = Path(tempfile.mkdtemp(dir=adapter, prefix=".gguf-"))
        try:
            made = work / "adapter.gguf"
            arguments = [str(model.folder / MAP), str(adapter), str(made)]
            children.run(
                "arkor.backend.gguf.adapter", arguments, work, limit_s=_ADAPTER_LIMIT_S, stopping=self._stopping
            )
            made.replace(file)
        finally:
            shutil.rmtree(work, ignore_errors=True)


def _name(base: Path, dtype: str) -> str:
    """Return the name of what is made of a model: another one for other files, and for other scripts."""
    files = sorted(file for pattern in _READ_BY_THE_SCRIPTS for file in base.glob(pattern))
    seen = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    said = json.dumps([str(base), dtype, scripts.SHA256, seen])
    return hashlib.sha256(said.encode()).hexdigest()[:32]


def _is_wanted(folder: Path) -> bool:
    with contextlib.suppress(OSError, ValueError, KeyError):
        source = json.loads((folder / SOURCE).read_text())
        return folder.name == _name(Path(source["path"]), source["dtype"])
    return False
