"""Find this user's own backend, or start it.

There is one per user. Whoever needs it first starts it, in a process group of its own, so that Ctrl-C in a terminal
does not reach it; it notes its address in ``~/.arkor/local/server.json`` and leaves by itself when it has not been
needed for a minute. Finding, starting and leaving happen under one lock, so that two commands at once start one.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import threading
import time
from pathlib import Path
from textwrap import indent

from arkor.errors import ArkorError, ConnectionFailed, LocalBackendError
from arkor.http.abort import pause
from arkor.http.transport import Transport
from arkor.system.files import arkor_home, file_lock, read_end
from arkor.system.origin import install_command
from arkor.system.processes import module_command
from arkor.text import last_lines

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


def local_folder() -> Path:
    """Return the folder of the local backend: its address, its log and its data."""
    return arkor_home() / "local"


def find_or_start() -> str:
    """Return the local backend's base URL, starting it where it does not run.

    Raises:
        LocalBackendError: packages are missing, or it died at its start; the end of its log is in the message.
    """
    try:
        with file_lock(local_folder() / "lock", pause):
            return _find() or _start()
    except ArkorError:  # some of ours are OSErrors too
        raise
    except OSError as exc:
        raise LocalBackendError(f"The local backend needs {local_folder()}, which cannot be used: {exc}.") from exc


def check_alive(base_url: str) -> None:
    """Do nothing while the local backend may still answer.

    Raises:
        LocalBackendError: nobody listens at its address any more.
    """
    if not _listens(base_url):
        raise LocalBackendError(
            f"The local backend at {base_url} is gone; its log is {_log_file()}. The next command with --local "
            "starts it again, and what was running goes on from its last checkpoint."
        )


def _server_file() -> Path:
    return local_folder() / "server.json"


def _log_file() -> Path:
    return local_folder() / "backend.log"


def noted_url() -> str | None:
    """Return the address that the backend noted at its last start; None once it has left in good order."""
    try:
        body = json.loads(_server_file().read_bytes())
    except (FileNotFoundError, ValueError):
        return None
    url = body.get("url") if isinstance(body, dict) else None
    return url if isinstance(url, str) else None


def _find() -> str | None:
    url = noted_url()
    return url if url is not None and _listens(url) else None


def _listens(base_url: str) -> bool:
    """Say whether a backend is at an address: one that is slow to answer counts, one that is refused does not."""
    transport = Transport(base_url)
    try:
        transport.send("GET", "/healthz", timeout_s=(HEALTH_TIMEOUT_S, HEALTH_TIMEOUT_S))
    except ConnectionFailed as exc:
        return exc.sent
    except ArkorError:
        return False  # somebody else took the port
    else:
        return True
    finally:
        transport.close()


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
    local_folder().mkdir(parents=True, exist_ok=True, mode=0o700)
    data, address = str(local_folder() / "data"), str(_server_file())
    options = ["--data", data, "--server-file", address, "--idle-exit", str(IDLE_EXIT_S)]
    command = module_command("arkor.backend", *options)
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
