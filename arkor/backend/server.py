"""One backend process, from its first lock to its last."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import resource
import shlex
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

from arkor.backend.app import create_app
from arkor.backend.backend import Backend
from arkor.backend.routes import bodies
from arkor.backend.server_file import ServerFile
from arkor.backend.settings import Settings
from arkor.backend.storage.local import SERVER_LOCK
from arkor.errors import LocalBackendError
from arkor.serving.application import gate_of
from arkor.serving.httpserver import HttpServer
from arkor.serving.stopping import StopRequest
from arkor.serving.takeover import TakeOverChannel
from arkor.system.files import make_private_folder

log = logging.getLogger("arkor.backend")

_ANY = frozenset({"", "0.0.0.0"})  # refused as an address of this backend
_SPARE_THREADS = 16  # for everything that is neither a chat nor a preview; event streams need no thread
_SHUTDOWN_S = 5.0
_IDLE_LOOK_S = 1.0
_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_SPARE_FILES = 1500  # connections, each possibly with a body in a temporary file; the database, workers' pipes


def serve(settings: Settings) -> None:
    """Serve until SIGTERM, SIGINT or SIGHUP, or until nobody has needed the backend for a while.

    Raises:
        LocalBackendError: the port or the data folder is in use, or a newer arkor wrote the data.
        OSError: the data folder cannot be written.
    """
    if settings.host in _ANY and settings.advertise_url is None:
        raise LocalBackendError(f"Workers cannot reach {settings.host}: name an address with --advertise-url.")
    server_file = ServerFile(settings.server_file) if settings.server_file is not None else None
    with _sole_user(settings), StopRequest() as stop, _bound(settings, server_file) as bound:
        url = f"http://{settings.host}:{bound.getsockname()[1]}"
        backend = Backend(settings, settings.advertise_url or url, None if server_file is None else server_file.secret)
        app = create_app(backend)
        http = HttpServer(
            backend.activity.watch(app.wsgi_app),
            bound,
            gate=gate_of(app, bodies.admit),
            threads=settings.chat_cap + settings.preview_cap + _SPARE_THREADS,
            shutdown_s=_SHUTDOWN_S,
            channel=TakeOverChannel,
        )
        _allow_files(settings.stream_cap + _SPARE_FILES)
        backend.start()
        http.start()
        try:
            if server_file is not None:
                server_file.write(url)
            log.info("Listening on %s, process %d, data in %s", url, os.getpid(), settings.data)
            _wait(stop, backend, settings.idle_exit_s, server_file)
        finally:
            log.info("Stopping")
            if server_file is not None:
                server_file.remove_if_ours()
            backend.stop()
            http.stop()
            backend.close()


def _wait(stop: StopRequest, backend: Backend, idle_exit_s: float | None, server_file: ServerFile | None) -> None:
    look_s = None if idle_exit_s is None else min(_IDLE_LOOK_S, idle_exit_s / 4)
    while not stop.came(look_s):
        if idle_exit_s is not None and backend.is_idle(idle_exit_s) and _left(backend, idle_exit_s, server_file):
            log.info("Nobody has needed this backend for %g s", idle_exit_s)
            return


def _left(backend: Backend, idle_exit_s: float, server_file: ServerFile | None) -> bool:
    """Take the address away, unless a client came while the lock was another's."""
    if server_file is None:
        return True
    with server_file.lock():
        if not backend.is_idle(idle_exit_s):
            return False
        server_file.remove_if_ours()
        return True


def _allow_files(count: int) -> None:
    """Let this process have so many files open, as far as the system lets it: each stream is one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count if hard == resource.RLIM_INFINITY else min(count, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError, ValueError):  # macOS refuses more than its kernel allows
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


@contextlib.contextmanager
def _sole_user(settings: Settings) -> Iterator[None]:
    make_private_folder(settings.data)
    _warn_if_open(settings.data)
    with (settings.data / SERVER_LOCK).open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LocalBackendError(
                f"Another backend is using {settings.data}: stop it, or choose another folder with --data."
            ) from None
        yield


def _warn_if_open(folder: Path) -> None:
    mode = stat.S_IMODE(folder.stat().st_mode)
    if mode & _OTHERS:
        log.warning(
            "Other users of this machine can reach the data folder: its mode is %04o, and a folder that was there "
            "before is left as it is. To keep others out: chmod 700 %s",
            *(mode, shlex.quote(str(folder))),
        )


@contextlib.contextmanager
def _bound(settings: Settings, server_file: ServerFile | None) -> Iterator[socket.socket]:
    host, port = settings.host, settings.port
    former = server_file.former_port() if server_file is not None and port == 0 else None
    with socket.socket() as bound:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        for candidate in (former or port, port):
            try:
                bound.bind((host, candidate))
                break
            except OSError as exc:
                if candidate == port:
                    raise LocalBackendError(f"Cannot listen on {host}:{port}: {exc.strerror}.") from exc
        yield bound
