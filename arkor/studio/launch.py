"""One launch of Studio, from its port to its end."""

from __future__ import annotations

import contextlib
import errno
import importlib.util
import logging
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from arkor.errors import ArkorError, StudioError
from arkor.serving.stopping import StopRequest
from arkor.system.files import STUDIO_ADDRESS, arkor_home, make_private_folder, write_atomically
from arkor.system.origin import install_command

if TYPE_CHECKING:
    from arkor.studio.state import Studio

HOST = "127.0.0.1"
DEFAULT_PORT = 4000
PORTS_TRIED = 10

_NEEDED = ("flask", "waitress", "plotly")

logger = logging.getLogger(__name__)


def serve(
    project_dir: Path,
    *,
    port: int | None,
    local: bool,
    ready: Callable[[str], object],
    say: Callable[[str], object],
) -> int:
    """Serve the page until SIGTERM, SIGINT or SIGHUP; a second one is at once.

    Args:
        project_dir: the folder whose project it shows; absolute.
        port: on 127.0.0.1; 0 takes a free one; None the first free one of ten, from 4000 on.
        local: whether it is for this user's own backend.
        ready: called with the page's address, once it answers.
        say: called with a line for the user.

    Returns:
        The exit code: 128 and the number of the signal.

    Raises:
        StudioError: packages are missing, or the port is in use.
    """
    _check_packages()
    from arkor.studio.app import create_app
    from arkor.studio.httpserver import create_server
    from arkor.studio.state import Studio

    logging.getLogger("waitress").setLevel(logging.ERROR)  # its warnings are of queues a few requests deep
    studio = Studio.of(project_dir, local=local)
    files = [_LaunchFile("studio-token", studio.token)]

    def end_at_once() -> None:
        for file in files:
            file.remove_if_ours()
        studio.runs.kill()

    with StopRequest(end_at_once) as stop, listening(port) as bound:
        address = f"http://{HOST}:{bound.getsockname()[1]}/"
        files.append(_LaunchFile(STUDIO_ADDRESS, address))
        http = create_server(create_app(studio), bound)
        for file in files:
            file.write()
        http.start()
        try:
            ready(address)
            threading.Thread(target=_introduce, args=(studio.backend,), name="introduce", daemon=True).start()
            number = stop.wait()
        finally:
            studio.stopping.set()
            for file in files:
                file.remove_if_ours()
            _end_run(studio, say)
            http.stop()
    return 128 + number


def _end_run(studio: Studio, say: Callable[[str], object]) -> None:
    run = studio.runs.close()
    if run is not None:
        flag = " --local" if studio.local else ""
        with contextlib.suppress(OSError):  # a terminal that was closed hears nothing any more
            say(f"Job {run.job_id} keeps running. Follow it with: arkor attach {run.job_id}{flag}")


def _check_packages() -> None:
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise StudioError(f"Studio needs {', '.join(missing)}. Install it with: {install_command('studio')}")


@contextlib.contextmanager
def listening(port: int | None) -> Iterator[socket.socket]:
    """Listen on 127.0.0.1, on the port that was asked for; None for the first free one of ten.

    Raises:
        StudioError: none is free, or the port is not for this user.
    """
    last = DEFAULT_PORT + PORTS_TRIED - 1
    for candidate in range(DEFAULT_PORT, last + 1) if port is None else [port]:
        with socket.socket() as bound:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                bound.bind((HOST, candidate))
                bound.listen()  # two may bind the same port, one can listen
            except OSError as exc:
                if exc.errno != errno.EADDRINUSE:
                    raise StudioError(f"Cannot listen on {HOST}:{candidate}: {exc.strerror}.") from exc
                continue
            if port is None and candidate != DEFAULT_PORT:
                logger.warning("Port %d is in use by another program; Studio takes %d.", DEFAULT_PORT, candidate)
            yield bound
            return
    which = f"Ports {DEFAULT_PORT} to {last} of {HOST} are all" if port is None else f"Port {port} of {HOST} is"
    raise StudioError(f"{which} in use by another program. Stop that one, or name another port with --port.")


class _LaunchFile:
    """A file in ``~/.arkor`` where other programs of this user find something of the last launch.

    Args:
        name: the file's.
        content: the token, or the address.
    """

    def __init__(self, name: str, content: str) -> None:
        self._file = arkor_home() / name
        self._content = content.encode()

    def write(self) -> None:
        try:
            make_private_folder(self._file.parent)
            write_atomically(self._file, self._content, mode=0o600)
        except OSError as exc:
            logger.warning("%s cannot be written: %s. The page works without it.", self._file, exc.strerror)

    def remove_if_ours(self) -> None:
        with contextlib.suppress(OSError):
            if self._file.read_bytes() == self._content:
                self._file.unlink()


def _introduce(backend: str | None) -> None:
    """See to it that there is an identity, as every command does; without one the page still opens."""
    from arkor.client.client import CloudApiClient

    try:
        CloudApiClient.connect(backend).close()
    except ArkorError as exc:
        logger.warning("The page is up, but the backend cannot be used: %s", exc)
