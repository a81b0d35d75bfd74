"""Several answers made together, a token each at a time; answers join and leave between any two tokens.

Rows have different lengths, so they are aligned at their ends, with padding before the shorter ones.

bfloat16 rounds otherwise in company: a product of a larger matrix is summed in another order. For most answers that
does not matter. One that has to be repeatable is computed alone, its prompt in the same pieces each time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from transformers import DynamicCache

from arkor.backend.inference_worker.base import Base
from arkor.backend.inference_worker.rows import Row

# How many tokens of prompts are read between two tokens of the answers: a long prompt is read in pieces, so that the
# other answers go on meanwhile, and a cancel is heard.
PIECE_TOKENS = 256


class Batch:
    """The answers that one base model is making. Not thread-safe.

    Args:
        base: the model.
    """

    def __init__(self, base: Base) -> None:
        self._base = base
        self._forget()

    def _forget(self) -> None:
        self._reading: list[Row] = []
        self._read_cache: DynamicCache | None = None  # of the first row in _reading
        self._rows: list[Row] = []
        self._padding: list[int] = []
        self._cache: DynamicCache | None = None
        self._alone: list[tuple[Row, DynamicCache]] = []

    @property
    def rows(self) -> list[Row]:
        """The answers that are not done."""
        alone = [row for row, _ in self._alone]
        return [row for row in (*self._rows, *alone, *self._reading) if not row.done]

    def add(self, row: Row) -> None:
        """Take an answer in."""
        self._reading.append(row)

    def clear(self) -> list[Row]:
        """Let go of every answer; return those that were not done."""
        rows = self.rows
        self._forget()
        return rows

    def turn(self, advance: Callable[[Row, torch.Tensor], None]) -> None:
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

    def _read(self, advance: Callable[[Row, torch.Tensor], None], room: int) -> int:
        """Read on in the first prompt; return how many tokens that were."""
        row, cache = self._reading[0], self._read_cache or self._base.new_cache()
        start = cache.get_seq_length()
        piece = row.prompt[start : start + (PIECE_TOKENS if row.alone else room)]
        logits = self._base.forward([piece], cache, [row.adapter], once=True)
        self._read_cache = cache
        if start + len(piece) < len(row.prompt):
            return len(piece)
        self._reading.pop(0)
        self._read_cache = None
        advance(row, logits[0])
        if not row.done and row.alone:
            self._alone.append((row, cache))
        elif not row.done:
            self._join(row, cache)
        return len(piece)

    def _step(self, advance: Callable[[Row, torch.Tensor], None]) -> None:
        assert self._cache is not None  # there are rows
        width = self._cache.get_seq_length()
        logits = self._base.forward(
            [[row.last or 0] for row in self._rows],
            self._cache,
            [row.adapter for row in self._rows],
            positions=[width - padding for padding in self._padding],
            padding=self._padding,
        )
        for row, logits_V in zip(self._rows, logits, strict=True):  # noqa: N806
            advance(row, logits_V)

    def _step_alone(self, row: Row, cache: DynamicCache, advance: Callable[[Row, torch.Tensor], None]) -> None:
        has_company = bool(self._rows) or len(self._alone) > 1
        logits = self._base.forward([[row.last or 0]], cache, [row.adapter], once=has_company)
        advance(row, logits[0])

    def _join(self, row: Row, cache: DynamicCache) -> None:
        if self._cache is None:
            self._rows, self._padding, self._cache = [row], [0], cache
            return
        own, new = self._cache.get_seq_length(), cache.get_seq_length()
        width = max(own, new)
        self._cache = _joined(_widened(self._cache, width - own), _widened(cache, width - new))
        self._padding = [padding + width - own for padding in self._padding] + [width - new]
        self._rows.append(row)

    def _drop_done(self) -> None:
        if self._reading and self._reading[0].done:
            self._read_cache = None
        self._reading = [row for row in self._reading if not row.done]
        self._alone = [(row, cache) for row, cache in self._alone if not row.done]
        kept = [place for place, row in enumerate(self._rows) if not row.done]
        if len(kept) == len(self._rows):
            return
        self._rows = [self._rows[place] for place in kept]
        self._padding = [self._padding[place] for place in kept]
        spare = min(self._padding, default=0)
        self._padding = [padding - spare for padding in self._padding]
        self._cache = _kept(self._cache, kept, spare) if self._cache is not None and kept else None


Pairs = Sequence[tuple[torch.Tensor, torch.Tensor] | None]
"""Of each layer the keys and the values, (batch, heads, time, width of a head); None for a layer that keeps none."""


def _pairs(cache: DynamicCache) -> Pairs:
    return [(layer.keys, layer.values) if layer.is_initialized else None for layer in cache.layers]


def _cache_of(pairs: Pairs) -> DynamicCache:
    cache = DynamicCache()
    for number, pair in enumerate(pairs):
        if pair is not None:
            cache.update(*pair, number)
    return cache


def _widened(cache: DynamicCache, by: int) -> Pairs:
    """Put places that mean nothing before every row."""
    pad = torch.nn.functional.pad
    before = (0, 0, by, 0)
    return [pair and (pad(pair[0], before), pad(pair[1], before)) for pair in _pairs(cache)]


def _joined(upper: Pairs, lower: Pairs) -> DynamicCache:
    return _cache_of(
        [
            first and second and (torch.cat([first[0], second[0]]), torch.cat([first[1], second[1]]))
            for first, second in zip(upper, lower, strict=True)
        ]
    )


def _kept(cache: DynamicCache, rows: Sequence[int], spare: int) -> DynamicCache:
    """Keep some rows, without the first places."""
    return _cache_of([pair and (pair[0][rows, :, spare:], pair[1][rows, :, spare:]) for pair in _pairs(cache)])
