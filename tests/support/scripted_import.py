"""A process that checks adapters without a model.

``python -m tests.support.scripted_import``. It behaves by ``scripted`` of ``adapter_config.json``:

- ``hold``: packs half an archive, writes its process id to the file ``pid`` in the folder of the import, and waits
  until standard input ends.
- ``crash``: packs half an archive, and ends with code 7 and a line in its log.
- ``refuse``: does not take the adapter.
- none: takes it as it is.
"""

from __future__ import annotations

import json
import os
import sys

from arkor.backend.import_worker.archive import unpack
from arkor.backend.imports.task import CONFIG, FILES, REFUSED, ImportTask, Packed
from arkor.backend.training_worker import artifacts


def say(made: dict[str, object]) -> None:
    """Tell the server the end."""
    sys.stdout.write(json.dumps({"made": made}) + "\n")
    sys.stdout.flush()


def main() -> None:
    """Behave."""
    task = ImportTask(**json.loads(sys.stdin.readline()))
    unpack(task.folder)
    does = json.loads((task.folder / CONFIG).read_text()).get("scripted")
    (task.artifacts_folder / ".adapter.half.part").write_text("half an archive")
    if does == "hold":
        part = task.folder / "part"
        part.write_text(str(os.getpid()))
        part.rename(part.with_name("pid"))
        sys.stdin.read()
        return
    if does == "crash":
        print("ValueError: scripted crash", file=sys.stderr)
        sys.exit(7)
    if does == "refuse":
        say({REFUSED: f"{CONFIG}: r is missing"})
        return
    (task.artifacts_folder / ".adapter.half.part").unlink()
    with (task.folder / FILES[0]).open("rb") as config, (task.folder / FILES[1]).open("rb") as weights:
        made = artifacts.pack({FILES[0]: config, FILES[1]: weights}, task.artifacts_folder, "adapter")
    say(Packed(artifact=made, settings={"loraR": 8}, prompt_form="chat").to_line())


if __name__ == "__main__":
    main()
