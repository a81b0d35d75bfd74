"""Find this user's own backend, or start it.

There is one per user. Whoever needs it first starts it, in a process group of its own, so that Ctrl-C in a terminal
does not reach it; it notes its address in ``~/.arkor/local/server.json`` and leaves by itself when it has not been
needed for a minute. Finding, starting and leaving happen under one lock, so that two commands at once start one.
"""

from __future__ import annotations

import enum
import importlib.util
import logging
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from textwrap import indent

from arkor.client.server_note import ServerNote
from arkor.errors import ArkorError, CloudApiError, ConnectionFailed, LocalBackendError
from arkor.http.abort import check_scope, pause
from arkor.http.connections import StrangeServer
from arkor.http.transport import Transport
from arkor.system.files import arkor_home, file_lock, make_private_folder, read_end, rotate_log
from arkor.system.origin import install_command
from arkor.system.processes import module_command
from arkor.text import last_lines

logger = logging.getLogger(__name__)

START_TIMEOUT_S = 60.0
IDLE_EXIT_S = 60
START_POLL_S = 0.05
HEALTH_TIMEOUT_S = 5.0

_NEEDED = (
    "flask",
    "waitress",
    "sqlalchemy",
    "psutil",
    "torch",
    "transformers",
    "trl",
    "peft",
    "datasets",
    "llguidance",
)


class _Listener(enum.Enum):
    OURS = enum.auto()
    STRANGER = enum.auto()
    NOBODY = enum.auto()


def local_folder() -> Path:
    """Return the folder of the local backend: its address, its log and its data."""
    return arkor_home() / "local"


def find_or_start() -> str:
    """Return the local backend's base URL, starting it where it does not run.

    Raises:
        LocalBackendError: packages are missing, or it died at its start; the end of its log is in the message.
    """
    try:
        make_private_folder(local_folder())
        with file_lock(local_folder() / "lock", pause):
            return _find(remove_old=True) or _start()
    except ArkorError:  # some of ours are OSErrors too
        raise
    except OSError as exc:
        raise LocalBackendError(f"The local backend needs {local_folder()}, which cannot be used: {exc}.") from exc


def check_alive(base_url: str) -> None:
    """Do nothing while the local backend may still answer.

    Raises:
        LocalBackendError: nobody listens at its address any more, or another program does.
    """
    note = _noted(base_url)
    if note is None or _listener(note) is not _Listener.OURS:
        raise LocalBackendError(
            f"The local backend at {base_url} is gone; its log is {_log_file()}. The next command with --local "
            "starts it again, and what was running goes on from its last checkpoint."
        )


def check_peer(base_url: str, sock: socket.socket) -> None:
    """Let the other end of a connection prove that it is the local backend, before a token is sent on it.

    Raises:
        StrangeServer: it is another program.
        OSError: it does not answer.
    """
    note = _noted(base_url)
    if note is None:
        raise StrangeServer("the local backend has left that address")
    note.check(sock)


def _server_file() -> Path:
    return local_folder() / "server.json"


def _log_file() -> Path:
    return local_folder() / "backend.log"


def noted_url() -> str | None:
    """Return the address that the backend noted at its last start; None once it has left in good order."""
    note = ServerNote.read(_server_file())
    return None if note is None else note.url


def _noted(base_url: str) -> ServerNote | None:
    """Return the note of the backend that is at an address; None if the last one to start is at another."""
    note = ServerNote.read(_server_file())
    return note if note is not None and note.url == base_url else None


def _find(*, remove_old: bool = False) -> str | None:
    """Return the address of the backend if it is there.

    Args:
        remove_old: remove the file of a backend whose port is another program's now; the caller holds the lock, and
            nothing is starting. If the port is free the file stays: the next backend takes the same port again,
            because workers that survived report there.
    """
    note = ServerNote.read(_server_file())
    if note is None:
        return None
    listener = _listener(note)
    if listener is _Listener.STRANGER and remove_old:
        _server_file().unlink(missing_ok=True)
        logger.warning(
            "%s is of a backend that is gone, and another program listens at %s now. It got no token; the file was "
            "removed.",
            _server_file(),
            note.url,
        )
    return note.url if listener is _Listener.OURS else None


def _listener(note: ServerNote) -> _Listener:
    """Say who listens at the address of a note. A backend that is slow to answer counts as long as its process runs."""
    found = _Listener.NOBODY

    def look(sock: socket.socket) -> None:
        nonlocal found
        found = _Listener.OURS if note.is_alive() else _Listener.STRANGER
        try:
            note.check(sock)
        except StrangeServer:
            found = _Listener.STRANGER
            raise
        found = _Listener.OURS

    transport = Transport(note.url, check_peer=look)
    try:
        transport.send("GET", "/healthz", timeout_s=(HEALTH_TIMEOUT_S, HEALTH_TIMEOUT_S))
    except (ConnectionFailed, CloudApiError):  # the check has seen who it is, unless the end of the call cut it short
        check_scope()
    finally:
        transport.close()
    return found


def check_packages() -> None:
    """Raise LocalBackendError where the packages of the ``local`` extra are missing."""
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise LocalBackendError(
            f"The local backend needs {', '.join(missing)}. "
            f"Install what is missing with: {install_command('local')} (Python 3.11 or newer)"
        )


def _start() -> str:
    if sys.platform == "win32":
        raise LocalBackendError("The local backend runs on Linux and macOS, not on Windows. WSL is a way.")
    check_packages()
    data, address = str(local_folder() / "data"), str(_server_file())
    # It serves its own user alone, who may read any of these folders and URLs anyway.
    options = ["--model-root", "/", "--allow-private-urls"]
    options += ["--data", data, "--server-file", address, "--idle-exit", str(IDLE_EXIT_S)]
    command = module_command("arkor.backend", *options)
    rotate_log(_log_file())
    with _log_file().open("ab") as log:
        started_at = log.tell()
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, cwd=local_folder()
        )
    return _wait_until_ready(process, started_at)


def _wait_until_ready(process: subprocess.Popen[bytes], log_start: int) -> str:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        pause(START_POLL_S)
        process.poll()
        url = _find()
        if url is not None:
            # It outlives this process; where it does not, somebody has to take note of its end.
            threading.Thread(target=process.wait, name="local-backend", daemon=True).start()
            return url
        if process.returncode is not None:
            raise LocalBackendError(
                f"The local backend ended at its start (exit code {process.returncode}). The end of {_log_file()}:\n"
                f"{_log_tail(log_start)}"
            )
    process.kill()
    process.wait()
    raise LocalBackendError(
        f"The local backend did not start within {START_TIMEOUT_S:g} s. "
        f"The end of {_log_file()}:\n{_log_tail(log_start)}"
    )


def _log_tail(start: int) -> str:
    return indent(last_lines(read_end(_log_file(), start=start)), "  ") or "  (empty)"
