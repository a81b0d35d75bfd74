"""Several answers made together, a token each at a time; answers join and leave between any two tokens.

Rows have different lengths, so they are aligned at their ends, with padding before the shorter ones.

bfloat16 rounds otherwise in company: a product of a larger matrix is summed in another order. For most answers that
does not matter. One that has to be repeatable is computed alone, its prompt in the same pieces each time.
"""

from __future__ import annotations

from collections.abc import Sequence

from transformers import DynamicCache

from arkor.backend.inference_worker.base import Advance
from arkor.backend.inference_worker.rows import Row
from arkor.backend.inference_worker.transformers_engine.caches import (
    cache_of,
    joined,
    narrowed,
    pairs,
    repeated,
    widened,
)
from arkor.backend.inference_worker.transformers_engine.last_prompt import LastPrompt
from arkor.backend.inference_worker.transformers_engine.model import Model

# How many tokens of prompts are read between two tokens of the answers: a long prompt is read in pieces, so that the
# other answers go on meanwhile, and a cancel is heard.
PIECE_TOKENS = 256


class TransformersBatch:
    """The answers that one base model is making. Not thread-safe.

    Args:
        model: the model.
    """

    def __init__(self, model: Model) -> None:
        self._model = model
        self._forget()

    def _forget(self) -> None:
        self._reading: list[Sequence[Row]] = []  # those in one share a prompt
        self._read_cache: DynamicCache | None = None  # of the first prompt in _reading
        self._last_prompt = LastPrompt()
        self._rows: list[Row] = []
        self._padding: list[int] = []
        self._cache: DynamicCache | None = None
        self._alone: list[tuple[Row, DynamicCache]] = []

    @property
    def rows(self) -> list[Row]:
        """The answers that are not done."""
        alone = [row for row, _ in self._alone]
        reading = [row for rows in self._reading for row in rows]
        return [row for row in (*self._rows, *alone, *reading) if not row.done]

    def add(self, *rows: Row) -> None:
        """Take answers to the same prompt in; it is read once.

        Args:
            rows: with the same prompt, adapter and company; more than one only where caches can be joined.
        """
        self._reading.append(rows)

    def clear(self) -> list[Row]:
        """Let go of every answer; return those that were not done."""
        rows = self.rows
        self._forget()
        return rows

    def turn(self, advance: Advance) -> None:
        """Read a piece of the prompts that are unread, and make one token of each answer.

        Args:
            advance: called for each answer with the logits for its next token; it may set ``done``.
        """
        self._drop_done()
        room = PIECE_TOKENS
        while self._reading and room > 0:
            room -= self._read(advance, room)
        if self._rows:
            self._step(advance)
        for row, cache in self._alone:
            self._step_alone(row, cache, advance)
        if not self.rows:
            self._last_prompt.forget()

    def _read(self, advance: Advance, room: int) -> int:
        """Read on in the first prompt; return how many tokens that were."""
        rows = self._reading[0]
        row, cache = rows[0], self._read_cache or self._begun(rows[0])
        start = cache.get_seq_length()
        piece = row.prompt[start : start + (PIECE_TOKENS if row.alone else room)]
        if row.echo is not None and row.echo.needs_logits:
            logits = self._model.forward_all(piece, cache, row.adapter, range(len(piece)))
            row.echo.take(logits)
        else:
            logits = self._model.forward([piece], cache, [row.adapter], once=True)
        self._read_cache = cache
        if start + len(piece) < len(row.prompt):
            return len(piece)
        self._reading.pop(0)
        self._read_cache = None
        if self._model.is_joinable:
            self._last_prompt.keep(row.prompt, row.adapter, pairs(cache))
        for row in rows:
            advance(row, logits[-1])
        self._place([row for row in rows if not row.done], cache)
        return len(piece)

    def _begun(self, row: Row) -> DynamicCache:
        """Return the cache that a prompt is read into: with its beginning if the prompt before had the same one."""
        reads_all = row.alone or (row.echo is not None and row.echo.needs_logits)
        shared = None if reads_all else self._last_prompt.beginning(row.prompt, row.adapter)
        return self._model.new_cache() if shared is None else cache_of(shared)

    def _place(self, rows: Sequence[Row], cache: DynamicCache) -> None:
        """Let answers go on behind their prompt."""
        if rows and not rows[0].alone:
            self._join(rows, cache)
        elif rows:
            self._alone += [(rows[0], cache), *((row, cache_of(pairs(cache))) for row in rows[1:])]

    def _step(self, advance: Advance) -> None:
        assert self._cache is not None  # there are rows
        width = self._cache.get_seq_length()
        logits = self._model.forward(
            [[row.last or 0] for row in self._rows],
            self._cache,
            [row.adapter for row in self._rows],
            positions=[width - padding for padding in self._padding],
            padding=self._padding,
        )
        for row, logits_V in zip(self._rows, logits, strict=True):  # noqa: N806
            advance(row, logits_V)

    def _step_alone(self, row: Row, cache: DynamicCache, advance: Advance) -> None:
        has_company = bool(self._rows) or len(self._alone) > 1
        logits = self._model.forward([[row.last or 0]], cache, [row.adapter], once=has_company)
        advance(row, logits[0])

    def _join(self, rows: Sequence[Row], cache: DynamicCache) -> None:
        count = len(rows)
        if self._cache is None:
            self._rows, self._padding = list(rows), [0] * count
            self._cache = cache if count == 1 else cache_of(repeated(pairs(cache), count))
            return
        own, new = self._cache.get_seq_length(), cache.get_seq_length()
        width = max(own, new)
        self._cache = joined(widened(self._cache, width - own), repeated(widened(cache, width - new), count))
        self._padding = [padding + width - own for padding in self._padding] + [width - new] * count
        self._rows += rows

    def _drop_done(self) -> None:
        if self._reading and _all_done(self._reading[0]):
            self._read_cache = None
        self._reading = [rows for rows in self._reading if not _all_done(rows)]
        self._alone = [(row, cache) for row, cache in self._alone if not row.done]
        kept = [place for place, row in enumerate(self._rows) if not row.done]
        if len(kept) == len(self._rows):
            return
        self._rows = [self._rows[place] for place in kept]
        self._padding = [self._padding[place] for place in kept]
        spare = min(self._padding, default=0)
        self._padding = [padding - spare for padding in self._padding]
        self._cache = narrowed(self._cache, kept, spare) if self._cache is not None and kept else None


def _all_done(rows: Sequence[Row]) -> bool:
    return all(row.done for row in rows)
