"""Rows that several processes tokenise."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from arkor.backend.training_worker.examples.chunks import Chunk, ChunkEncoder
from arkor.backend.training_worker.examples.parallel import CHUNK_ROWS, LEAST_ROWS, ChunkPool, processes_for
from arkor.backend.training_worker.examples.tokenize import RowEncoder
from arkor.backend.training_worker.rows.spool import NumberedRow, Spool, SpooledRows
from arkor.errors import ArkorError, DatasetError
from arkor.protocol.config import JobConfig
from tests.support.backend import is_running
from tests.support.characters import Tokenizer, plain
from tests.support.eventually import eventually

ROOT = Path(__file__).parents[5]
CONFIG = JobConfig(model="m", dataset_source={"type": "dataset", "id": "0" * 64})


class Killed(Tokenizer):
    """Ends the process that reads ``die``, but for the one that made it."""

    def __init__(self) -> None:
        super().__init__(plain)
        self._maker = os.getpid()

    def __call__(self, text: str, add_special_tokens: bool = True) -> dict[str, list[int]]:
        if "die" in text and os.getpid() != self._maker:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__call__(text, add_special_tokens)


def encoder(source: str = "rows", tokenizer: Tokenizer | None = None) -> ChunkEncoder:
    """Return what makes chunks of questions and answers."""
    rows = RowEncoder(tokenizer or Tokenizer(plain), "prompt_completion", CONFIG)
    return ChunkEncoder(source, rows, 40, truncates=True)


def spooled(folder: Path, texts: list[str]) -> SpooledRows:
    """Return rows with these questions."""
    spool = Spool(folder)
    for number, text in enumerate(texts, 1):
        spool.add(NumberedRow(number, {"prompt": text, "completion": "a" * (number % 50)}))
    return spool.rows()


def test_processes_give_what_one_gives(tmp_path: Path) -> None:
    """In the order of the rows, each part with its own encoder."""
    rows = spooled(tmp_path, [f"q{number}" for number in range(20 * CHUNK_ROWS + 7)])
    found: list[list[Chunk]] = []
    for processes in (1, 3):
        with ChunkPool([encoder(), encoder("held out")], processes) as pool:
            found.append([*pool.chunks(0, rows), *pool.chunks(1, rows[:3])])
    assert found[0] == found[1]
    assert [note.number for chunk in found[1] for note in chunk.notes] == [*range(1, len(rows) + 1), 1, 2, 3]


def test_a_bad_row_is_named_wherever_it_is_found(tmp_path: Path) -> None:
    """By a child, too; the first one counts."""
    spool = Spool(tmp_path)
    for number in range(1, 30 * CHUNK_ROWS):
        row = {"prompt": "q", "completion": "a"}
        if number in {CHUNK_ROWS // 2, 5 * CHUNK_ROWS}:
            row = {"prompt": [{"role": "user"}], "completion": [{"role": "assistant", "content": 7}]}  # type: ignore[dict-item]
        spool.add(NumberedRow(number, row))
    with pytest.raises(DatasetError) as caught, ChunkPool([encoder()], 2) as pool:
        list(pool.chunks(0, spool.rows()))
    assert [number for number, _ in caught.value.problems] == [CHUNK_ROWS // 2]


def test_a_child_that_is_killed_is_named(tmp_path: Path) -> None:
    """As the kernel does where the memory is short."""
    rows = spooled(tmp_path, ["die"] * 30 * CHUNK_ROWS)
    pool = ChunkPool([encoder(tokenizer=Killed())], 2)
    with pytest.raises(ArkorError, match=r"was killed \(often: out of memory\)"), pool:
        list(pool.chunks(0, rows))


def test_few_rows_need_no_further_process() -> None:
    """One for each thread at most."""
    assert [processes_for(4, rows) for rows in (1, LEAST_ROWS, 2 * LEAST_ROWS, 100 * LEAST_ROWS)] == [1, 1, 2, 4]
    assert processes_for(1, 100 * LEAST_ROWS) == 1


SCRIPT = """
import os, sys
from pathlib import Path
from arkor.backend.training_worker.examples.parallel import ChunkPool
from tests.unit.backend.training_worker.examples.test_parallel import encoder, spooled
with ChunkPool([encoder()], 2) as pool:
    chunks = pool.chunks(0, spooled(Path(sys.argv[1]), ["q"] * 10_000))
    next(chunks)
    print(*(process.pid for process in __import__("multiprocessing").active_children()), flush=True)
    sys.stdin.read()
"""


def test_a_child_ends_with_its_parent(tmp_path: Path) -> None:
    """However that ends."""
    command, environment = [sys.executable, "-c", SCRIPT, str(tmp_path)], {**os.environ, "PYTHONPATH": str(ROOT)}
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, env=environment, **pipes) as parent:
        assert parent.stdout is not None
        (child,) = map(int, parent.stdout.readline().split())
        assert is_running(child)
        parent.kill()
    eventually(lambda: not is_running(child), "the child ends")
