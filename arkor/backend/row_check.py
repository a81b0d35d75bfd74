"""``python -m arkor.backend.row_check SECONDS``: check the rows on standard input, within limits.

The last line of its output is ``{"rows"}`` (exit 0) or ``{"error": [message, [[row, reason], …], more]}`` (exit 1).
SECONDS is the processor time that it may take; it is killed after that.
"""

from __future__ import annotations

import json
import resource
import sys
from collections.abc import Iterator
from typing import IO, Any

from arkor.data.jsonl import check_rows, read_lines
from arkor.errors import DatasetError
from arkor.system.limits import limit
from arkor.system.priority import give_way

_MEMORY_MIB = 512
_NICENESS = 10
_TOO_MUCH_MEMORY = f"takes more than {_MEMORY_MIB} MiB of memory to be checked: make smaller rows of it"


def main(limit_s: int) -> int:
    """Check the rows, print what was found, and return the exit code."""
    give_way(_NICENESS)
    limit(resource.RLIMIT_CPU, limit_s)
    limit(resource.RLIMIT_CORE, 0)
    limit(resource.RLIMIT_AS, _MEMORY_MIB * 1024**2)
    with open(sys.stdin.fileno(), "rb", closefd=False) as file:
        said = _checked(file)
    print(json.dumps(said))
    return 0 if "rows" in said else 1


def _checked(file: IO[bytes]) -> dict[str, Any]:
    reached = 0

    def lines() -> Iterator[bytes]:
        nonlocal reached
        for line in read_lines(file):
            reached += 1
            yield line

    try:
        return {"rows": check_rows("", lines()).rows}
    except DatasetError as exc:
        return {"error": [exc.message, exc.problems, exc.more]}
    except MemoryError:
        return {"error": ["1 row cannot be trained on", [[reached, _TOO_MUCH_MEMORY]], 0]}


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
