"""Stands in for the command that pulls models: ``python -m tests.support.scripted_models pull NAME``.

It waits for ``~/pull`` to say ``ready`` or ``error``, and tells its progress meanwhile as the real one does.
"""

from __future__ import annotations

import json
import sys
import threading
from pathlib import Path


def main() -> None:
    """Pretend to pull."""
    path, pause = Path.home() / "pull", threading.Event()
    with (Path.home() / "pulls-started").open("a") as started:
        started.write(f"{sys.argv[2]}\n")
    print("a library's chatter", flush=True)
    print(json.dumps({"phase": "download", "done": 10, "total": 90}), flush=True)
    while not path.exists():
        pause.wait(0.02)
    if path.read_text() == "error":
        print(json.dumps({"error": "no network: scripted"}), flush=True)
        sys.exit(1)
    print(json.dumps({"ready": True}), flush=True)


if __name__ == "__main__":
    main()
