"""``python -m arkor.backend.processes.ray_node MODULE SPEC``: run a worker on a node of a Ray cluster.

Ray sees its exit code. When the worker has ended, the processes that it left are killed: Ray leaves them.
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


def run(module: str, spec_path: Path) -> int:
    """Run a worker to its end and return its exit code; minus the signal's number if it was killed.

    Args:
        module: the worker's module.
        spec_path: the file that tells it what to do.
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
    worker = subprocess.Popen(module_command(module, str(spec_path)), cwd=spec_path.parent)
    if asked_to_end:
        worker.terminate()
    code = worker.wait()
    _kill_group()
    return code


def _kill_group() -> None:
    """Kill the other processes of this one's group."""
    own = os.getpgid(0)
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, ProcessLookupError, PermissionError):
            if process.pid != os.getpid() and os.getpgid(process.pid) == own:
                process.kill()


def main(arguments: list[str]) -> None:
    """Run the worker that the command line names, and end as it ended.

    Args:
        arguments: the command line, without the program's name.
    """
    module, spec = arguments
    code = run(module, Path(spec))
    if code < 0:
        if -code != signal.SIGKILL:
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    sys.exit(code)


if __name__ == "__main__":
    main(sys.argv[1:])
