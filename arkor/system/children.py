"""Child processes of ``multiprocessing`` that import the program again: those of ``spawn`` and ``forkserver``.

While such a child imports the program, code outside ``if __name__ == "__main__"`` runs once more. ``multiprocessing``
marks that time, and refuses to start processes in it.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator

_MARK = "_inheriting"  # the name that multiprocessing.spawn itself gives it, from Python 3.4 to 3.14


def is_importing() -> bool:
    """Say whether this process is such a child, and is importing the program."""
    process = sys.modules.get("multiprocessing.process")
    return process is not None and getattr(process.current_process(), _MARK, False)


@contextlib.contextmanager
def importing() -> Iterator[None]:
    """Mark the block as a time in which this process, which is such a child, imports the program."""
    if is_importing():
        yield
        return
    current = sys.modules["multiprocessing.process"].current_process()
    setattr(current, _MARK, True)
    try:
        yield
    finally:
        delattr(current, _MARK)
