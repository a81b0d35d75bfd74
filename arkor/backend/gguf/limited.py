"""``python -m arkor.backend.gguf.limited BYTES MODULE ARGUMENT…``: run a module that may take so much memory.

It gives way to whatever else computes, and leaves no image of its memory if it fails.
"""

from __future__ import annotations

import resource
import runpy
import sys

from arkor.system.limits import limit
from arkor.system.priority import give_way

_NICENESS = 5

if __name__ == "__main__":
    give_way(_NICENESS)
    limit(resource.RLIMIT_CORE, 0)
    limit(resource.RLIMIT_DATA, int(sys.argv[1]))
    del sys.argv[:2]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
