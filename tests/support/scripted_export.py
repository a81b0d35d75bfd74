"""A process that makes exports without a model.

``python -m tests.support.scripted_export``. It behaves by the number type of the options:

- float16: makes half a folder, writes its process id to the file ``pid`` in its folder, and then waits until standard
  input ends.
- bfloat16: makes half a folder, and ends with code 7 and a line in its log.
- none: asks the model what ``scripted_chat`` knows, and packs a folder with the answer.
"""

from __future__ import annotations

import io
import json
import os
import sys

from arkor.backend.exports.task import KIND, MODEL, Task
from arkor.backend.training_worker import artifacts


def say(**fields: object) -> None:
    """Tell the server something."""
    sys.stdout.write(json.dumps(fields) + "\n")
    sys.stdout.flush()


def main() -> None:
    """Behave."""
    task = Task.from_line(json.loads(sys.stdin.readline()))
    task.made.mkdir()
    (task.made / "half").write_text("a model")
    if task.options.dtype == "float16":
        part = task.folder / "part"
        part.write_text(str(os.getpid()))
        part.rename(part.with_name("pid"))
        sys.stdin.read()
        return
    if task.options.dtype == "bfloat16":
        print("ValueError: scripted crash", file=sys.stderr, flush=True)
        os._exit(7)
    say(progress=[1, 3])
    say(ask=1, candidate=MODEL, request={"messages": [{"role": "user", "content": "say:right"}], "maxTokens": 9})
    text = json.loads(sys.stdin.readline())["answer"]["text"]
    made = artifacts.pack({"README.md": io.BytesIO(text.encode())}, task.artifacts_folder, task.artifact)
    check = {"rows": 1, "tokens": 1, "same": 1, "margin": 0.25, "divergence": 0.0, "engine": "scripted"}
    say(made={"verdict": "answers as chats do", "check": check, "artifact": {**made.to_wire(), "kind": KIND}})


if __name__ == "__main__":
    main()
