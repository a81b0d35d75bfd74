"""A process that shows rows without a tokenizer: it does what the template variable ``behaves`` says.

``python -m tests.support.scripted_preview``:

- ``hold``: writes its process id to the file ``pid`` in its folder, and says nothing until standard input ends.
- ``crash``: ends with code 7.
- ``refuse``: says that a row cannot be trained on.
- ``settings``: names the settings of the job, and their values, as what is left out of a row.
- anything else: answers with the same figures for all rows, and with the settings of the job.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import attrs

from arkor.protocol.config import JobConfig
from arkor.protocol.previews import (
    Example,
    LengthBucket,
    LongerRows,
    RowHit,
    RowLength,
    RowPlace,
    RowPreview,
    Token,
    TokenSummary,
)
from arkor.protocol.receipt import NumberedCount, Receipt
from arkor.protocol.wire import python_name, to_wire


def summary(config: JobConfig) -> TokenSummary:
    """Return a summary of four rows."""
    most = config.max_length or 20
    cut = NumberedCount(1, (4,)) if most < 20 else NumberedCount()
    receipt = Receipt(rows=4, examples=4, answers=4, tokens=50, max_length=most, truncated=cut)
    problem = "4 of 4 rows would be lost" if config.excess_length == "error" else None
    return TokenSummary(
        format="chatml",
        p50=10,
        p90=20,
        p99=20,
        longest=20,
        longest_rows=(RowLength(4, 20), RowLength(1, 10)),
        longer_rows=(LongerRows(most, cut.count),),
        histogram=(LengthBucket(10, 20, 3), LengthBucket(20, 30, 1)),
        receipt=receipt,
        problem=problem,
    )


def preview(row: int) -> RowPreview:
    """Return a row of one example."""
    tokens = (Token(0, "<user>", False), Token(1, " hi\n", False), Token(2, "hel", True), Token(3, "lo\x1b", True))
    row = row or 1
    following = RowPlace(row + 1)
    return RowPreview(row=row, format="chatml", examples=(Example(tokens),), max_length=20, next=following)


def search(**asked: Any) -> dict[str, Any]:
    """Return what was asked as the only hit."""
    said = json.dumps({python_name(name): value for name, value in asked.items()})
    hit = RowHit(row=2, is_held_out=bool(asked["isHeldOut"]), before="", match=asked["text"], after=said)
    return {"hits": [to_wire(hit)], "total": 1}


def main() -> None:
    """Behave."""
    task: dict[str, Any] = json.loads(sys.stdin.readline())
    config = JobConfig.from_wire(task["config"])
    behaviour = (config.chat_template_kwargs or {}).get("behaves")
    if behaviour == "crash":
        sys.exit(7)
    if behaviour == "hold":
        (Path(task["folder"]) / "part").write_text(str(os.getpid()))
        (Path(task["folder"]) / "part").rename(Path(task["folder"]) / "pid")
        sys.stdin.read()
        return
    if behaviour == "refuse":
        said: dict[str, Any] = {"status": 422, "error": "a row cannot be trained on", "source": "dataset"}
        said["rows"] = [{"row": 3, "reason": "scripted"}]
    elif "search" in task:
        said = search(**task["search"])
    elif "row" not in task:
        said = {"summary": summary(config).to_wire()}
    elif behaviour == "settings":
        left_out = [f"{name}={value}" for name, value in sorted(task["config"].items())]
        said = {"preview": attrs.evolve(preview(task["row"]), left_out=left_out).to_wire()}
    else:
        others = [preview(task["row"] + distance).to_wire() for distance in range(1, task["around"] + 1)]
        said = {"preview": preview(task["row"]).to_wire(), "around": others}
    print(json.dumps(said))


if __name__ == "__main__":
    main()
