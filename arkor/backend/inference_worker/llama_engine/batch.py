"""Several answers made together by llama.cpp; answers join and leave between any two tokens.

A call with another number of tokens rounds otherwise. So an answer that has to be repeatable is computed in calls of
its own, its prompt in the same pieces each time.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import attrs

from arkor.backend.inference_worker.base import Advance
from arkor.backend.inference_worker.llama_engine.adapters import Adapters
from arkor.backend.inference_worker.llama_engine.model import PIECE_TOKENS, Context, Part
from arkor.backend.inference_worker.llama_engine.places import Place, Places
from arkor.backend.inference_worker.rows import Row

_TURN_TOKENS = 64  # of prompts are read between two tokens of the answers
_SEVERAL, _BACKGROUND = 8, 16  # places of a context


@attrs.define(eq=False)
class _Text:
    """An answer, and where it is; ``is_read`` says whether its prompt is."""

    row: Row
    place: Place
    is_read: bool = False


class LlamaBatch:
    """The answers that one base model is making. Not thread-safe.

    Args:
        places: where texts are.
        adapters: the adapters of the rows.
    """

    def __init__(self, places: Places, adapters: Adapters) -> None:
        self._places = places
        self._adapters = adapters
        self._reading: list[list[_Text]] = []  # those in one share a prompt
        self._texts: list[_Text] = []

    @property
    def rows(self) -> list[Row]:
        """The answers that are not done."""
        return [text.row for text in self._all if not text.row.done]

    @property
    def _all(self) -> list[_Text]:
        return [*self._texts, *(text for texts in self._reading for text in texts)]

    def add(self, *rows: Row) -> None:
        """Take answers to the same prompt in; see ``base.Batch.add``."""
        self._drop_done()
        row = rows[0]
        likely = _BACKGROUND if row.is_background else _SEVERAL
        places = self._places.take(
            [] if row.echo is not None else row.prompt,
            self._adapters.handle(row.adapter),
            row.longest,
            texts=len(rows),
            likely=max(likely, len(rows)),
            in_company=row.is_background or bool(self._all),  # a report has many rows
        )
        self._reading.append([_Text(row, place) for row, place in zip(rows, places, strict=True)])

    def clear(self) -> list[Row]:
        """Let go of every answer; return those that were not done."""
        rows = self.rows
        for text in self._all:
            self._places.give_back(text.place)
        self._reading, self._texts = [], []
        return rows

    def turn(self, advance: Advance) -> None:
        """Read a piece of the prompts that are unread, and make one token of each answer."""
        self._drop_done()
        room = _TURN_TOKENS
        while self._reading and room > 0:
            room -= self._read(self._reading[0], advance)
        for texts in self._calls():
            self._step(texts, advance)

    def _read(self, texts: Sequence[_Text], advance: Advance) -> int:
        """Read on in a prompt; return how many tokens that were."""
        row, place = texts[0].row, texts[0].place
        piece = row.prompt[place.read : place.read + PIECE_TOKENS]
        is_last = place.read + len(piece) == len(row.prompt)
        echo = row.echo if row.echo is not None and row.echo.needs_logits else None
        kept = range(len(piece)) if echo else range(len(piece))[-1:] if is_last else ()
        logits = place.context.read([Part(place.number, piece, kept)])
        if echo:
            echo.take(logits)
        if is_last:
            self._reading.pop(0)
            self._texts += texts
            for text in texts[1:]:
                place.context.copy(place.number, text.place.number)
            for text in texts:
                advance(text.row, logits[-1])
        return len(piece)

    def _calls(self) -> list[list[_Text]]:
        """Return the answers that are under way, those together that one call goes on with."""
        texts = [text for text in self._texts if not text.row.done]
        alone = [[text] for text in texts if text.row.alone]
        joined = sorted(
            (text for text in texts if not text.row.alone), key=lambda text: (id(text.place.context), text.place.number)
        )
        return [*alone, *(list(group) for _, group in groupby(joined, key=_context))]

    def _step(self, texts: Sequence[_Text], advance: Advance) -> None:
        parts = [Part(text.place.number, [text.row.last or 0], [0]) for text in texts]
        logits = texts[0].place.context.read(parts)
        for text, logits_V in zip(texts, logits, strict=True):  # noqa: N806
            advance(text.row, logits_V)

    def _drop_done(self) -> None:
        for text in (text for text in self._texts if text.row.done):
            self._places.give_back(text.place)
        self._texts = [text for text in self._texts if not text.row.done]
        for texts in [texts for texts in self._reading if all(text.row.done for text in texts)]:
            for text in texts:
                self._places.give_back(text.place)
            self._reading.remove(texts)


def _context(text: _Text) -> Context:
    return text.place.context
