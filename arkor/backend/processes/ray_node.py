"""``python -m arkor.backend.processes.ray_node [--leashed] MODULE SPEC [MORE…]``: run a worker on a node of Ray.

Ray sees its exit code. When the worker has ended, the processes that it left are killed: Ray leaves them. If this
process is leashed, all of them go when its standard input ends, and so with the process that holds it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import FrameType

import psutil

from arkor.system.processes import module_command

EXIT_USAGE = 2
LEASHED = "--leashed"
# For the first of several processes: the number of a socket on which it hears of the others, and how many of them, this
# one included, are on its node.
PARTNERS = "ARKOR_PARTNERS"


def run(module: str, spec_path: Path, more: list[str], *, is_leashed: bool = False) -> int:
    """Run a worker to its end and return its exit code; minus the signal's number if it was killed.

    Args:
        module: the worker's module.
        spec_path: the file that tells it what to do.
        more: further arguments of it.
        is_leashed: whether it is killed when this process's standard input ends.
    """
    if not spec_path.exists():
        text = f"{spec_path} is not on this node: the backend's data folder has to be on a file system of all nodes."
        print(text, file=sys.stderr)
        return EXIT_USAGE
    asked_to_end: list[int] = []

    def pass_on(number: int, _frame: FrameType | None) -> None:
        asked_to_end.append(number)
        if worker is not None:
            worker.terminate()

    worker: subprocess.Popen[bytes] | None = None
    signal.signal(signal.SIGTERM, pass_on)  # Ray sends it to the worker too, unless that is just being started
    sockets = [int(number) for number in os.environ.get(PARTNERS, "").split()[:1]]
    worker = subprocess.Popen(
        module_command(module, str(spec_path), *more),
        stdin=subprocess.DEVNULL if is_leashed else None,
        cwd=spec_path.parent,
        pass_fds=sockets,
    )
    if is_leashed:
        _watch_the_leash()
    for socket in sockets:
        os.close(socket)
    if asked_to_end:
        worker.terminate()
    code = worker.wait()
    _kill_group()
    return code


def _watch_the_leash() -> None:
    """Have this process's group killed when its standard input ends.

    Another process does it: Ray (2.60) kills the processes that an actor has started itself, this one, and no others.
    """
    subprocess.Popen(["sh", "-c", f"read -r _; kill -s KILL -- -{os.getpgid(0)}"])


def _kill_group() -> None:
    """Kill the other processes of this one's group."""
    own = os.getpgid(0)
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, ProcessLookupError, PermissionError):
            if process.pid != os.getpid() and os.getpgid(process.pid) == own:
                process.kill()


def end_as(code: int) -> None:
    """End this process as another one ended.

    Args:
        code: its exit code; minus the signal's number if it was killed.
    """
    if code < 0:
        if -code != signal.SIGKILL:
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    sys.exit(code)


def main(arguments: list[str]) -> None:
    """Run the worker that the command line names, and end as it ended.

    Args:
        arguments: the command line, without the program's name.
    """
    is_leashed = arguments[0] == LEASHED
    module, spec, *more = arguments[is_leashed:]
    end_as(run(module, Path(spec), more, is_leashed=is_leashed))


if __name__ == "__main__":
    main(sys.argv[1:])
